"""Stories: a grammar of plots over the small world.

A plot draws its characters, thing and place once and then writes sentences from templates, so
names, pronouns, colours and places agree through the story. While it writes, it notes questions
whose answers the story holds; these become the reading questions.

Template language: (a|b|c) chooses one alternative, {x} and {x.attr} are filled in, "a" becomes "an"
where the next word wants it, and the first letter is made a capital.
"""

import re

import world as w

_CHOICE = re.compile(r"\(([^()]*)\)")

_ARTICLE = re.compile(r"\b([Aa]) (?=(?!uni|use|one|once|eu)[aeiouAEIOU]|hour|honest)")

_SPACE = re.compile(r" +([?!.,])")


def fill(rng, template, ctx, capital=True):
    """One sentence from a template."""
    while True:
        text, n = _CHOICE.subn(lambda m: rng.choice(m.group(1).split("|")), template)
        if n == 0:
            break
        template = text
    text = text.format(**ctx)
    text = _ARTICLE.sub(r"\1n ", " ".join(text.split()))
    text = _SPACE.sub(r"\1", text)
    for i, c in enumerate(text if capital else ""):
        if c.isalpha():
            return text[:i] + c.upper() + text[i + 1 :]
    return text


class Who:
    """A character: a name, a kind, a pronoun, a trait, and a home."""

    def __init__(self, name, kind, sex, trait, home, villager=None):
        self.name, self.kind, self.sex, self.trait, self.home = name, kind, sex, trait, home
        self.villager = villager
        self.he = sex
        self.him = "him" if sex == "he" else "her"
        self.his = "his" if sex == "he" else "her"
        self.himself = "himself" if sex == "he" else "herself"
        self.He, self.His = self.he.capitalize(), self.his.capitalize()
        self.the = "the " + kind
        self.a = "a " + kind

    def __str__(self):
        return self.name


def text_hash(text):
    h = 2166136261
    for c in text.encode():
        h = (h ^ c) * 16777619 & 0xFFFFFFFF
    return h ^ h >> 15


def held_out(a, b):
    """True for about one pair in twenty; such pairs are never in the training text."""
    return text_hash(a + "/" + b) % 20 == 0


def lean(items, key, n, rng):
    """One of the n items that the key favours, the first the most. Without such leanings every
    request would have the same most likely story, and a model that is read greedily would tell
    only that one.
    """
    liked = sorted(items, key=lambda x: text_hash(key + ":" + str(getattr(x, "__name__", x))))[:n]
    return rng.choices(liked, range(n, 0, -1))[0]


class Story:
    """The text under construction, its cast, and the questions it answers."""

    def __init__(self, rng, split, hero_kind=None, thing=None, hero=None, chapter=None, last=True):
        self.rng, self.split, self.chapter, self.last = rng, split, chapter, last
        self.paragraphs, self.questions = [[]], []
        self.topic = self.moral = None
        self.used_names = set()
        self._draw(hero_kind, thing, hero)

    def _draw(self, hero_kind, thing, hero):
        rng = self.rng
        want = self.split != "train"
        while True:
            villager = (
                rng.choice(list(w.VILLAGERS.values()))
                if rng.random() < 0.12 and not hero_kind
                else None
            )
            if hero:
                hero_kind, villager = hero.kind, None
            kind = villager.kind if villager else (hero_kind or self.any_kind())
            name = thing or rng.choice(list(w.OBJECTS))
            if (hero_kind and thing) or held_out(kind, name) == want:
                break
        self.thing = w.OBJECTS[name]
        self.place = rng.choice(w.PLACES)
        self.hero = hero or (self.from_villager(villager) if villager else self.new_who(kind))
        self.used_names.add(self.hero.name)
        if villager and rng.random() < 0.6:
            self.friend = self.from_villager(w.VILLAGERS[villager.friend])
        else:
            self.friend = self.new_who(self.friend_kind(kind))
        if self.thing.name in ("map", "mirror", "puzzle", "clock"):
            self.colour, look = None, rng.choice(["old", "little", "beautiful", "wonderful"])
        elif self.thing.name in ("coin", "bell", "ring", "whistle"):
            self.colour = look = rng.choice(["golden", "silver"])
        else:
            self.colour = look = rng.choice(w.COLOURS if rng.random() < 0.2 else w.PLAIN_COLOURS)
            if rng.random() < 0.3:
                self.colour = look = lean(w.PLAIN_COLOURS, name, 2, rng)
        self.look = look
        season = rng.choice(w.SEASONS)
        if self.thing.weather == "snowy":
            season = "winter"
        self.ctx = dict(
            h=self.hero,
            f=self.friend,
            o=self.thing.name,
            co=look + " " + self.thing.name,
            p=self.place,
            season=season,
            day=rng.choice(w.DAYS),
            use=self.thing.use.replace("%", "the " + self.thing.name),
            usea=self.thing.use.replace("%", "a " + self.thing.name),
            usehis=self.thing.use.replace("%", self.hero.his + " " + self.thing.name),
        )

    def any_kind(self, but=()):
        r = self.rng.random()
        while True:
            pool = w.STORY_ANIMALS if r < 0.68 else w.PEOPLE if r < 0.9 else w.FANTASY
            kind = self.rng.choice(pool)
            if kind not in but:
                return kind

    def friend_kind(self, kind):
        """Half of the time one of the three kinds that this kind is often seen with."""
        if self.rng.random() < 0.5:
            return lean(
                [k for k in w.STORY_ANIMALS + w.PEOPLE + w.FANTASY if k != kind],
                "friend/" + kind,
                3,
                self.rng,
            )
        return self.any_kind({kind})

    def from_villager(self, v):
        self.used_names.add(v.name)
        return Who(v.name, v.kind, v.sex, v.trait, v.home, v)

    def new_who(self, kind):
        rng = self.rng
        sex = w.SEX_OF.get(kind) or rng.choice(["he", "she"])
        while True:
            names = w.HE_NAMES if sex == "he" else w.SHE_NAMES
            name = lean(names, kind + sex, 4, rng) if rng.random() < 0.4 else rng.choice(names)
            if name not in self.used_names:
                break
        self.used_names.add(name)
        if kind in w.PEOPLE or kind in w.FANTASY:
            home = fill(
                rng,
                "in a (little|small|cosy) (house|cottage) (by the river|near the forest"
                "|on the hill|in the village|at the edge of the woods)",
                {},
                capital=False,
            )
            if kind in ("king", "queen", "prince", "princess"):
                home = rng.choice(["in a big castle", "in a castle on the hill"])
        else:
            home = w.ANIMALS[kind].lives
        trait = lean(w.TRAITS, kind, 3, rng) if rng.random() < 0.4 else rng.choice(w.TRAITS)
        return Who(name, kind, sex, trait, home)

    def another(self, *more):
        """A new minor character of a kind not yet in the story."""
        return self.new_who(self.any_kind({self.hero.kind, self.friend.kind, *more}))

    def add(self, template, **more):
        ctx = {**self.ctx, **more} if more else self.ctx
        self.paragraphs[-1].append(fill(self.rng, template, ctx))

    def maybe(self, p, template, **more):
        if self.rng.random() < p:
            self.add(template, **more)

    def para(self):
        if self.paragraphs[-1]:
            self.paragraphs.append([])

    def ask(self, kind, question, answer, short, **more):
        ctx = {**self.ctx, **more}
        self.questions.append(
            (
                kind,
                fill(self.rng, question, ctx),
                fill(self.rng, answer, ctx),
                fill(self.rng, short, ctx) if short else None,
            )
        )

    def text(self):
        return "\n\n".join(" ".join(p) for p in self.paragraphs if p)


_TRAIT_LINE = {
    "brave": "{h.He} was (not afraid of the dark|not afraid of anything|always the first to help).",
    "shy": (
        "{h.He} (did not talk much|often hid when strangers came by|spoke in a very soft voice)."
    ),
    "kind": "{h.He} (always helped others|liked to help everyone|never said a bad word to anyone).",
    "clever": "{h.He} (always had a good idea|could solve any riddle|knew many things).",
    "curious": (
        "{h.He} (asked questions all day long|wanted to know everything|looked behind every door)."
    ),
    "clumsy": (
        "{h.He} (often dropped things|often fell over {h.his} own feet|bumped into things all the"
        " time)."
    ),
    "cheerful": "{h.He} (sang all day long|smiled at everyone|was always in a good mood).",
    "patient": (
        "{h.He} (never hurried|could wait for a very long time|took {h.his} time with everything)."
    ),
    "quiet": "{h.He} (liked to sit and listen|did not say much|liked calm days best).",
    "gentle": "{h.He} (spoke softly and never pushed anyone|was careful with small things).",
    "proud": "{h.He} (thought {h.he} was the best at everything|liked to talk about {h.himself}).",
    "stubborn": "{h.He} (never changed {h.his} mind|always wanted to do things {h.his} own way).",
    "lazy": "{h.He} (liked to sleep late|liked to lie in the sun all day).",
    "lonely": "{h.He} (wished for a friend to play with|had nobody to talk to on most days).",
    "playful": "{h.He} (made a game out of everything|liked to play from morning to night).",
    "friendly": "{h.He} (said hello to everyone|had a kind word for everyone).",
    "careful": "{h.He} (looked twice before every step|always put {h.his} things away).",
    "quick": "{h.He} (could run faster than the wind|was always in a hurry).",
    "wise": "{h.He} (knew a lot about the world|gave good advice to everyone).",
}

_SIZES = "small|little|young|tiny"


def intro(s, but=(), friend=False):
    """Introduce the hero (and the friend); `but` names traits that would spoil the plot."""
    rng, h = s.rng, s.hero
    but = (*but, "lonely") if friend else but
    young = "(old|tall|busy|kind|young)" if h.kind in w.GROWN_UP else "(" + _SIZES + ")"
    if h.kind == "giant":
        young = "(big|friendly|tall)"
    if s.chapter:
        trait = h.trait
        s.add(
            "(A few days later|Some time later|The next week|Not long after that), {h} was (at home"
            " again|ready for a new day|in a good mood)."
        )
    elif h.villager:
        v = h.villager
        s.add(
            "(Once upon a time, in "
            + w.VILLAGE
            + ",|In "
            + w.VILLAGE
            + ",|One {season} in "
            + w.VILLAGE
            + ",) there lived a {t} {h.kind} named {h}.",
            t=v.trait,
        )
        s.add("{h} lived {h.home}(| and worked as a {j}).", j=v.job)
        trait = v.trait
    else:
        trait = h.trait
        while trait in but:
            trait = rng.choice(w.TRAITS)
        h.trait = trait
        form = rng.random()
        if form < 0.4:
            s.add(
                "(Once upon a time,|Once upon a time,|Long ago,|A long time ago,) there (was|lived)"
                " a {t} {h.kind} named {h}.",
                t=trait,
            )
            s.maybe(0.5, "{h.He} lived {h.home}.")
        elif form < 0.6:
            s.add("{h} was a " + young + " {h.kind} who lived {h.home}.")
            s.maybe(0.5, "{h.He} was very {t}.", t=trait)
        elif form < 0.75:
            s.add(
                "There once was a " + young + " {h.kind} (called|named) {h}, who was very {t}.",
                t=trait,
            )
        elif form < 0.9:
            s.add(
                "In a (faraway land|quiet valley|land beyond the hills), there lived a {t}"
                " {h.kind}. {h.His} name was {h}.",
                t=trait,
            )
        else:
            s.add(
                "This is the story of {h}, a {t} "
                + ("{h.kind}" if h.kind in w.GROWN_UP else "(little|young) {h.kind}")
                + " who lived {h.home}.",
                t=trait,
            )
    s.maybe(0.0 if s.chapter else 0.4, _TRAIT_LINE[trait])
    if friend:
        s.add(
            "{h} had a new friend, a {f.kind} named {f}."
            if s.chapter
            else (
                "({h.His} best friend was a {f.kind} named {f}.|{h} had a good friend, a {f.kind}"
                " named {f}.|{h} and {f} the {f.kind} were best friends.|Every day {h} played with"
                " {f}, a {f.kind} who lived nearby.)"
            )
        )
        s.ask(
            "who",
            "Who was {h}'s (best |good |)friend?",
            "{h}'s friend was {f} the {f.kind}.",
            "{f}",
        )
    s.ask(
        "who",
        "(What was the name of the {h.kind}|What was the {h.kind} called)?",
        "The {h.kind} was named {h}.",
        "{h}",
    )
    s.ask(
        "what",
        (
            "What (kind of|sort of) (animal|creature) was {h}?"
            if h.kind in w.ANIMALS
            else "Who was {h}?"
        ),
        "{h} was a {h.kind}.",
        "a {h.kind}",
    )
    if trait in s.text().split(". ")[0] or f"very {trait}" in s.text():
        s.ask(
            "what",
            "(What was {h} like|How would you describe {h})?",
            "{h} was {t}.",
            "{t}",
            t=trait,
        )


def meet_friend(s, where=True):
    """The friend appears by chance."""
    s.add(
        "(On the way|Along the path|Soon|Not far away|Just then), {h.he} met a {f.kind} named {f}."
    )
    s.ask("who", "Who did {h} meet?", "{h} met {f} the {f.kind}.", "{f}")


def outdoors(s):
    """Move the story to a place where one goes for a walk."""
    while s.place.the in ("the school", "the market", "the castle", "the mill", "the village"):
        s.place = s.rng.choice(w.PLACES)
    s.ctx["p"] = s.place


def closing(s, moral=None):
    rng = s.rng
    s.moral = moral
    if not s.last:
        if moral and rng.random() < 0.5:
            s.add("{h} thought about it for a long time: " + moral + ".")
        return
    if moral and rng.random() < 0.45:
        s.add(
            "(From that day on, {h} knew that|And so {h} learned that|{h} never forgot that|That"
            " day, {h} learned that) " + moral + "."
        )
        s.ask("what", "What did {h} learn?", "{h} learned that " + moral + ".", None)
    r = rng.random()
    if r < 0.25:
        s.add("(They all|And they) lived happily ever after.")
    elif r < 0.4:
        s.add(
            "That night, {h} (fell asleep with a smile|slept very well|went to bed tired but"
            " happy)."
        )
    elif r < 0.55:
        s.add("It was the best day of the (year|whole {season}|week).")
    elif r < 0.65:
        s.add(
            "And (if you walk by|if you go there) on a quiet (day|evening), you may still (hear"
            " them laugh|see them there)."
        )
    if rng.random() < 0.25:
        s.add("The end.")
