"""Small situations that must be read before their question can be answered."""

import json

import world as w
from questions import join_and, pick, sum_held_out


def q_situation(rng, split):
    names = rng.sample(w.SHE_NAMES + w.HE_NAMES, 3)
    x, y, z = names
    he = {n: "she" if n in w.SHE_NAMES else "he" for n in names}
    r = rng.choice([0, 0, 1, 1, 2, 2, 3, 3, 3, 3, 4, 4, 5, 6, 7])
    if r == 0:  # the last place counts
        people = rng.sample(names, rng.randint(2, 3))
        at, lines = {}, []
        for _ in range(rng.randint(2, 4)):
            n, p = rng.choice(people), rng.choice(w.PLACES)
            at[n] = p
            lines.append(pick(rng, "{n} (went|walked|ran) to {p}.", n=n, p=p.the))
        n = rng.choice(list(at))
        return " ".join(lines) + f" Where is {n}?", f"{n} is {at[n].at}.", "situation", at[n].at
    if r == 1:  # numbers change
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
        change = (
            pick(
                rng, "{y} gives {h} {b} more.", y=y, h="her" if he[x] == "she" else "him", b=num(b)
            )
            if gain
            else pick(rng, "{H} (eats|gives {y}|loses) {b}.", H=he[x].capitalize(), y=y, b=num(b))
        )
        return (
            f"{x} has {thing(a)}. {change} How many {many} does {x} have now?",
            f"{x} has {thing(c)} now.",
            "sum-in-words",
            num(c),
        )
    if r == 2:  # order
        adj, more, most = rng.choice(
            [
                ("tall", "taller", "tallest"),
                ("fast", "faster", "fastest"),
                ("old", "older", "oldest"),
                ("strong", "stronger", "strongest"),
            ]
        )
        opp = {"taller": "shorter", "faster": "slower", "older": "younger", "stronger": "weaker"}[
            more
        ]
        if rng.random() < 0.5:
            ask_more = rng.random() < 0.5
            a = x if ask_more else y
            return (
                f"{x} is {more} than {y}. Who is {more if ask_more else opp}?",
                f"{a} is {more if ask_more else opp}.",
                "situation",
                a,
            )
        lines = [f"{x} is {more} than {y}.", f"{y} is {more} than {z}."]
        rng.shuffle(lines)
        return " ".join(lines) + f" Who is the {most}?", f"{x} is the {most}.", "situation", x
    if r == 3:  # whose, which colour
        o = rng.sample([o for o in w.OBJECTS], 3)
        c = rng.sample(w.PLAIN_COLOURS, 3)
        n = rng.randint(2, 3)
        text = " ".join(
            pick(rng, "{n} has a {c} {o}.", n=names[i], c=c[i], o=o[i]) for i in range(n)
        )
        i = rng.randrange(n)
        k = rng.randrange(3)
        if k == 0:
            return (
                text + f" What colour is {names[i]}'s {o[i]}?",
                f"{names[i]}'s {o[i]} is {c[i]}.",
                "situation",
                c[i],
            )
        if k == 1:
            return (
                text + f" Who has the {o[i]}?",
                f"{names[i]} has the {o[i]}.",
                "situation",
                names[i],
            )
        return (
            text + f" What does {names[i]} have?",
            pick(rng, "{n} has a {c} {o}.", n=names[i], c=c[i], o=o[i]),
            "situation",
            pick(rng, "a {c} {o}", c=c[i], o=o[i]),
        )
    if r == 4:  # a thing changes hands
        o = rng.choice(list(w.OBJECTS))
        text = pick(rng, "{x} has a {o}. {x} gives the {o} to {y}.", x=x, y=y, o=o)
        owner = y
        if rng.random() < 0.5:
            text += f" Then {y} gives the {o} to {z}."
            owner = z
        return text + f" Who has the {o} now?", f"{owner} has the {o} now.", "situation", owner
    if r == 5:  # feelings and reasons
        why, mood = rng.choice(
            [
                ("lost {s} ball", "sad"),
                ("got a new bicycle", "happy"),
                ("heard a loud noise in the dark", "afraid"),
                ("did not sleep all night", "tired"),
                ("did not eat all day", "hungry"),
                ("won the race", "happy"),
                ("broke {s} favourite cup", "sad"),
                ("walked in the hot sun all day", "thirsty"),
                ("saw a big spider", "afraid"),
                ("ran up the hill", "tired"),
                ("got a letter from a friend", "happy"),
            ]
        )
        why = why.replace("{s}", "her" if he[x] == "she" else "his")
        if rng.random() < 0.5:
            return f"{x} {why}. How does {x} feel?", f"{x} feels {mood}.", "situation", mood
        return (
            f"{x} is {mood}. {he[x].capitalize()} {why}. Why is {x} {mood}?",
            f"{x} is {mood} because {he[x]} {why}.",
            "situation",
            f"because {he[x]} {why}",
        )
    if r == 6:  # json
        o, c = rng.choice(list(w.OBJECTS)), rng.choice(w.PLAIN_COLOURS)
        k = rng.choice(list(w.ANIMALS))
        text = pick(rng, "{x} the {k} has a {c} {o}.", x=x, k=k, c=c, o=o)
        keys = rng.sample(
            [("name", x), ("animal", k), ("colour", c), ("thing", o)], rng.randint(2, 4)
        )
        return (
            text
            + " "
            + rng.choice(
                ["Give me the {} as JSON.", "Write the {} as JSON.", "JSON with the {}, please."]
            ).format(join_and([q for q, _ in keys])),
            json.dumps(dict(keys)),
            "json",
            None,
        )
    # say it again, and other simple obedience
    word = rng.choice(
        list(w.OBJECTS) + list(w.ANIMALS) + w.PLAIN_COLOURS + ["hello", "thank you", "good night"]
    )
    k = rng.randrange(3)
    if k == 0:
        return (
            rng.choice(
                [f'Say "{word}".', f"Say {word}.", f'Repeat "{word}".', f"Repeat after me: {word}"]
            ),
            word[0].upper() + word[1:] + ".",
            "copy",
            None,
        )
    if k == 1:
        n = rng.randint(2, 4)
        return (
            f'Say "{word}" {["", "", "twice", "three times", "four times"][n]}.',
            (" ".join([word] * n)).capitalize() + ".",
            "copy",
            None,
        )
    a, b = rng.sample(list(w.ANIMALS), 2)
    return (
        pick(rng, "Make a sentence with {a} and {b}.", a=a, b=b),
        pick(
            rng,
            "The {a} and the {b} (are friends|live in the same forest|went for a walk|played"
            " together all day).",
            a=a,
            b=b,
        ),
        "",
        None,
    )


PAIRS = ["has", "went", "likes", "job"]


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
        return say, [
            (f"What does {n} have?", say, say.split(" has ")[1][:-1]),
            (f"Who has the {o}?", f"{n} has the {o}.", n),
            (f"What colour is {n}'s {o}?", f"{n}'s {o} is {c}.", c),
            (f"Whose {o} is {c}?", f"{n}'s {o} is {c}.", n),
        ]
    if kind == "went":
        p = fresh(w.PLACES, lambda x: x.the)
        return (
            pick(rng, "{n} (went|walked|ran) to {p}.", n=n, p=p.the),
            [
                (f"Where is {n}?", f"{n} is {p.at}.", p.at),
                (f"Who is {p.at}?", f"{n} is {p.at}.", n),
            ],
        )
    if kind == "likes":
        f = fresh([x[1] for x in w.FRUIT])
        return f"{n} likes {f}.", [
            (f"What does {n} like?", f"{n} likes {f}.", f),
            (f"Who likes {f}?", f"{n} likes {f}.", n),
        ]
    j = fresh([x[0] for x in w.JOBS])
    say = pick(rng, "{n} is a {j}.", n=n, j=j)
    return say, [
        (f"What is {n}'s job?", say, say.split(" is ")[1][:-1]),
        (f"Who is the {j}?", f"{n} is the {j}.", n),
    ]
