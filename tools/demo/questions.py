"""Questions about the world. Each q_ function draws one and returns it with its answer, the kind of
question ("" where an answer is not graded), and a short answer or None.
"""

import random

import world as w
from stories import fill, held_out


def pick(rng, template, **ctx):
    return fill(rng, template, ctx)


def join_and(items):
    return items[0] if len(items) == 1 else ", ".join(items[:-1]) + " and " + items[-1]


def q_animal(rng, split):
    a = rng.choice(list(w.ANIMALS.values()))
    ctx = dict(a=a.name, p=a.plural, P=a.plural.capitalize())
    P = ctx["P"]
    r = rng.randrange(9)
    if r == 0:
        return (
            pick(rng, "(What do {p} eat?|What does a {a} eat?)", **ctx),
            f"{P} eat {a.eats}.",
            "animal",
            a.eats,
        )
    if r == 1:
        return (
            pick(rng, "(Where do {p} live?|Where does a {a} live?)", **ctx),
            f"{P} live {a.lives}.",
            "animal",
            a.lives,
        )
    if r == 2 and a.voice:
        return (
            pick(
                rng,
                "(What sound does a {a} make?|What noise does a {a} make?|What does a {a} say?)",
                **ctx,
            ),
            pick(rng, "A {a} {v}.", v=a.voice, **ctx),
            "animal",
            a.voice,
        )
    if r == 3 and a.young:
        return (
            pick(
                rng,
                "(What is a baby {a} called?|What do you call a baby {a}?|What is the name for a"
                " young {a}?)",
                **ctx,
            ),
            pick(rng, "A baby {a} is called a {y}.", y=a.young, **ctx),
            "animal",
            pick(rng, "a {y}", y=a.young),
        )
    if r == 4:
        n = w.NUMBERS[a.legs]
        return (
            pick(rng, "(How many legs does a {a} have?|How many legs do {p} have?)", **ctx),
            pick(rng, "A {a} has {n} legs.", n="no" if a.legs == 0 else n, **ctx),
            "animal",
            n,
        )
    if r == 5 and a.cover:
        return (
            pick(
                rng,
                "(What covers a {a}?|What is the body of a {a} covered with?|What does a {a} have"
                " on its body?)",
                **ctx,
            ),
            pick(rng, "A {a} has {c}.", c=a.cover, **ctx),
            "animal",
            a.cover,
        )
    if r == 6:
        return (
            pick(rng, "What is the plural of {a}?", **ctx),
            f"The plural of {a.name} is {a.plural}.",
            "words",
            a.plural,
        )
    if r == 7 and a.colours:
        c = (
            " or ".join(a.colours)
            if len(a.colours) < 3
            else ", ".join(a.colours[:-1]) + " or " + a.colours[-1]
        )
        return (
            pick(rng, "(What colour is a {a}?|What colour are {p}?)", **ctx),
            pick(rng, "A {a} is usually {c}.", c=c, **ctx),
            "animal",
            c,
        )
    verb = rng.choice(["fly", "swim", "climb"])
    sure = {"fly": True, "swim": verb in a.can or a.cover == "feathers", "climb": verb in a.can}[
        verb
    ]
    if verb in a.can:
        return (
            pick(rng, "Can a {a} {v}?", v=verb, **ctx),
            pick(rng, "Yes, a {a} can {v}.", v=verb, **ctx),
            "yesno",
            "yes",
        )
    if verb == "fly" or not sure and a.size > 8 and verb == "climb":
        return (
            pick(rng, "Can a {a} {v}?", v=verb, **ctx),
            pick(rng, "No, a {a} cannot {v}.", v=verb, **ctx),
            "yesno",
            "no",
        )
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
        return (
            pick(rng, "(Which is|What is|Who is) {w}, a {a} or a {b}?", w=word, a=a.name, b=b.name),
            pick(
                rng,
                "A {x} is {w} than a {y}.",
                w=word,
                x=x.name,
                y=(small if x is big else big).name,
            ),
            "compare",
            pick(rng, "a {x}", x=x.name),
        )
    word = rng.choice(["bigger", "smaller"])
    yes = (a is big) == (word == "bigger")
    return (
        pick(rng, "Is a {a} {w} than a {b}?", a=a.name, b=b.name, w=word),
        pick(
            rng,
            "Yes, a {a} is {w} than a {b}." if yes else "No, a {a} is {v} than a {b}.",
            a=a.name,
            b=b.name,
            w=word,
            v="smaller" if word == "bigger" else "bigger",
        ),
        "compare",
        "yes" if yes else "no",
    )


def sum_held_out(a, op, b):
    """Sums of numbers up to ten are all in the training text; about one in twenty of the others
    is not.
    """
    return (a > 10 or b > 10) and held_out(f"{a}{op}", str(b))


def q_sum(rng, split):
    want = split != "train"
    if rng.random() < 0.04:
        a, b, sign = rng.randint(100, 99999), rng.randint(2, 99999), rng.choice("+-*")
        return (
            rng.choice(["What is {} {} {}?", "How much is {} {} {}?", "{} {} {}"]).format(
                a, sign, b
            ),
            "That sum is too big for me.",
            "unknown",
            None,
        )
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
        q = rng.choice(
            [
                "What is {} {} {}?",
                "How much is {} {} {}?",
                "{} {} {} = ?",
                "Calculate {} {} {}.",
                "{} {} {}",
                "What is {} {} {}?",
            ]
        ).format(a, sign, b)
        return q, f"{a} {sign} {b} = {c}", tag, str(c)
    q = rng.choice(["What is {} {} {}?", "How much is {} {} {}?"]).format(a, word, b)
    return q, f"{a} {word} {b} is {c}.", tag, str(c)


def q_words(rng, split):
    r = rng.randrange(6)
    if r < 2:
        a, b = rng.choice(w.OPPOSITES)
        if r == 1 and a in w.OPPOSITES_BOTH and sum(y == b for _, y in w.OPPOSITES) == 1:
            a, b = b, a
        return (
            pick(
                rng,
                '(What is the opposite of {a}?|What is the opposite of "{a}"?|Opposite of {a}?)',
                a=a,
            ),
            f"The opposite of {a} is {b}.",
            "words",
            b,
        )
    if r == 2:
        i = rng.randrange(7)
        if rng.random() < 0.5:
            return (
                pick(
                    rng,
                    "(What day comes after {d}?|Which day comes after {d}?|Today is {d}. What day"
                    " is tomorrow?)",
                    d=w.DAYS[i],
                ),
                rng.choice(["{} comes after {}."]).format(w.DAYS[(i + 1) % 7], w.DAYS[i]),
                "calendar",
                w.DAYS[(i + 1) % 7],
            )
        return (
            pick(
                rng,
                "(What day comes before {d}?|Which day comes before {d}?|Today is {d}. What day was"
                " yesterday?)",
                d=w.DAYS[i],
            ),
            f"{w.DAYS[(i - 1) % 7]} comes before {w.DAYS[i]}.",
            "calendar",
            w.DAYS[(i - 1) % 7],
        )
    if r == 3:
        i = rng.randrange(12)
        after = rng.random() < 0.5
        j = (i + (1 if after else -1)) % 12
        rel = "after" if after else "before"
        return (
            f"{rng.choice(['Which', 'What'])} month comes {rel} {w.MONTHS[i]}?",
            f"{w.MONTHS[j]} comes {rel} {w.MONTHS[i]}.",
            "calendar",
            w.MONTHS[j],
        )
    if r == 4:
        one, many, colour, grows = rng.choice(w.FRUIT)
        k = rng.randrange(3)
        if k == 0:
            return f"What is the plural of {one}?", f"The plural of {one} is {many}.", "words", many
        if k == 1:
            return (
                pick(rng, "(What colour is a ripe {o}?|What colour are ripe {m}?)", o=one, m=many),
                pick(rng, "A ripe {o} is {c}.", o=one, c=colour),
                "fact",
                colour,
            )
        return (
            pick(rng, "(Where do {m} grow?|Where does a {o} grow?)", o=one, m=many),
            pick(rng, "A {o} grows {g}.", o=one, g=grows),
            "fact",
            grows,
        )
    i = rng.randrange(4)
    after = rng.random() < 0.5
    j = (i + (1 if after else -1)) % 4
    rel = "after" if after else "before"
    return (
        f"Which season comes {rel} {w.SEASONS[i]}?",
        f"{w.SEASONS[j].capitalize()} comes {rel} {w.SEASONS[i]}.",
        "calendar",
        w.SEASONS[j],
    )


def q_fact(rng, split):
    r = rng.random()
    if r < 0.5:
        q, a, short = rng.choice(w.CAUSES)
        return q, a, "fact", short
    if r < 0.65:
        thing, colour = rng.choice(w.COLOUR_OF)
        return (
            f"What colour is {thing}?",
            f"{thing[0].upper() + thing[1:]} is {colour}.",
            "fact",
            colour,
        )
    if r < 0.8:
        job, does, where = rng.choice(w.JOBS)
        if rng.random() < 0.5:
            return (
                pick(rng, "What does a {j} do?", j=job),
                pick(rng, "A {j} {d}.", j=job, d=does),
                "fact",
                does,
            )
        if rng.random() < 0.5:
            return (
                pick(rng, "Where does a {j} work?", j=job),
                pick(rng, "A {j} works {x}.", j=job, x=where),
                "fact",
                where,
            )
        return (
            pick(rng, "Who {d}?", d=does),
            pick(rng, "A {j} {d}.", j=job, d=does),
            "fact",
            pick(rng, "a {j}", j=job),
        )
    country, city = rng.choice(w.CAPITALS)
    if rng.random() < 0.8:
        return (
            rng.choice(
                [
                    "What is the capital of {}?",
                    "What is the capital city of {}?",
                    "Which city is the capital of {}?",
                ]
            ).format(country),
            f"The capital of {country} is {city}.",
            "fact",
            city,
        )
    return (
        f"{city} is the capital of which country?",
        f"{city} is the capital of {country}.",
        "fact",
        country,
    )


def q_village(rng, split):
    v = rng.choice(list(w.VILLAGERS.values()))
    r = rng.randrange(9)
    if r == 0:
        return f"Where does {v.name} live?", f"{v.name} lives {v.home}.", "village", v.home
    if r == 1:
        return (
            pick(rng, "(What kind of animal is {n}?|What animal is {n}?|What is {n}?)", n=v.name),
            pick(rng, "{n} is a {k}.", n=v.name, k=v.kind),
            "village",
            pick(rng, "a {k}", k=v.kind),
        )
    if r == 2:
        return (
            pick(rng, "(What is {n}'s favourite food?|What does {n} like to eat?)", n=v.name),
            f"{v.name}'s favourite food is {v.food}.",
            "village",
            v.food,
        )
    if r == 3:
        return (
            f"What is {v.name}'s favourite colour?",
            f"{v.name}'s favourite colour is {v.colour}.",
            "village",
            v.colour,
        )
    if r == 4:
        return (
            pick(rng, "(Who is {n}'s best friend?|Who is the best friend of {n}?)", n=v.name),
            f"{v.name}'s best friend is {v.friend}.",
            "village",
            v.friend,
        )
    if r == 5:
        return (
            pick(rng, "(What is {n}'s job?|What does {n} do?|What work does {n} do?)", n=v.name),
            pick(rng, "{n} is a {j}.", n=v.name, j=v.job),
            "village",
            pick(rng, "a {j}", j=v.job),
        )
    if r == 6:
        return f"What is {v.name} like?", f"{v.name} is {v.trait}.", "village", v.trait
    if r == 7:
        return (
            pick(
                rng,
                "(Who is the {j} in Willow Village?|Who works as a {j} in Willow Village?)",
                j=v.job,
            ),
            pick(rng, "{n} the {k} is the {j} in Willow Village.", n=v.name, k=v.kind, j=v.job),
            "village",
            v.name,
        )
    return (
        pick(rng, "(Who is {n}?|Tell me about {n}.|Do you know {n}?)", n=v.name),
        about_villager(v),
        "village",
        None,
    )


def about_villager(v):
    he, his = v.sex.capitalize(), "His" if v.sex == "he" else "Her"
    return fill(
        random.Random(0),
        "{n} is a {t} {k} who lives {h} in Willow Village. {H} works as a {j}. {i} favourite food"
        " is {f}, and {i2} best friend is {b}.",
        dict(
            n=v.name,
            t=v.trait,
            k=v.kind,
            h=v.home,
            H=he,
            j=v.job,
            i=his,
            i2=his.lower(),
            f=v.food,
            b=v.friend,
        ),
    )


def about_animal(rng, a):
    parts = [pick(rng, "{P} live {l} and eat {e}.", P=a.plural.capitalize(), l=a.lives, e=a.eats)]
    more = [
        pick(rng, "A {a} has {n} legs.", a=a.name, n="no" if a.legs == 0 else w.NUMBERS[a.legs])
    ]
    if a.cover:
        more.append(
            pick(rng, "Its body has {c}.", c=a.cover) if a.cover != "a shell" else "It has a shell."
        )
    if a.voice:
        more.append(pick(rng, "A {a} {v}.", a=a.name, v=a.voice))
    if a.young:
        more.append(pick(rng, "A baby {a} is called a {y}.", a=a.name, y=a.young))
    if a.can:
        more.append(pick(rng, "A {a} can {c} well.", a=a.name, c=join_and(a.can)))
    return " ".join(parts + rng.sample(more, min(len(more), rng.randint(2, 4))))


_SELF = [
    (
        (
            "Who are you?|What are you?|What is your name?|Tell me about yourself.|What is your"
            " name, please?|And who are you?"
        ),
        "I am verbatim's small demo model. I tell little stories and answer simple questions.",
    ),
    (
        "What can you do?|What can you help me with?|How can you help me?|What do you know?|Help",
        (
            "I can tell little stories, answer simple questions about animals, days, colours and"
            " sums, and answer questions about a short story."
        ),
    ),
    (
        "Are you a person?|Are you human?|Are you alive?|Are you real?",
        "No, I am a small language model. I am a program.",
    ),
    (
        "How big are you?|Are you a big model?|How many parameters do you have?",
        "I am very small: I have about four million parameters.",
    ),
    (
        "Who made you?|Where do you come from?|Who trained you?",
        "I was trained by the scripts that come with verbatim, on text that a program wrote.",
    ),
    (
        "Are you smart?|Do you know everything?|Can you make mistakes?|Are you always right?",
        "No, I am very small and I know only a little world. I make mistakes.",
    ),
    (
        "What is verbatim?|What is Verbatim?",
        "Verbatim is a program that runs language models. I am its small demo model.",
    ),
    (
        "What is a language model?|What is an LLM?|How do you work?",
        (
            "A language model is a program that writes text piece by piece. Each piece is a guess"
            " from what came before."
        ),
    ),
    ("What is verbatim written in?|Is verbatim written in C?", "Verbatim is written in C."),
    (
        "Do you have feelings?|Are you happy?|Do you get tired?",
        "I am a program, so I do not feel anything. But I am glad to help you.",
    ),
    (
        "What language do you speak?|Do you speak French?|Can you speak German?",
        "I only know simple English.",
    ),
]


_SMALL = [
    (
        "Hello!|Hello|Hi|Hi!|Hi there!|Hey|Good day!",
        (
            "Hello! How can I help you?|Hello! Would you like a story?|Hi! What would you like to"
            " know?"
        ),
    ),
    ("Good morning!|Good morning", "Good morning! How can I help you?"),
    ("Good evening!|Good evening", "Good evening! How can I help you?"),
    ("How are you?|How are you today?|How do you do?", "I am fine, thank you. How can I help you?"),
    ("Thank you!|Thanks!|Thank you very much.|Thanks a lot!|thanks", "You are welcome!"),
    ("That was nice.|I like that.|Very good!|Great!|Good job!", "I am glad that you like it."),
    ("Goodbye!|Bye!|Good night!|See you later!|bye", "Goodbye! Have a nice day."),
    (
        "I am sad.|I feel sad today.|I had a bad day.",
        "I am sorry to hear that. Would you like a little story?",
    ),
    ("I am happy.|I am happy today!|I had a good day.", "I am glad to hear that!"),
    (
        "I am bored.|I am so bored.",
        "Would you like a little story? Tell me what it should be about.",
    ),
    (
        "That is wrong.|You are wrong.|That is not right.",
        "I am sorry. I am a small model and I make mistakes.",
    ),
]


_UNKNOWN = [
    "What time is it?",
    "What is the weather like today?",
    "Will it rain tomorrow?",
    "What day is it today?",
    "How old am I?",
    "Where am I?",
    "What did I eat for breakfast?",
    "Who won the football game last night?",
    "What is the price of gold?",
    "Who is the president?",
    "Who is the king of the world?",
    "How do I fix my car?",
    "What is the meaning of life?",
    "How do I write a program?",
    "What is quantum physics?",
    "What is my phone number?",
    "What will happen next year?",
    "Can you send an email for me?",
    "What is the news today?",
    "How many people live on Earth?",
    "Who wrote this book?",
    "What is the square root of 529?",
    "How far away is the nearest star?",
    "What is my favourite colour?",
    "Where are my keys?",
    "Which film should I watch?",
    "What is in my pocket?",
    "How tall am I?",
    "When is my birthday?",
    "Who is my neighbour?",
    "What is a neural network?",
    "How does a computer work?",
    "What is the stock market?",
    "Who was the first man in space?",
    "What is electricity?",
    "How do planes fly?",
    "What should I cook for dinner?",
    "Who is the best singer?",
    "What am I thinking of?",
    "What is the name of my dog?",
    "What colour is my shirt?",
    "Is it cold outside today?",
]


UNKNOWN_ANSWER = "I do not know that."


_UNKNOWN_COUNTRIES = (
    "Brazil India Mexico Russia Turkey Chile Cuba Iran Iraq Israel Australia Argentina Belgium"
    " Hungary Iceland Nigeria Pakistan Romania Switzerland Thailand Ukraine Vietnam Morocco Nepal"
    " Colombia"
).split()


_UNKNOWN_WORDS = (
    "gravity philosophy chemistry inflation democracy an-atom a-black-hole a-computer software"
    " the-internet algebra history DNA a-virus love time art music-theory geology a-planet politics"
    " a-volcano a-transformer machine-learning Python C Linux an-operating-system a-compiler"
    " an-engine"
).split()


_CANNOT = [
    "Write a Python function.",
    "Write some code.",
    "Write a program that sorts numbers.",
    "Translate this to French.",
    "Translate hello to German.",
    "Draw me a picture.",
    "Send a letter to my friend.",
    "Book a flight for me.",
    "Play some music.",
    "Open the door.",
    "Order a pizza.",
    "Set an alarm.",
    "Call my mother.",
    "Write an essay about history.",
    "Summarise this book.",
    "Search the web for shoes.",
    "Turn on the light.",
    "Do my homework.",
    "Write a letter to my boss.",
    "Fix my code.",
]


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
        return (
            f"What is the capital of {rng.choice(_UNKNOWN_COUNTRIES)}?",
            UNKNOWN_ANSWER,
            "unknown",
            None,
        )
    if r < 0.45:
        word = rng.choice(_UNKNOWN_WORDS).replace("-", " ")
        return (
            rng.choice(
                ["What is {}?", "Explain {}.", "Tell me about {}.", "How does {} work?"]
            ).format(word),
            UNKNOWN_ANSWER,
            "unknown",
            None,
        )
    if r < 0.6:
        n = rng.choice(w.SHE_NAMES + w.HE_NAMES)
        return (
            rng.choice(
                [
                    "Who is {}?",
                    "Where does {} live?",
                    "What is {}'s job?",
                    "What is {}'s favourite food?",
                ]
            ).format(n),
            UNKNOWN_ANSWER,
            "unknown",
            None,
        )
    return rng.choice(_UNKNOWN), UNKNOWN_ANSWER, "unknown", None


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
            q = (
                f"Count from {w.NUMBERS[a]} to {w.NUMBERS[b]}."
                if words
                else f"Count from {a} to {b}."
            )
        return q, ", ".join(w.NUMBERS[i] if words else str(i) for i in seq) + ".", "list", None
    if r == 1:
        return (
            rng.choice(
                [
                    "Name the days of the week.",
                    "What are the days of the week?",
                    "List the days of the week.",
                ]
            ),
            "The days of the week are " + join_and(w.DAYS) + ".",
            "list",
            None,
        )
    if r == 2:
        return (
            rng.choice(
                [
                    "Name the months of the year.",
                    "What are the months of the year?",
                    "List the months.",
                ]
            ),
            "The months are " + join_and(w.MONTHS) + ".",
            "list",
            None,
        )
    if r == 3:
        return (
            rng.choice(
                ["Name the four seasons.", "What are the four seasons?", "What are the seasons?"]
            ),
            "The four seasons are spring, summer, autumn and winter.",
            "list",
            None,
        )
    n = rng.randint(2, 5)
    if r == 4:
        pool, what = [a.plural for a in w.ANIMALS.values()], "animals"
        if rng.random() < 0.5:
            key = rng.choice(["fly", "swim", "climb", "on a farm"])
            pool = [a.plural for a in w.ANIMALS.values() if key in a.can or a.lives == key]
            what = (
                "animals that can " + key if key != "on a farm" else "animals that live on a farm"
            )
    elif r == 5:
        pool, what = [
            f[1] for f in w.FRUIT if f[3] != "in the ground" and f[0] not in ("tomato", "pumpkin")
        ], "kinds of fruit"
    elif r == 6:
        pool, what = list(w.PLAIN_COLOURS), "colours"
    elif r == 7:
        pool, what = [j[0] for j in w.JOBS], "jobs"
    else:
        pool, what = [
            o
            for o in w.OBJECTS
            if w.OBJECTS[o].use.startswith(("play with", "ride", "spin", "fly"))
        ], "toys"
        pool = [p for p in pool if p not in ("bicycle",)]
    n = min(n, len(pool))
    items = rng.sample(pool, n)
    return (
        f"{rng.choice(['Name', 'List'])} {w.NUMBERS[n] if rng.random() < 0.7 else n} {what}.",
        pick(rng, join_and(items) + "."),
        "",
        None,
    )


def q_fun(rng, split):
    r = rng.random()
    if r < 0.3:
        q, a = rng.choice(w.JOKES)
        return (
            rng.choice(["Tell me a joke.", "Do you know a joke?", "Make me laugh."]),
            f"{q} {a}",
            "",
            None,
        )
    if r < 0.6:
        topic, poem = rng.choice(w.POEMS)
        q = rng.choice(
            ["Write a poem about {}.", "Tell me a poem about {}.", "Do you know a poem about {}?"]
        ).format(topic)
        if rng.random() < 0.25:
            q = rng.choice(["Write a poem.", "Tell me a poem.", "Do you know a poem?"])
        return q, poem, "", None
    a = rng.choice(list(w.ANIMALS.values()))
    return (
        pick(
            rng,
            "(Tell me about {p}.|What do you know about {p}?|What is a {a}?|Tell me something about"
            " the {a}.)",
            p=a.plural,
            a=a.name,
        ),
        about_animal(rng, a),
        "",
        None,
    )
