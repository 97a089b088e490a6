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
from plots import make_chapters, make_story
from questions import (
    UNKNOWN_ANSWER,
    about_animal,
    about_villager,
    pick,
    q_animal,
    q_compare,
    q_fact,
    q_fun,
    q_list,
    q_self,
    q_small,
    q_sum,
    q_unknown,
    q_village,
    q_words,
    sum_held_out,
)
from situations import PAIRS, pair_fact, q_situation

SEED = 1


class Talk:
    """A conversation under construction."""

    def __init__(self, rng, split):
        self.rng, self.split = rng, split
        self.messages, self.tags = [], []
        self.style = None

    def system(self):
        rng = self.rng
        r = rng.random()
        if r < 0.12:
            self.style = "short"
            text = rng.choice(
                [
                    "Answer with one word if you can.",
                    "Answer in as few words as possible.",
                    "Give short answers.",
                    "Be brief.",
                    "You give very short answers.",
                ]
            )
        elif r < 0.3:
            text = rng.choice(
                [
                    "You are a helpful assistant.",
                    "You are a helpful assistant.",
                    "You are a friendly assistant who tells stories.",
                    "You answer questions in full sentences.",
                    "You are a kind teacher.",
                    "You are verbatim's small demo model.",
                    "You are a helpful, honest assistant.",
                ]
            )
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
            q = rng.choice(
                [
                    "Please tell me: {}",
                    "I have a question. {}",
                    "Hey, {}",
                    "Can you tell me this? {}",
                ]
            ).format(q)
        return q

    def doc(self):
        return {"messages": self.messages, "tags": self.tags}


WORLD_QUESTIONS = [
    (q_animal, 20),
    (q_compare, 6),
    (q_sum, 30),
    (q_words, 14),
    (q_fact, 20),
    (q_village, 12),
    (q_self, 7),
    (q_small, 6),
    (q_unknown, 6),
    (q_list, 7),
    (q_fun, 6),
    (q_situation, 48),
]


_Q_FUN = [q for q, _ in WORLD_QUESTIONS]


_Q_WEIGHT = [n for _, n in WORLD_QUESTIONS]


def world_question(rng, split):
    return rng.choices(_Q_FUN, _Q_WEIGHT)[0](rng, split)


# --- documents ----------------------------------------------------------------------------------


def title(rng, s):
    return pick(
        rng,
        "(The {K} and the {O}|{N} and the {O}|{N} and {F}|The {O}|{N} the {K})",
        K=s.hero.kind.title(),
        N=s.hero.name,
        F=s.friend.name,
        O=s.thing.name.title(),
    )


def request(rng, s):
    """Ask for the story s."""
    k, o, n = s.hero.kind, s.thing.name, s.hero.name
    form = rng.random()
    verb = rng.choice(
        [
            "Tell me a story",
            "Tell me a short story",
            "Write a story",
            "Write a little story",
            "Can you tell me a story",
            "Please tell me a story",
            "I would like a story",
            "Make up a story",
            "Tell a story",
            "Write a short story",
        ]
    )
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
        t.turn(
            rng.choice(
                [
                    "Another one, please.",
                    "Tell me another story.",
                    "Another story!",
                    "One more story, please.",
                    request(rng, s),
                ]
            ),
            s.text(),
            "story",
        )
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
    about = pick(
        rng, "(a {k} and a {o}|a {k}|{n} the {k})", k=s.hero.kind, o=s.thing.name, n=s.hero.name
    )
    if not about.startswith(s.hero.name):
        about = about[0].lower() + about[1:]
    t.turn(rng.choice(ask).format(about), text, "story")
    return t.doc()


def story_questions(t, s, n):
    rng = t.rng
    for kind, q, a, short in rng.sample(s.questions, min(n, len(s.questions))):
        t.turn(q, a, "read-" + kind, short)
    if rng.random() < 0.12:
        q = pick(
            rng,
            "(What did {h} eat for breakfast|How tall was {h}|What was the name of {h}'s"
            " (sister|uncle|teacher)|What was {h}'s favourite song|How many brothers did {h}"
            " have|What colour were {h}'s eyes|How much did {h} weigh)?",
            h=s.hero.name,
        )
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
            t.turn(
                rng.choice(
                    ["My name is {}.", "Hello, my name is {}.", "I am {}.", "Hi! I am {}."]
                ).format(name),
                f"Hello, {name}! How can I help you?",
                "",
            )
            told = True
        elif told and rng.random() < 0.35:
            t.turn(
                rng.choice(
                    [
                        "What is my name?",
                        "Do you know my name?",
                        "Do you remember my name?",
                        "Who am I?",
                    ]
                ),
                f"Your name is {name}.",
                "memory",
                name,
            )
        elif not told and rng.random() < 0.02:
            t.turn(rng.choice(["What is my name?", "Who am I?"]), UNKNOWN_ANSWER, "unknown")
        else:
            t.turn(*world_question(rng, split))
    return t.doc()


def doc_facts(rng, split):
    """Plain prose about the world."""
    if rng.random() < 0.6:
        parts = [
            about_animal(rng, a) for a in rng.sample(list(w.ANIMALS.values()), rng.randint(1, 3))
        ]
    else:
        parts = [
            about_villager(v) for v in rng.sample(list(w.VILLAGERS.values()), rng.randint(1, 4))
        ]
    return {"text": "\n\n".join(parts)}


def doc_pairs(rng, split):
    """Several people, something about each, and questions: the answer must be looked up by the
    name.
    """
    t = Talk(rng, split)
    t.system()
    names = rng.sample(w.SHE_NAMES + w.HE_NAMES, rng.choice([2, 2, 3, 3, 4, 5]))
    kind = rng.choice(PAIRS + ["has", "has", None])
    used, lines, asks = set(), [], []
    for n in names:
        say, more = pair_fact(rng, n, kind or rng.choice(PAIRS), used)
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
            if 0 <= c <= 20 and sum_held_out(a, "+" if op == "plus" else "-", b) == (
                split != "train"
            ):
                break
        a, b, c = w.NUMBERS[a], w.NUMBERS[b], w.NUMBERS[c]
        r = rng.random()
        if r < 0.4:
            t.turn(
                f"{rng.choice(['What is', 'How much is'])} {a} {op} {b}?",
                f"{a.capitalize()} {op} {b} is {c}.",
                "sum-in-words",
                c,
            )
            continue
        n = rng.choice(w.SHE_NAMES + w.HE_NAMES)
        he = "She" if n in w.SHE_NAMES else "He"
        one, many, _, _ = rng.choice(w.FRUIT)
        thing = lambda k: f"{k} {one if k == 'one' else many}"
        change = (
            pick(rng, "{H} (gets|finds|buys) {b} more.", H=he, b=b)
            if op == "plus"
            else pick(rng, "{H} (eats|loses|sells) {b}.", H=he, b=b)
        )
        t.turn(
            f"{n} has {thing(a)}. {change} How many {many} does {n} have now?",
            f"{n} has {thing(c)} now.",
            "sum-in-words",
            c,
        )
    return t.doc()


MAKERS = [
    (doc_story, 22),
    (doc_request, 26),
    (doc_read, 18),
    (doc_questions, 32),
    (doc_facts, 2),
    (doc_chapters, 3),
]


# The last, short stage of training sees less of the stories and more of what is hard to learn.
FINISH = [
    (doc_story, 10),
    (doc_request, 14),
    (doc_read, 12),
    (doc_questions, 22),
    (doc_facts, 1),
    (doc_chapters, 2),
    (doc_pairs, 28),
    (doc_word_sums, 11),
]


MIXES = {"first": MAKERS, "finish": FINISH}


def make_doc(seed, split, i, mix="first"):
    rng = random.Random(f"{seed}/{split}/{i}" + ("" if mix == "first" else "/" + mix))
    maker = rng.choices([m for m, _ in MIXES[mix]], [n for _, n in MIXES[mix]])[0]
    return maker(rng, split)


def _chunk(job):
    seed, split, mix, start, stop = job
    return "".join(json.dumps(make_doc(seed, split, i, mix)) + "\n" for i in range(start, stop))


def main():
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
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
