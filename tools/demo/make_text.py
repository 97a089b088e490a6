#!/usr/bin/env python3
"""Write the demo model's training text: stories, questions and answers, conversations.

    make_text.py --split train --docs 400000 --jobs 16 --out text.jsonl

One JSON object a line: {"text": ...} for plain text, {"messages": [...], "tags": [...]} for a
conversation, where tags names the kind of each answer ("" where it is not graded). Document i of a
split depends only on (seed, split, mix, i), so the text is the same whatever --jobs is.

The splits differ in their seeds and in their combinations: stories of the validation split use only
(kind of hero, thing) pairs, and its sums only pairs of numbers, that the training split never uses.
"""

import argparse
import json
import multiprocessing
import random
import sys

import world as w
from stories import fill, held_out, make_chapters, make_story

SEED = 1


class Talk:
    """A conversation under construction."""

    def __init__(self, rng, split):
        self.rng, self.split = rng, split
        self.messages, self.tags = [], []
        self.style = None
        self.user_name = None

    def system(self):
        rng = self.rng
        r = rng.random()
        if r < 0.12:
            self.style = "short"
            text = rng.choice(["Answer with one word if you can.", "Answer in as few words as possible.",
                               "Give short answers.", "Be brief.", "You give very short answers."])
        elif r < 0.3:
            text = rng.choice(["You are a helpful assistant.", "You are a helpful assistant.",
                               "You are a friendly assistant who tells stories.", "You answer questions in full sentences.",
                               "You are a kind teacher.", "You are verbatim's small demo model.",
                               "You are a helpful, honest assistant."])
        else:
            return
        self.messages.append({"role": "system", "content": text})

    def turn(self, question, answer, tag="", short=None):
        if self.style == "short" and short:
            answer = short[0].upper() + short[1:]
        self.messages.append({"role": "user", "content": self.typed(question)})
        self.messages.append({"role": "assistant", "content": answer})
        self.tags.append(tag)

    def typed(self, q):
        """As people type it: sometimes without capitals, marks, or British spelling."""
        rng = self.rng
        if rng.random() < 0.3:
            q = q.replace("colour", "color").replace("favourite", "favorite")
        r = rng.random()
        if "\n" in q or r > 0.22:
            return q
        if r < 0.08:
            q = q.lower()
        if r < 0.15 and q[-1] in ".?!":
            q = q[:-1]
        if r > 0.16:
            q = rng.choice(["Please tell me: {}", "I have a question. {}", "Hey, {}", "Can you tell me this? {}"]).format(q)
        return q

    def doc(self):
        return {"messages": self.messages, "tags": self.tags}


def pick(rng, template, **ctx):
    return fill(rng, template, ctx)


def join_and(items):
    return items[0] if len(items) == 1 else ", ".join(items[:-1]) + " and " + items[-1]


# --- questions about the world: each returns (question, answer, tag, short answer) ---------------

def q_animal(rng, split):
    a = rng.choice(list(w.ANIMALS.values()))
    ctx = dict(a=a.name, p=a.plural, P=a.plural.capitalize())
    P = ctx["P"]
    r = rng.randrange(9)
    if r == 0:
        return (pick(rng, "(What do {p} eat?|What does a {a} eat?)", **ctx), f"{P} eat {a.eats}.", "animal", a.eats)
    if r == 1:
        return (pick(rng, "(Where do {p} live?|Where does a {a} live?)", **ctx), f"{P} live {a.lives}.", "animal", a.lives)
    if r == 2 and a.voice:
        return (pick(rng, "(What sound does a {a} make?|What noise does a {a} make?|What does a {a} say?)", **ctx),
                pick(rng, "A {a} {v}.", v=a.voice, **ctx), "animal", a.voice)
    if r == 3 and a.young:
        return (pick(rng, "(What is a baby {a} called?|What do you call a baby {a}?|What is the name for a young {a}?)", **ctx),
                pick(rng, "A baby {a} is called a {y}.", y=a.young, **ctx), "animal", pick(rng, "a {y}", y=a.young))
    if r == 4:
        n = w.NUMBERS[a.legs]
        return (pick(rng, "(How many legs does a {a} have?|How many legs do {p} have?)", **ctx),
                pick(rng, "A {a} has {n} legs.", n="no" if a.legs == 0 else n, **ctx), "animal", n)
    if r == 5 and a.cover:
        return (pick(rng, "(What covers a {a}?|What is the body of a {a} covered with?|What does a {a} have on its body?)", **ctx),
                pick(rng, "A {a} has {c}.", c=a.cover, **ctx), "animal", a.cover)
    if r == 6:
        return (pick(rng, "What is the plural of {a}?", **ctx), f"The plural of {a.name} is {a.plural}.", "words", a.plural)
    if r == 7 and a.colours:
        c = " or ".join(a.colours) if len(a.colours) < 3 else ", ".join(a.colours[:-1]) + " or " + a.colours[-1]
        return (pick(rng, "(What colour is a {a}?|What colour are {p}?)", **ctx), pick(rng, "A {a} is usually {c}.", c=c, **ctx), "animal", c)
    verb = rng.choice(["fly", "swim", "climb"])
    sure = {"fly": True, "swim": verb in a.can or a.cover == "feathers", "climb": verb in a.can}[verb]
    if verb in a.can:
        return (pick(rng, "Can a {a} {v}?", v=verb, **ctx), pick(rng, "Yes, a {a} can {v}.", v=verb, **ctx), "yesno", "yes")
    if verb == "fly" or not sure and a.size > 8 and verb == "climb":
        return (pick(rng, "Can a {a} {v}?", v=verb, **ctx), pick(rng, "No, a {a} cannot {v}.", v=verb, **ctx), "yesno", "no")
    return q_animal(rng, split)


def q_compare(rng, split):
    while True:
        a, b = rng.sample(list(w.ANIMALS.values()), 2)
        if abs(a.size - b.size) >= 2 and held_out(*sorted((a.name, b.name))) == (split != "train"):
            break
    big, small = (a, b) if a.size > b.size else (b, a)
    if rng.random() < 0.5:
        word = rng.choice(["bigger", "smaller"])
        x = big if word == "bigger" else small
        return (pick(rng, "(Which is|What is|Who is) {w}, a {a} or a {b}?", w=word, a=a.name, b=b.name),
                pick(rng, "A {x} is {w} than a {y}.", w=word, x=x.name, y=(small if x is big else big).name),
                "compare", pick(rng, "a {x}", x=x.name))
    word = rng.choice(["bigger", "smaller"])
    yes = (a is big) == (word == "bigger")
    return (pick(rng, "Is a {a} {w} than a {b}?", a=a.name, b=b.name, w=word),
            pick(rng, "Yes, a {a} is {w} than a {b}." if yes else "No, a {a} is {v} than a {b}.", a=a.name, b=b.name, w=word,
                 v="smaller" if word == "bigger" else "bigger"), "compare", "yes" if yes else "no")


def sum_held_out(a, op, b):
    """Sums of numbers up to ten are all in the training text; about one in twenty of the others is not."""
    return (a > 10 or b > 10) and held_out(f"{a}{op}", str(b))


def q_sum(rng, split):
    want = split != "train"
    if rng.random() < 0.04:
        a, b, sign = rng.randint(100, 99999), rng.randint(2, 99999), rng.choice("+-*")
        return (rng.choice(["What is {} {} {}?", "How much is {} {} {}?", "{} {} {}"]).format(a, sign, b), "That sum is too big for me.",
                "unknown", None)
    while True:
        op = rng.choice("+++--x") if not want else rng.choice("+-")
        top = 20 if rng.random() < 0.6 else 50
        if op == "x":
            a, b = rng.randint(1, 10), rng.randint(1, 10)
            c, word, sign = a * b, "times", rng.choice(["x", "*"])
        elif op == "+":
            a, b = rng.randint(0, top), rng.randint(0, top)
            c, word, sign = a + b, "plus", "+"
        else:
            a = rng.randint(0, top)
            b = rng.randint(0, a)
            c, word, sign = a - b, "minus", "-"
        if op == "x" or sum_held_out(a, op, b) == want:
            break
    tag = "sum-to-20" if max(a, b) <= 20 else "sum-to-50"
    if rng.random() < 0.5:
        q = rng.choice(["What is {} {} {}?", "How much is {} {} {}?", "{} {} {} = ?", "Calculate {} {} {}.",
                        "{} {} {}", "What is {} {} {}?"]).format(a, sign, b)
        return q, f"{a} {sign} {b} = {c}", tag, str(c)
    q = rng.choice(["What is {} {} {}?", "How much is {} {} {}?"]).format(a, word, b)
    return q, f"{a} {word} {b} is {c}.", tag, str(c)


def q_words(rng, split):
    r = rng.randrange(6)
    if r < 2:
        a, b = rng.choice(w.OPPOSITES)
        if r == 1 and a in w.OPPOSITES_BOTH and sum(y == b for _, y in w.OPPOSITES) == 1:
            a, b = b, a
        return (pick(rng, "(What is the opposite of {a}?|What is the opposite of \"{a}\"?|Opposite of {a}?)", a=a),
                f"The opposite of {a} is {b}.", "words", b)
    if r == 2:
        i = rng.randrange(7)
        if rng.random() < 0.5:
            return (pick(rng, "(What day comes after {d}?|Which day comes after {d}?|Today is {d}. What day is tomorrow?)", d=w.DAYS[i]),
                    rng.choice(["{} comes after {}."]).format(w.DAYS[(i + 1) % 7], w.DAYS[i]), "calendar", w.DAYS[(i + 1) % 7])
        return (pick(rng, "(What day comes before {d}?|Which day comes before {d}?|Today is {d}. What day was yesterday?)", d=w.DAYS[i]),
                f"{w.DAYS[(i - 1) % 7]} comes before {w.DAYS[i]}.", "calendar", w.DAYS[(i - 1) % 7])
    if r == 3:
        i = rng.randrange(12)
        after = rng.random() < 0.5
        j = (i + (1 if after else -1)) % 12
        rel = "after" if after else "before"
        return (f"{rng.choice(['Which', 'What'])} month comes {rel} {w.MONTHS[i]}?", f"{w.MONTHS[j]} comes {rel} {w.MONTHS[i]}.",
                "calendar", w.MONTHS[j])
    if r == 4:
        one, many, colour, grows = rng.choice(w.FRUIT)
        k = rng.randrange(3)
        if k == 0:
            return f"What is the plural of {one}?", f"The plural of {one} is {many}.", "words", many
        if k == 1:
            return (pick(rng, "(What colour is a ripe {o}?|What colour are ripe {m}?)", o=one, m=many),
                    pick(rng, "A ripe {o} is {c}.", o=one, c=colour), "fact", colour)
        return (pick(rng, "(Where do {m} grow?|Where does a {o} grow?)", o=one, m=many),
                pick(rng, "A {o} grows {g}.", o=one, g=grows), "fact", grows)
    i = rng.randrange(4)
    after = rng.random() < 0.5
    j = (i + (1 if after else -1)) % 4
    rel = "after" if after else "before"
    return (f"Which season comes {rel} {w.SEASONS[i]}?", f"{w.SEASONS[j].capitalize()} comes {rel} {w.SEASONS[i]}.",
            "calendar", w.SEASONS[j])


def q_fact(rng, split):
    r = rng.random()
    if r < 0.5:
        q, a, short = rng.choice(w.CAUSES)
        return q, a, "fact", short
    if r < 0.65:
        thing, colour = rng.choice(w.COLOUR_OF)
        return f"What colour is {thing}?", f"{thing[0].upper() + thing[1:]} is {colour}.", "fact", colour
    if r < 0.8:
        job, does, where = rng.choice(w.JOBS)
        if rng.random() < 0.5:
            return pick(rng, "What does a {j} do?", j=job), pick(rng, "A {j} {d}.", j=job, d=does), "fact", does
        if rng.random() < 0.5:
            return pick(rng, "Where does a {j} work?", j=job), pick(rng, "A {j} works {x}.", j=job, x=where), "fact", where
        return pick(rng, "Who {d}?", d=does), pick(rng, "A {j} {d}.", j=job, d=does), "fact", pick(rng, "a {j}", j=job)
    country, city = rng.choice(w.CAPITALS)
    if rng.random() < 0.8:
        return (rng.choice(["What is the capital of {}?", "What is the capital city of {}?", "Which city is the capital of {}?"]).format(country),
                f"The capital of {country} is {city}.", "fact", city)
    return f"{city} is the capital of which country?", f"{city} is the capital of {country}.", "fact", country


def q_village(rng, split):
    v = rng.choice(list(w.VILLAGERS.values()))
    he, his = v.sex, "his" if v.sex == "he" else "her"
    r = rng.randrange(9)
    if r == 0:
        return f"Where does {v.name} live?", f"{v.name} lives {v.home}.", "village", v.home
    if r == 1:
        return (pick(rng, "(What kind of animal is {n}?|What animal is {n}?|What is {n}?)", n=v.name),
                pick(rng, "{n} is a {k}.", n=v.name, k=v.kind), "village", pick(rng, "a {k}", k=v.kind))
    if r == 2:
        return (pick(rng, "(What is {n}'s favourite food?|What does {n} like to eat?)", n=v.name),
                f"{v.name}'s favourite food is {v.food}.", "village", v.food)
    if r == 3:
        return f"What is {v.name}'s favourite colour?", f"{v.name}'s favourite colour is {v.colour}.", "village", v.colour
    if r == 4:
        return (pick(rng, "(Who is {n}'s best friend?|Who is the best friend of {n}?)", n=v.name),
                f"{v.name}'s best friend is {v.friend}.", "village", v.friend)
    if r == 5:
        return (pick(rng, "(What is {n}'s job?|What does {n} do?|What work does {n} do?)", n=v.name),
                pick(rng, "{n} is a {j}.", n=v.name, j=v.job), "village", pick(rng, "a {j}", j=v.job))
    if r == 6:
        return f"What is {v.name} like?", f"{v.name} is {v.trait}.", "village", v.trait
    if r == 7:
        return (pick(rng, "(Who is the {j} in Willow Village?|Who works as a {j} in Willow Village?)", j=v.job),
                pick(rng, "{n} the {k} is the {j} in Willow Village.", n=v.name, k=v.kind, j=v.job), "village", v.name)
    return (pick(rng, "(Who is {n}?|Tell me about {n}.|Do you know {n}?)", n=v.name), about_villager(v), "village", None)


def about_villager(v):
    he, his = v.sex.capitalize(), "His" if v.sex == "he" else "Her"
    return fill(random.Random(0), "{n} is a {t} {k} who lives {h} in Willow Village. {H} works as a {j}. {i} favourite food is {f}, "
                "and {i2} best friend is {b}.", dict(n=v.name, t=v.trait, k=v.kind, h=v.home, H=he, j=v.job, i=his, i2=his.lower(),
                                                     f=v.food, b=v.friend))


def about_animal(rng, a):
    parts = [pick(rng, "{P} live {l} and eat {e}.", P=a.plural.capitalize(), l=a.lives, e=a.eats)]
    more = [pick(rng, "A {a} has {n} legs.", a=a.name, n="no" if a.legs == 0 else w.NUMBERS[a.legs])]
    if a.cover:
        more.append(pick(rng, "Its body has {c}.", c=a.cover) if a.cover != "a shell" else "It has a shell.")
    if a.voice:
        more.append(pick(rng, "A {a} {v}.", a=a.name, v=a.voice))
    if a.young:
        more.append(pick(rng, "A baby {a} is called a {y}.", a=a.name, y=a.young))
    if a.can:
        more.append(pick(rng, "A {a} can {c} well.", a=a.name, c=join_and(a.can)))
    return " ".join(parts + rng.sample(more, min(len(more), rng.randint(2, 4))))


_SELF = [
    ("Who are you?|What are you?|What is your name?|Tell me about yourself.|What is your name, please?|And who are you?",
     "I am verbatim's small demo model. I tell little stories and answer simple questions."),
    ("What can you do?|What can you help me with?|How can you help me?|What do you know?|Help",
     "I can tell little stories, answer simple questions about animals, days, colours and sums, and answer questions about a short story."),
    ("Are you a person?|Are you human?|Are you alive?|Are you real?", "No, I am a small language model. I am a program."),
    ("How big are you?|Are you a big model?|How many parameters do you have?", "I am very small: I have about four million parameters."),
    ("Who made you?|Where do you come from?|Who trained you?", "I was trained by the scripts that come with verbatim, on text that a program wrote."),
    ("Are you smart?|Do you know everything?|Can you make mistakes?|Are you always right?", "No, I am very small and I know only a little world. I make mistakes."),
    ("What is verbatim?|What is Verbatim?", "Verbatim is a program that runs language models. I am its small demo model."),
    ("What is a language model?|What is an LLM?|How do you work?",
     "A language model is a program that writes text piece by piece. Each piece is a guess from what came before."),
    ("What is verbatim written in?|Is verbatim written in C?", "Verbatim is written in C."),
    ("Do you have feelings?|Are you happy?|Do you get tired?", "I am a program, so I do not feel anything. But I am glad to help you."),
    ("What language do you speak?|Do you speak French?|Can you speak German?", "I only know simple English."),
]
_SMALL = [
    ("Hello!|Hello|Hi|Hi!|Hi there!|Hey|Good day!", "Hello! How can I help you?|Hello! Would you like a story?|Hi! What would you like to know?"),
    ("Good morning!|Good morning", "Good morning! How can I help you?"),
    ("Good evening!|Good evening", "Good evening! How can I help you?"),
    ("How are you?|How are you today?|How do you do?", "I am fine, thank you. How can I help you?"),
    ("Thank you!|Thanks!|Thank you very much.|Thanks a lot!|thanks", "You are welcome!"),
    ("That was nice.|I like that.|Very good!|Great!|Good job!", "I am glad that you like it."),
    ("Goodbye!|Bye!|Good night!|See you later!|bye", "Goodbye! Have a nice day."),
    ("I am sad.|I feel sad today.|I had a bad day.", "I am sorry to hear that. Would you like a little story?"),
    ("I am happy.|I am happy today!|I had a good day.", "I am glad to hear that!"),
    ("I am bored.|I am so bored.", "Would you like a little story? Tell me what it should be about."),
    ("That is wrong.|You are wrong.|That is not right.", "I am sorry. I am a small model and I make mistakes."),
]
_UNKNOWN = [
    "What time is it?", "What is the weather like today?", "Will it rain tomorrow?", "What day is it today?", "How old am I?",
    "Where am I?", "What did I eat for breakfast?", "Who won the football game last night?", "What is the price of gold?",
    "Who is the president?", "Who is the king of the world?", "How do I fix my car?", "What is the meaning of life?",
    "How do I write a program?", "What is quantum physics?", "What is my phone number?", "What will happen next year?",
    "Can you send an email for me?", "What is the news today?", "How many people live on Earth?", "Who wrote this book?",
    "What is the square root of 529?", "How far away is the nearest star?", "What is my favourite colour?", "Where are my keys?",
    "Which film should I watch?", "What is in my pocket?", "How tall am I?", "When is my birthday?", "Who is my neighbour?",
    "What is a neural network?", "How does a computer work?", "What is the stock market?", "Who was the first man in space?",
    "What is electricity?", "How do planes fly?", "What should I cook for dinner?", "Who is the best singer?",
    "What am I thinking of?", "What is the name of my dog?", "What colour is my shirt?", "Is it cold outside today?",
]
_UNKNOWN_ANSWER = "I do not know that."
_UNKNOWN_COUNTRIES = ("Brazil India Mexico Russia Turkey Chile Cuba Iran Iraq Israel Australia Argentina Belgium Hungary Iceland Nigeria "
                      "Pakistan Romania Switzerland Thailand Ukraine Vietnam Morocco Nepal Colombia").split()
_UNKNOWN_WORDS = ("gravity philosophy chemistry inflation democracy an-atom a-black-hole a-computer software the-internet algebra history DNA "
                  "a-virus love time art music-theory geology a-planet politics a-volcano a-transformer machine-learning Python C Linux "
                  "an-operating-system a-compiler an-engine").split()
_CANNOT = ["Write a Python function.", "Write some code.", "Write a program that sorts numbers.", "Translate this to French.",
           "Translate hello to German.", "Draw me a picture.", "Send a letter to my friend.", "Book a flight for me.", "Play some music.",
           "Open the door.", "Order a pizza.", "Set an alarm.", "Call my mother.", "Write an essay about history.", "Summarise this book.",
           "Search the web for shoes.", "Turn on the light.", "Do my homework.", "Write a letter to my boss.", "Fix my code."]


def q_self(rng, split):
    q, a = rng.choice(_SELF)
    return rng.choice(q.split("|")), a, "self", None


def q_small(rng, split):
    q, a = rng.choice(_SMALL)
    return rng.choice(q.split("|")), rng.choice(a.split("|")), "", None


def q_unknown(rng, split):
    r = rng.random()
    if r < 0.2:
        return rng.choice(_CANNOT), "I cannot do that. I am only a small model.", "unknown", None
    if r < 0.3:
        return f"What is the capital of {rng.choice(_UNKNOWN_COUNTRIES)}?", _UNKNOWN_ANSWER, "unknown", None
    if r < 0.45:
        word = rng.choice(_UNKNOWN_WORDS).replace("-", " ")
        return rng.choice(["What is {}?", "Explain {}.", "Tell me about {}.", "How does {} work?"]).format(word), _UNKNOWN_ANSWER, "unknown", None
    if r < 0.6:
        n = rng.choice(w.SHE_NAMES + w.HE_NAMES)
        return rng.choice(["Who is {}?", "Where does {} live?", "What is {}'s job?", "What is {}'s favourite food?"]).format(n), _UNKNOWN_ANSWER, "unknown", None
    return rng.choice(_UNKNOWN), _UNKNOWN_ANSWER, "unknown", None


def q_list(rng, split):
    r = rng.randrange(9)
    if r == 0:
        a = rng.randint(1, 10)
        b = rng.randint(a + 2, min(20, a + 10))
        seq = range(a, b + 1)
        words = rng.random() < 0.3
        if a == 1 and rng.random() < 0.5:
            q = f"Count to {w.NUMBERS[b] if words or rng.random() < 0.5 else b}."
        else:
            q = f"Count from {w.NUMBERS[a]} to {w.NUMBERS[b]}." if words else f"Count from {a} to {b}."
        return q, ", ".join(w.NUMBERS[i] if words else str(i) for i in seq) + ".", "list", None
    if r == 1:
        return (rng.choice(["Name the days of the week.", "What are the days of the week?", "List the days of the week."]),
                "The days of the week are " + join_and(w.DAYS) + ".", "list", None)
    if r == 2:
        return (rng.choice(["Name the months of the year.", "What are the months of the year?", "List the months."]),
                "The months are " + join_and(w.MONTHS) + ".", "list", None)
    if r == 3:
        return (rng.choice(["Name the four seasons.", "What are the four seasons?", "What are the seasons?"]),
                "The four seasons are spring, summer, autumn and winter.", "list", None)
    n = rng.randint(2, 5)
    if r == 4:
        pool, what = [a.plural for a in w.ANIMALS.values()], "animals"
        if rng.random() < 0.5:
            key = rng.choice(["fly", "swim", "climb", "on a farm"])
            pool = [a.plural for a in w.ANIMALS.values() if key in a.can or a.lives == key]
            what = "animals that can " + key if key != "on a farm" else "animals that live on a farm"
    elif r == 5:
        pool, what = [f[1] for f in w.FRUIT if f[3] != "in the ground" and f[0] not in ("tomato", "pumpkin")], "kinds of fruit"
    elif r == 6:
        pool, what = list(w.PLAIN_COLOURS), "colours"
    elif r == 7:
        pool, what = [j[0] for j in w.JOBS], "jobs"
    else:
        pool, what = [o for o in w.OBJECTS if w.OBJECTS[o].use.startswith(("play with", "ride", "spin", "fly"))], "toys"
        pool = [p for p in pool if p not in ("bicycle",)]
    n = min(n, len(pool))
    items = rng.sample(pool, n)
    return (f"{rng.choice(['Name', 'List'])} {w.NUMBERS[n] if rng.random() < 0.7 else n} {what}.",
            pick(rng, join_and(items) + "."), "", None)


def q_fun(rng, split):
    r = rng.random()
    if r < 0.3:
        q, a = rng.choice(w.JOKES)
        return rng.choice(["Tell me a joke.", "Do you know a joke?", "Make me laugh."]), f"{q} {a}", "", None
    if r < 0.6:
        topic, poem = rng.choice(w.POEMS)
        q = rng.choice(["Write a poem about {}.", "Tell me a poem about {}.", "Do you know a poem about {}?"]).format(topic)
        if rng.random() < 0.25:
            q = rng.choice(["Write a poem.", "Tell me a poem.", "Do you know a poem?"])
        return q, poem, "", None
    a = rng.choice(list(w.ANIMALS.values()))
    return (pick(rng, "(Tell me about {p}.|What do you know about {p}?|What is a {a}?|Tell me something about the {a}.)", p=a.plural, a=a.name),
            about_animal(rng, a), "", None)


# --- small situations that must be read -----------------------------------------------------------

def q_situation(rng, split):
    names = rng.sample(w.SHE_NAMES + w.HE_NAMES, 3)
    x, y, z = names
    he = {n: ("she" if n in w.SHE_NAMES else "he") for n in names}
    r = rng.choice([0, 0, 1, 1, 2, 2, 3, 3, 3, 3, 4, 4, 5, 6, 7])
    if r == 0:      # the last place counts
        people = rng.sample(names, rng.randint(2, 3))
        at, lines = {}, []
        for _ in range(rng.randint(2, 4)):
            n, p = rng.choice(people), rng.choice(w.PLACES)
            at[n] = p
            lines.append(pick(rng, "{n} (went|walked|ran) to {p}.", n=n, p=p.the))
        n = rng.choice(list(at))
        return " ".join(lines) + f" Where is {n}?", f"{n} is {at[n].at}.", "situation", at[n].at
    if r == 1:      # numbers change
        one, many, _, _ = rng.choice(w.FRUIT)
        want = split != "train"
        while True:
            a, b = rng.randint(1, 12), rng.randint(1, 10)
            gain = rng.random() < 0.5
            if not gain:
                a, b = max(a, b) + 1, min(a, b)
            if sum_held_out(a, "+" if gain else "-", b) == want:
                break
        c = a + b if gain else a - b
        digit = rng.random() < 0.5 or c > 20
        num = (lambda k: str(k)) if digit else (lambda k: w.NUMBERS[k])
        thing = lambda k: num(k) + " " + (one if k == 1 else many)
        change = pick(rng, "{y} gives {h} {b} more.", y=y, h="her" if he[x] == "she" else "him", b=num(b)) if gain else \
            pick(rng, "{H} (eats|gives {y}|loses) {b}.", H=he[x].capitalize(), y=y, b=num(b))
        return (f"{x} has {thing(a)}. {change} How many {many} does {x} have now?", f"{x} has {thing(c)} now.", "sum-in-words", num(c))
    if r == 2:      # order
        adj, more, most = rng.choice([("tall", "taller", "tallest"), ("fast", "faster", "fastest"), ("old", "older", "oldest"),
                                      ("strong", "stronger", "strongest")])
        opp = {"taller": "shorter", "faster": "slower", "older": "younger", "stronger": "weaker"}[more]
        if rng.random() < 0.5:
            ask_more = rng.random() < 0.5
            a = x if ask_more else y
            return (f"{x} is {more} than {y}. Who is {more if ask_more else opp}?", f"{a} is {more if ask_more else opp}.", "situation", a)
        lines = [f"{x} is {more} than {y}.", f"{y} is {more} than {z}."]
        rng.shuffle(lines)
        return " ".join(lines) + f" Who is the {most}?", f"{x} is the {most}.", "situation", x
    if r == 3:      # whose, which colour
        o = rng.sample([o for o in w.OBJECTS], 3)
        c = rng.sample(w.PLAIN_COLOURS, 3)
        n = rng.randint(2, 3)
        text = " ".join(pick(rng, "{n} has a {c} {o}.", n=names[i], c=c[i], o=o[i]) for i in range(n))
        i = rng.randrange(n)
        k = rng.randrange(3)
        if k == 0:
            return text + f" What colour is {names[i]}'s {o[i]}?", f"{names[i]}'s {o[i]} is {c[i]}.", "situation", c[i]
        if k == 1:
            return text + f" Who has the {o[i]}?", f"{names[i]} has the {o[i]}.", "situation", names[i]
        return (text + f" What does {names[i]} have?", pick(rng, "{n} has a {c} {o}.", n=names[i], c=c[i], o=o[i]), "situation",
                pick(rng, "a {c} {o}", c=c[i], o=o[i]))
    if r == 4:      # a thing changes hands
        o = rng.choice(list(w.OBJECTS))
        text = pick(rng, "{x} has a {o}. {x} gives the {o} to {y}.", x=x, y=y, o=o)
        owner = y
        if rng.random() < 0.5:
            text += f" Then {y} gives the {o} to {z}."
            owner = z
        return text + f" Who has the {o} now?", f"{owner} has the {o} now.", "situation", owner
    if r == 5:      # feelings and reasons
        why, mood = rng.choice([("lost {s} ball", "sad"), ("got a new bicycle", "happy"), ("heard a loud noise in the dark", "afraid"),
                                ("did not sleep all night", "tired"), ("did not eat all day", "hungry"), ("won the race", "happy"),
                                ("broke {s} favourite cup", "sad"), ("walked in the hot sun all day", "thirsty"),
                                ("saw a big spider", "afraid"), ("ran up the hill", "tired"), ("got a letter from a friend", "happy")])
        why = why.replace("{s}", "her" if he[x] == "she" else "his")
        if rng.random() < 0.5:
            return f"{x} {why}. How does {x} feel?", f"{x} feels {mood}.", "situation", mood
        return f"{x} is {mood}. {he[x].capitalize()} {why}. Why is {x} {mood}?", f"{x} is {mood} because {he[x]} {why}.", "situation", f"because {he[x]} {why}"
    if r == 6:      # json
        o, c = rng.choice(list(w.OBJECTS)), rng.choice(w.PLAIN_COLOURS)
        k = rng.choice(list(w.ANIMALS))
        text = pick(rng, "{x} the {k} has a {c} {o}.", x=x, k=k, c=c, o=o)
        keys = rng.sample([("name", x), ("animal", k), ("colour", c), ("thing", o)], rng.randint(2, 4))
        return (text + " " + rng.choice(["Give me the {} as JSON.", "Write the {} as JSON.", "JSON with the {}, please."]).format(
            join_and([q for q, _ in keys])), json.dumps(dict(keys)), "json", None)
    # say it again, and other simple obedience
    word = rng.choice(list(w.OBJECTS) + list(w.ANIMALS) + w.PLAIN_COLOURS + ["hello", "thank you", "good night"])
    k = rng.randrange(3)
    if k == 0:
        return rng.choice([f'Say "{word}".', f"Say {word}.", f'Repeat "{word}".', f"Repeat after me: {word}"]), word[0].upper() + word[1:] + ".", "copy", None
    if k == 1:
        n = rng.randint(2, 4)
        return f'Say "{word}" {["", "", "twice", "three times", "four times"][n]}.', (" ".join([word] * n)).capitalize() + ".", "copy", None
    a, b = rng.sample(list(w.ANIMALS), 2)
    return (pick(rng, "Make a sentence with {a} and {b}.", a=a, b=b), pick(rng, "The {a} and the {b} (are friends|live in the same forest|went for a walk|played together all day).", a=a, b=b), "", None)


WORLD_QUESTIONS = [(q_animal, 20), (q_compare, 6), (q_sum, 30), (q_words, 14), (q_fact, 20), (q_village, 12), (q_self, 7),
                   (q_small, 6), (q_unknown, 6), (q_list, 7), (q_fun, 6), (q_situation, 48)]
_Q_FUN = [q for q, _ in WORLD_QUESTIONS]
_Q_WEIGHT = [n for _, n in WORLD_QUESTIONS]


def world_question(rng, split):
    return rng.choices(_Q_FUN, _Q_WEIGHT)[0](rng, split)


# --- documents ----------------------------------------------------------------------------------

def title(rng, s):
    return pick(rng, "(The {K} and the {O}|{N} and the {O}|{N} and {F}|The {O}|{N} the {K})", K=s.hero.kind.title(), N=s.hero.name,
                F=s.friend.name, O=s.thing.name.title())


def request(rng, s):
    """Ask for the story s."""
    k, o, n = s.hero.kind, s.thing.name, s.hero.name
    form = rng.random()
    verb = rng.choice(["Tell me a story", "Tell me a short story", "Write a story", "Write a little story", "Can you tell me a story",
                       "Please tell me a story", "I would like a story", "Make up a story", "Tell a story", "Write a short story"])
    if form < 0.36:
        about = pick(rng, "about a {k} and a {o}", k=k, o=o)
    elif form < 0.4:
        about = pick(rng, "about a {t} {k}", k=k, t=s.hero.trait)
    elif form < 0.43 and s.place.at in s.text():
        about = pick(rng, "about a {k} {p}", k=k, p=s.place.at)
    elif form < 0.5:
        about = pick(rng, "about a {k} named {n}", k=k, n=n)
    elif form < 0.6:
        about = pick(rng, "about a {k}", k=k)
    elif form < 0.66:
        about = pick(rng, "about a {o}", o=o)
    elif form < 0.74 and s.friend.name in s.text() and s.friend.kind in s.text():
        about = pick(rng, "about a {k} and a {f}", k=k, f=s.friend.kind)
    elif form < 0.84 and s.topic:
        about = "about " + s.topic
    elif form < 0.92:
        about = pick(rng, "about {n} the {k}", n=n, k=k)
    else:
        about = ""
    about = about[:1].lower() + about[1:]
    end = "?" if verb.startswith("Can") else "."
    return (verb + " " + about).strip() + end


def doc_story(rng, split):
    s = make_story(rng, split)
    text = s.text()
    if rng.random() < 0.2:
        text = title(rng, s) + "\n\n" + text
    return {"text": text}


def doc_request(rng, split):
    t = Talk(rng, split)
    t.system()
    if rng.random() < 0.15:
        t.turn(*q_small(rng, split))
    s = make_story(rng, split)
    t.turn(request(rng, s), s.text(), "story")
    if rng.random() < 0.4:
        story_questions(t, s, rng.randint(1, 4))
    if rng.random() < 0.15:
        s = make_story(rng, split)
        t.turn(rng.choice(["Another one, please.", "Tell me another story.", "Another story!", "One more story, please.", request(rng, s)]),
               s.text(), "story")
        if rng.random() < 0.4:
            story_questions(t, s, rng.randint(1, 2))
    elif rng.random() < 0.15:
        t.turn(*q_small(rng, split))
    return t.doc()


def doc_chapters(rng, split):
    n = rng.choice([2, 2, 3])
    chapters = make_chapters(rng, split, n)
    text = "\n\n".join(f"Chapter {i + 1}\n\n{s.text()}" for i, s in enumerate(chapters))
    if rng.random() < 0.25:
        return {"text": text}
    t = Talk(rng, split)
    t.system()
    s = chapters[0]
    ask = ["Tell me a long story about {}.", "Write a long story about {}."]
    if n == 3:
        ask.append("Write a story with three chapters about {}.")
    else:
        ask.append("Write a story with two chapters about {}.")
    about = pick(rng, "(a {k} and a {o}|a {k}|{n} the {k})", k=s.hero.kind, o=s.thing.name, n=s.hero.name)
    if not about.startswith(s.hero.name):
        about = about[0].lower() + about[1:]
    t.turn(rng.choice(ask).format(about), text, "story")
    return t.doc()


def story_questions(t, s, n):
    rng = t.rng
    for kind, q, a, short in rng.sample(s.questions, min(n, len(s.questions))):
        t.turn(q, a, "read-" + kind, short)
    if rng.random() < 0.12:
        q = pick(rng, "(What did {h} eat for breakfast|How tall was {h}|What was the name of {h}'s (sister|uncle|teacher)|What was {h}'s favourite song|"
                 "How many brothers did {h} have|What colour were {h}'s eyes|How much did {h} weigh)?", h=s.hero.name)
        t.turn(q, "The story does not say.", "read-unknown")


def doc_read(rng, split):
    t = Talk(rng, split)
    t.system()
    s = make_story(rng, split)
    text = s.text()
    if rng.random() < 0.3:
        text = text.replace("\n\n", " ")
    kind, q, a, short = rng.choice(s.questions)
    form = rng.random()
    if form < 0.3:
        q = f"Read this story and answer the question.\n\n{text}\n\nQuestion: {q}"
    elif form < 0.6:
        q = f"{text}\n\n{q}"
    elif form < 0.8:
        q = f"Here is a story: {text}\n\n{q}"
    else:
        q = f"{q}\n\n{text}"
    t.turn(q, a, "read-" + kind, short)
    story_questions(t, s, rng.randint(0, 4))
    if rng.random() < 0.15:
        t.turn(*world_question(rng, split))
    return t.doc()


def doc_questions(rng, split):
    t = Talk(rng, split)
    t.system()
    name_at = rng.random() < 0.12
    n = rng.choice([1, 2, 3, 4, 5, 6, 8, 10])
    name = rng.choice(w.SHE_NAMES + w.HE_NAMES)
    told = False
    for i in range(n):
        if name_at and i == 0:
            t.turn(rng.choice(["My name is {}.", "Hello, my name is {}.", "I am {}.", "Hi! I am {}."]).format(name),
                   f"Hello, {name}! How can I help you?", "")
            told = True
        elif told and rng.random() < 0.35:
            t.turn(rng.choice(["What is my name?", "Do you know my name?", "Do you remember my name?", "Who am I?"]), f"Your name is {name}.", "memory",
                   name)
        elif not told and rng.random() < 0.02:
            t.turn(rng.choice(["What is my name?", "Who am I?"]), _UNKNOWN_ANSWER, "unknown")
        else:
            t.turn(*world_question(rng, split))
    return t.doc()


def doc_facts(rng, split):
    """Plain prose about the world."""
    if rng.random() < 0.6:
        parts = [about_animal(rng, a) for a in rng.sample(list(w.ANIMALS.values()), rng.randint(1, 3))]
    else:
        parts = [about_villager(v) for v in rng.sample(list(w.VILLAGERS.values()), rng.randint(1, 4))]
    return {"text": "\n\n".join(parts)}


_PAIRS = ["has", "went", "likes", "job"]


def pair_fact(rng, n, kind, used):
    """A statement about the person n, and the questions that it answers; no value is used twice."""
    def fresh(items, key=lambda x: x):
        while True:
            x = rng.choice(items)
            if key(x) not in used:
                used.add(key(x))
                return x
    if kind == "has":
        o, c = fresh(list(w.OBJECTS)), fresh(w.PLAIN_COLOURS)
        say = pick(rng, "{n} has a {c} {o}.", n=n, c=c, o=o)
        return say, [(f"What does {n} have?", say, say.split(" has ")[1][:-1]), (f"Who has the {o}?", f"{n} has the {o}.", n),
                     (f"What colour is {n}'s {o}?", f"{n}'s {o} is {c}.", c), (f"Whose {o} is {c}?", f"{n}'s {o} is {c}.", n)]
    if kind == "went":
        p = fresh(w.PLACES, lambda x: x.the)
        return (pick(rng, "{n} (went|walked|ran) to {p}.", n=n, p=p.the),
                [(f"Where is {n}?", f"{n} is {p.at}.", p.at), (f"Who is {p.at}?", f"{n} is {p.at}.", n)])
    if kind == "likes":
        f = fresh([x[1] for x in w.FRUIT])
        return f"{n} likes {f}.", [(f"What does {n} like?", f"{n} likes {f}.", f), (f"Who likes {f}?", f"{n} likes {f}.", n)]
    j = fresh([x[0] for x in w.JOBS])
    say = pick(rng, "{n} is a {j}.", n=n, j=j)
    return say, [(f"What is {n}'s job?", say, say.split(" is ")[1][:-1]), (f"Who is the {j}?", f"{n} is the {j}.", n)]


def doc_pairs(rng, split):
    """Several people, something about each, and questions: the answer must be looked up by the name."""
    t = Talk(rng, split)
    t.system()
    names = rng.sample(w.SHE_NAMES + w.HE_NAMES, rng.choice([2, 2, 3, 3, 4, 5]))
    kind = rng.choice(_PAIRS + ["has", "has", None])
    used, lines, asks = set(), [], []
    for n in names:
        say, more = pair_fact(rng, n, kind or rng.choice(_PAIRS), used)
        lines.append(say)
        asks.append(more)
    text = " ".join(lines)
    for i in range(rng.choice([1, 1, 2, 4, 6])):
        q, a, short = rng.choice(rng.choice(asks))
        t.turn(f"{text} {q}" if i == 0 else q, a, "situation", short)
    return t.doc()


def doc_word_sums(rng, split):
    """Sums of numbers up to twenty, written as words, alone and in little stories."""
    t = Talk(rng, split)
    t.system()
    for _ in range(rng.randint(1, 4)):
        op = rng.choice(["plus", "minus"])
        while True:
            a, b = rng.randint(0, 20), rng.randint(0, 20)
            c = a + b if op == "plus" else a - b
            if 0 <= c <= 20 and sum_held_out(a, "+" if op == "plus" else "-", b) == (split != "train"):
                break
        a, b, c = w.NUMBERS[a], w.NUMBERS[b], w.NUMBERS[c]
        r = rng.random()
        if r < 0.4:
            t.turn(f"{rng.choice(['What is', 'How much is'])} {a} {op} {b}?", f"{a.capitalize()} {op} {b} is {c}.", "sum-in-words", c)
            continue
        n = rng.choice(w.SHE_NAMES + w.HE_NAMES)
        he = "She" if n in w.SHE_NAMES else "He"
        one, many, _, _ = rng.choice(w.FRUIT)
        thing = lambda k: f"{k} {one if k == 'one' else many}"
        change = (pick(rng, "{H} (gets|finds|buys) {b} more.", H=he, b=b) if op == "plus"
                  else pick(rng, "{H} (eats|loses|sells) {b}.", H=he, b=b))
        t.turn(f"{n} has {thing(a)}. {change} How many {many} does {n} have now?", f"{n} has {thing(c)} now.", "sum-in-words", c)
    return t.doc()


MAKERS = [(doc_story, 22), (doc_request, 26), (doc_read, 18), (doc_questions, 32), (doc_facts, 2), (doc_chapters, 3)]
# The last, short stage of training sees less of the stories and more of what is hard to learn.
FINISH = [(doc_story, 10), (doc_request, 14), (doc_read, 12), (doc_questions, 22), (doc_facts, 1), (doc_chapters, 2),
          (doc_pairs, 28), (doc_word_sums, 11)]
MIXES = {"first": MAKERS, "finish": FINISH}


def make_doc(seed, split, i, mix="first"):
    rng = random.Random(f"{seed}/{split}/{i}" + ("" if mix == "first" else "/" + mix))
    maker = rng.choices([m for m, _ in MIXES[mix]], [n for _, n in MIXES[mix]])[0]
    return maker(rng, split)


def _chunk(job):
    seed, split, mix, start, stop = job
    return "".join(json.dumps(make_doc(seed, split, i, mix)) + "\n" for i in range(start, stop))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--split", choices=["train", "val"], default="train")
    p.add_argument("--mix", choices=sorted(MIXES), default="first")
    p.add_argument("--docs", type=int, default=1000)
    p.add_argument("--seed", type=int, default=SEED)
    p.add_argument("--jobs", type=int, default=1)
    p.add_argument("--out", default="-")
    a = p.parse_args()
    step = 500
    jobs = [(a.seed, a.split, a.mix, i, min(i + step, a.docs)) for i in range(0, a.docs, step)]
    out = sys.stdout if a.out == "-" else open(a.out, "w")
    with multiprocessing.Pool(a.jobs) as pool:
        for text in pool.imap(_chunk, jobs):
            out.write(text)
    out.flush()


if __name__ == "__main__":
    main()
