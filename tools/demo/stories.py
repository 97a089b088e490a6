"""Stories: a grammar of plots over the small world.

A plot draws its characters, thing and place once and then writes sentences from templates, so names,
pronouns, colours and places agree through the story. While it writes, it notes questions whose
answers the story holds; these become the reading questions.

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
            return text[:i] + c.upper() + text[i + 1:]
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
    """One of the n items that the key favours, the first the most. Without such leanings every request
    would have the same most likely story, and a model that is read greedily would tell only that one."""
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
            villager = rng.choice(list(w.VILLAGERS.values())) if rng.random() < 0.12 and not hero_kind else None
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
        self.ctx = dict(h=self.hero, f=self.friend, o=self.thing.name, co=look + " " + self.thing.name,
                        p=self.place, season=season, day=rng.choice(w.DAYS),
                        use=self.thing.use.replace("%", "the " + self.thing.name),
                        usea=self.thing.use.replace("%", "a " + self.thing.name),
                        usehis=self.thing.use.replace("%", self.hero.his + " " + self.thing.name))

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
            return lean([k for k in w.STORY_ANIMALS + w.PEOPLE + w.FANTASY if k != kind], "friend/" + kind, 3, self.rng)
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
            home = fill(rng, "in a (little|small|cosy) (house|cottage) (by the river|near the forest"
                        "|on the hill|in the village|at the edge of the woods)", {}, capital=False)
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
        self.questions.append((kind, fill(self.rng, question, ctx), fill(self.rng, answer, ctx),
                               fill(self.rng, short, ctx) if short else None))

    def text(self):
        return "\n\n".join(" ".join(p) for p in self.paragraphs if p)


_TRAIT_LINE = {
    "brave": "{h.He} was (not afraid of the dark|not afraid of anything|always the first to help).",
    "shy": "{h.He} (did not talk much|often hid when strangers came by|spoke in a very soft voice).",
    "kind": "{h.He} (always helped others|liked to help everyone|never said a bad word to anyone).",
    "clever": "{h.He} (always had a good idea|could solve any riddle|knew many things).",
    "curious": "{h.He} (asked questions all day long|wanted to know everything|looked behind every door).",
    "clumsy": "{h.He} (often dropped things|often fell over {h.his} own feet|bumped into things all the time).",
    "cheerful": "{h.He} (sang all day long|smiled at everyone|was always in a good mood).",
    "patient": "{h.He} (never hurried|could wait for a very long time|took {h.his} time with everything).",
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
        s.add("(A few days later|Some time later|The next week|Not long after that), {h} was (at home again|ready for a new day|in a good mood).")
    elif h.villager:
        v = h.villager
        s.add("(Once upon a time, in " + w.VILLAGE + ",|In " + w.VILLAGE + ",|One {season} in " + w.VILLAGE
              + ",) there lived a {t} {h.kind} named {h}.", t=v.trait)
        s.add("{h} lived {h.home}(| and worked as a {j}).", j=v.job)
        trait = v.trait
    else:
        trait = h.trait
        while trait in but:
            trait = rng.choice(w.TRAITS)
        h.trait = trait
        form = rng.random()
        if form < 0.4:
            s.add("(Once upon a time,|Once upon a time,|Long ago,|A long time ago,) there (was|lived) a {t} {h.kind} named {h}.",
                  t=trait)
            s.maybe(0.5, "{h.He} lived {h.home}.")
        elif form < 0.6:
            s.add("{h} was a " + young + " {h.kind} who lived {h.home}.")
            s.maybe(0.5, "{h.He} was very {t}.", t=trait)
        elif form < 0.75:
            s.add("There once was a " + young + " {h.kind} (called|named) {h}, who was very {t}.", t=trait)
        elif form < 0.9:
            s.add("In a (faraway land|quiet valley|land beyond the hills), there lived a {t} {h.kind}. {h.His} name was {h}.",
                  t=trait)
        else:
            s.add("This is the story of {h}, a {t} " + ("{h.kind}" if h.kind in w.GROWN_UP else "(little|young) {h.kind}")
                  + " who lived {h.home}.", t=trait)
    s.maybe(0.0 if s.chapter else 0.4, _TRAIT_LINE[trait])
    if friend:
        s.add("{h} had a new friend, a {f.kind} named {f}." if s.chapter else "({h.His} best friend was a {f.kind} named {f}.|{h} had a good friend, a {f.kind} named {f}."
              "|{h} and {f} the {f.kind} were best friends.|Every day {h} played with {f}, a {f.kind} who lived nearby.)")
        s.ask("who", "Who was {h}'s (best |good |)friend?", "{h}'s friend was {f} the {f.kind}.", "{f}")
    s.ask("who", "(What was the name of the {h.kind}|What was the {h.kind} called)?", "The {h.kind} was named {h}.", "{h}")
    s.ask("what", "What (kind of|sort of) (animal|creature) was {h}?" if h.kind in w.ANIMALS else "Who was {h}?",
          "{h} was a {h.kind}.", "a {h.kind}")
    if trait in s.text().split(". ")[0] or f"very {trait}" in s.text():
        s.ask("what", "(What was {h} like|How would you describe {h})?", "{h} was {t}.", "{t}", t=trait)


def meet_friend(s, where=True):
    """The friend appears by chance."""
    s.add("(On the way|Along the path|Soon|Not far away|Just then), {h.he} met a {f.kind} named {f}.")
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
        s.add("(From that day on, {h} knew that|And so {h} learned that|{h} never forgot that|That day, {h} learned that) "
              + moral + ".")
        s.ask("what", "What did {h} learn?", "{h} learned that " + moral + ".", None)
    r = rng.random()
    if r < 0.25:
        s.add("(They all|And they) lived happily ever after.")
    elif r < 0.4:
        s.add("That night, {h} (fell asleep with a smile|slept very well|went to bed tired but happy).")
    elif r < 0.55:
        s.add("It was the best day of the (year|whole {season}|week).")
    elif r < 0.65:
        s.add("And (if you walk by|if you go there) on a quiet (day|evening), you may still (hear them laugh|see them there).")
    if rng.random() < 0.25:
        s.add("The end.")


def plot_lost(s):
    """Loses a thing, looks in two wrong places, a friend helps, finds it."""
    rng = s.rng
    s.topic = "losing something"
    intro(s, friend=rng.random() < 0.5)
    known = any(q[1].startswith("Who was") and "friend" in q[1] for q in s.questions)
    s.add("{h} had a {co}(|, and {h.he} loved it very much|, and it was {h.his} favourite thing|. It was a gift from {h.his} grandmother).")
    s.maybe(0.5, "(Every day|On most days|Whenever {h.he} could), {h.he} liked to {use}.")
    if s.colour:
        s.ask("colour", "What colour was {h}'s {o}?", "{h}'s {o} was {c}.", "{c}", c=s.colour)
    s.para()
    s.add("(One day|One morning|One {season} day|On {day}), the {o} was gone.")
    s.maybe(0.6, "(\"Oh no!\" cried {h}. \"Where is my {o}?\"|\"Where can it be?\" {h} wondered.|{h} felt very sad.|{h} began to cry.)")
    s.ask("what", "What did {h} lose?", "{h} lost {h.his} {co}.", "a {co}")
    s.ask("why", "Why was {h} sad?", "{h} was sad because {h.his} {o} was gone.", "because the {o} was gone")
    spots = rng.sample(s.place.spots, 2)
    wrong = rng.sample(["under the bed", "behind the door", "in the kitchen", "on the shelf", "under the table", "in the attic"], 2)
    s.add("{h.He} looked {a}, but it was not there. {h.He} looked {b}, but it was not there (either|).", a=wrong[0], b=wrong[1])
    s.para()
    if known:
        s.add("Then {f} came by. (\"What is wrong?\" asked {f}.|\"Why are you so sad?\" asked {f}.)")
    else:
        s.add("(Just then|Soon|After a while), a {f.kind} named {f} came by. (\"What is wrong?\" asked {f}.|\"Why are you so sad?\" asked {f}.)")
    s.add("\"I (have lost|cannot find) my {co},\" said {h}.")
    s.add("(\"Do not worry,\" said {f}. \"I will help you.\"|\"Let us look for it together,\" said {f}.|\"Where did you have it last?\" asked {f}. \"I was {p.at},\" said {h}.)")
    s.add("(So they went|Together they went|The two of them walked) to {p.the}.")
    s.ask("where", "Where did {h} and {f} go?", "They went to {p.the}.", "to {p.the}")
    s.maybe(0.5, "They looked (high and low|here and there|everywhere).")
    finder = s.friend if rng.random() < 0.75 else s.hero
    s.add("(At last|Then|Suddenly), {x} (looked|peeked) {spot}. (\"Here it is!\" {x.he} (called|cried).|\"Look!\" {x.he} (said|shouted). \"There is (your|the) {o}!\")" if finder is s.friend
          else "(At last|Then|Suddenly), {x} (looked|peeked) {spot}. \"Here it is!\" {x.he} (called|cried).", x=finder, spot=spots[0])
    s.ask("where", "Where was the {o}?", "The {o} was {spot}.", "{spot}", spot=spots[0])
    s.ask("who", "Who found the {o}?", "{x} found the {o}.", "{x}", x=finder)
    s.para()
    s.add("{h} (was so happy|was very glad|jumped for joy|smiled from ear to ear). (\"Thank you, {f}!\" {h.he} said.|\"Thank you! You are a true friend,\" {h.he} said.)")
    s.maybe(0.6, "(Then they|After that, they|The two friends) (played together until the sun went down|walked home together|shared a piece of {cake}).",
            cake=rng.choice(w.CAKES))
    closing(s, rng.choice(["a good friend helps you when you are sad", "it is good to take care of your things",
                           "looking for something is easier with a friend"]))


def plot_wish(s):
    """Wants a thing, earns it by work."""
    rng = s.rng
    s.topic = "a wish"
    intro(s, but=("lazy",))
    s.add("{h} had (one big wish|a secret wish|a dream). {h.He} wanted to {usea}, but {h.he} did not have (one|a {o}).")
    s.ask("what", "What did {h} (want|wish for)?", "{h} wanted a {o}.", "a {o}")
    s.para()
    s.add("(One day|One morning|On {day}), {h.he} saw a {co} in the window of a (little|small|) shop.")
    if s.colour:
        s.ask("colour", "What colour was the {o} in the (shop|window)?", "The {o} was {c}.", "{c}", c=s.colour)
    n = rng.randint(3, 10)
    s.ctx["n"], s.ctx["n1"] = w.NUMBERS[n], w.NUMBERS[n - 1]
    s.add("\"How much does it cost?\" {h.he} asked. \"It costs {n} coins,\" said the shopkeeper.")
    s.ask("count", "How (much did the {o} cost|many coins did the {o} cost)?", "The {o} cost {n} coins.", "{n} coins")
    s.add("{h} had (no money at all|only one coin|not a single coin). (But {h.he} did not give up.|\"I will (work|find a job),\" {h.he} thought.)")
    s.para()
    if s.friend.villager:
        s.add("So {h} went to {f} the {f.kind}, who (always had a lot to do|needed some help).")
    else:
        s.add("So {h} went to a {f.kind} named {f}, who (always had a lot to do|needed some help).")
    s.add("(\"May I help you?\" asked {h}. \"Yes, please!\" said {f}.|\"Do you have any work for me?\" asked {h}. \"Oh yes,\" said {f}.)")
    works = rng.sample(["swept the floor", "watered the flowers", "picked apples", "carried water from the well",
                        "painted the fence", "chopped wood", "fed the hens", "washed the windows", "baked bread"], 3)
    s.add("(All week long|For many days|From morning to evening), {h} {a}, {b}, and {c}.", a=works[0], b=works[1], c=works[2])
    s.ask("who", "Who did {h} work for?", "{h} worked for {f} the {f.kind}.", "{f}")
    s.ask("how", "How did {h} get the (money|coins)?", "{h} worked for {f}.", "by working")
    s.add("(In the end|At the end of the week|At last), {f} gave {h.him} {n} coins. \"You (worked hard|have earned it|are a great help),\" {f.he} said.")
    s.para()
    s.add("{h} ran (back|) to the shop (as fast as {h.he} could|with the coins in {h.his} (hand|pocket))." if s.hero.kind not in w.ANIMALS
          else "{h} ran back to the shop as fast as {h.he} could.")
    s.add("(Now the {co} was {h.his} own.|{h.He} bought the {co} and hugged it.|Soon the {co} belonged to {h.him}.)")
    s.add("(That {day}|The next day|That very day), {h.he} could {use} (at last|for the first time). {h.He} was (so proud|very happy|full of joy).")
    closing(s, rng.choice(["hard work makes wishes come true", "it is worth waiting for good things",
                           "things you work for are the best of all"]))


def plot_rescue(s):
    """Someone is stuck; one tool fails, another works."""
    rng = s.rng
    s.topic = "helping a friend"
    intro(s, friend=True)
    s.para()
    outdoors(s)
    trouble = rng.choice([
        ("fell into a deep hole", "in a deep hole", ["rope", "ladder"]),
        ("got stuck in the mud", "in the mud", ["rope", "strong branch"]),
        ("was stuck high up in a tree", "high up in a tree", ["ladder", "big blanket"]),
        ("fell into the cold water", "in the cold water", ["rope", "long branch"]),
        ("got caught in a thorny bush", "in a thorny bush", ["pair of scissors", "long stick"]),
        ("was trapped under a fallen branch", "under a fallen branch", ["strong rope", "long stick"])])
    good = rng.choice(trouble[2])
    s.add("(One day|One {season} day|On {day}), {h} went for a walk {p.at} with {h.his} {co}.", )
    s.maybe(0.4, "The (sun was shining|wind was blowing|birds were singing) and all was (quiet|well|calm).")
    s.add("Suddenly {h.he} heard a (voice|cry|small voice). \"Help! (Help!|Please help me!)\"")
    s.add("It was {f}! {f.He} {tr} and could not get out." if "trapped" not in trouble[0] and "stuck high" not in trouble[0]
          else "It was {f}! {f.He} {tr} and could not get away." if "trapped" in trouble[0]
          else "It was {f}! {f.He} {tr} and could not get down.",
          tr=trouble[0].replace("fell", "had fallen").replace("got", "had got"))
    s.ask("where", "Where was {f} (stuck|when {h} heard the cry)?", "{f} was {w}.", "{w}", w=trouble[1])
    s.ask("who", "Who (needed help|was in trouble)?", "{f} the {f.kind} needed help.", "{f}")
    s.para()
    s.add("(\"Do not be afraid!\" called {h}. \"I will help you.\"|\"Hold on!\" cried {h}. \"I will get you out.\"|\"Stay calm,\" said {h}. \"I am here.\")"
          if "tree" not in trouble[0] else "(\"Do not be afraid!\" called {h}. \"I will help you.\"|\"Hold on!\" cried {h}.)")
    s.add("First {h.he} tried to pull {f} out with {h.his} (bare |own |)hands, but {f} was too heavy." if "tree" not in trouble[0] and s.hero.kind not in w.ANIMALS
          else "First {h.he} tried to reach {f.him}, but it was too far." if "branch" not in trouble[0]
          else "First {h.he} tried to push, but the branch was too heavy.")
    helper = s.another()
    if rng.random() < 0.5:
        s.ctx["x"] = helper
        s.add("So {h} ran to (get|fetch) {x} the {x.kind}. \"{f} needs (us|our help)!\" {h.he} (said|shouted).")
        s.add("{x} brought a {good}. Together they (saved {f}|got {f} to safety).", good=good)
        s.ask("who", "Who (brought the {good}|helped {h})?", "It was {x} the {x.kind}.", "{x}", good=good)
    else:
        s.add("Then {h.he} had (an idea|a good idea). {h.He} (ran home and|went back and|quickly) (got|fetched) a {good}.", good=good)
        s.add("{h.He} used it to help {f}, and (soon|a moment later) {f} was (safe|free).")
    s.ask("what", "What did they use to (save|help) {f}?", "They used a {good}." if not helper.name in s.text() else "They used a {good}.", "a {good}", good=good)
    s.para()
    s.add("(\"You saved me!\" said {f}. \"Thank you!\"|\"Thank you, {h},\" said {f}. \"You are so brave.\"|{f} hugged {h}. \"I was so scared,\" {f.he} said.)")
    s.maybe(0.6, "{h} gave {f.him} the {co} to cheer {f.him} up, and {f} smiled again.")
    s.maybe(0.5, "They went home and (drank hot tea|ate warm soup|sat by the fire|ate some {cake}).", cake=rng.choice(w.CAKES))
    closing(s, rng.choice(["friends help each other", "it is good to stay calm when there is trouble",
                           "nobody is too small to help"]))


def plot_share(s):
    """Has some fruit, gives it away, is repaid. Holds arithmetic."""
    rng = s.rng
    s.topic = "sharing"
    intro(s)
    one, many, colour, _ = rng.choice(w.FRUIT)
    n = rng.randint(4, 10)
    a = rng.randint(1, n - 2)
    num = lambda k: w.NUMBERS[k] + " " + (one if k == 1 else many)
    s.para()
    s.place = rng.choice([p for p in w.PLACES if p.the in ("the garden", "the farm", "the orchard", "the market")])
    s.ctx["p"] = s.place
    s.add("(One day|One {season} day|On {day}), {h} {got} {n} {p.at}. {h.He} put them in a (bag|sack) with {h.his} {co}.", n=num(n),
          got="bought" if s.place.the == "the market" else "picked")
    s.ask("count", "How many {many} did {h} have at first?", "{h} had {n} at first.", "{n}", many=many, n=num(n))
    s.maybe(0.5, "(\"What a (feast|treat)!\" {h.he} said.|\"I will eat them all,\" {h.he} thought.|They (looked|smelled) (so good|wonderful).)")
    s.para()
    meet_friend(s)
    s.add("{f} (looked sad|looked tired|was very hungry). (\"I have not eaten all day,\" said {f}.|\"I am so hungry,\" {f.he} said.|\"I have nothing to eat,\" {f.he} said.)")
    s.ask("why", "Why (did {h} give {f} some {many}|did {h} share the {many})?", "{h} shared because {f} was hungry.", "because {f} was hungry", many=many)
    s.maybe(0.5, "{h} (looked at them and thought for a moment|did not have to think for long).")
    s.add("\"Here, (take|have) {a},\" said {h}.", a=num(a))
    s.ask("count", "How many {many} did {h} give to {f}?", "{h} gave {a} to {f}.", "{a}", many=many, a=num(a))
    s.add("(Now|Then) {h} had {b} left(|, but {h.he} did not mind|, and that was enough).", b=num(n - a))
    s.ask("count", "How many {many} (did {h} have|were) left?", "{h} had {b} left.", "{b}", many=many, b=num(n - a))
    s.add("{f} (ate slowly|took a big bite) and (smiled|felt much better). \"Thank you! (You are very kind|I will never forget this),\" {f.he} said.")
    s.para()
    r = rng.randrange(3)
    if r == 0:
        s.add("(The next day|A few days later|On the next {day}), {h} lost {h.his} {co}. (Who came to help? It was {f}!|But {f} came to help.)")
        s.add("{f} found it and (brought it back|gave it back) to {h.him}.")
    elif r == 1:
        s.add("(The next day|A few days later), it (rained|snowed) and {h} had no food at home. (There was a knock on the door.|Then someone knocked.) It was {f} with a (big|fresh) {cake}!",
              cake=rng.choice([c for c in w.CAKES if "soup" not in c]))
        s.add("\"You shared with me, so now I share with you,\" said {f}.")
    else:
        s.add("From then on, they (met|played) {p.at} (every day|every {day}), and they always shared (what they had|their food).")
    closing(s, rng.choice(["sharing makes you happy", "kindness always comes back", "a small gift can be a big help"]))


def plot_fear(s):
    """Afraid of something; learns otherwise."""
    rng = s.rng
    s.topic = "being brave"
    intro(s, but=("brave", "proud"), friend=True)
    fear, why, event, calm = rng.choice([
        ("the dark", "strange shapes", "The lamp went out and the room was black.", "they are only shadows"),
        ("thunder", "the loud noise", "A storm came, and the thunder rolled.", "it is only a noise"),
        ("deep water", "the waves", "The path ended at the water, and they had to cross it.", "the water can carry you"),
        ("high places", "falling down", "The path led over a high bridge.", "you only need to look straight ahead"),
        ("the old house on the hill", "the creaking door", "Their way led past the old house, and the door creaked.", "it is only an old house"),
        ("owls", "the strange calls at night", "An owl called from a tree: \"Hoo! Hoo!\"", "the owl is only singing")])
    if fear == "owls" and "owl" in (s.hero.kind, s.friend.kind):
        fear, why, event, calm = "the dark", "strange shapes", "The lamp went out and the room was black.", "they are only shadows"
    s.ctx.update(fear=fear, why=why, calm=calm)
    s.add("(But {h} had a secret. {h.He} was afraid of {fear}.|There was one thing that {h} did not like: {fear}.|{h} was afraid of {fear}.)")
    s.maybe(0.5, "{h.He} did not like {why}.")
    s.ask("what", "What was {h} afraid of?", "{h} was afraid of {fear}.", "{fear}")
    s.para()
    s.add("(One evening|One night|One day|On {day}), {h} and {f} were (playing|sitting|walking) together with a {co}.")
    s.add(event)
    s.add("{h} (began to shake|could not move|hid behind {f}|closed {h.his} eyes). \"(I am scared|I want to go home|I cannot do this),\" {h.he} (whispered|said).")
    s.para()
    s.add("{f} (took {h.his} hand|sat down next to {h.him}|stayed close to {h.him}). \"(It is all right to be afraid|Do not worry|I am here with you),\" said {f}. \"You see, {calm}.\""
          if s.hero.kind not in w.ANIMALS else
          "{f} (sat down next to {h.him}|stayed close to {h.him}). \"(It is all right to be afraid|Do not worry|I am here with you),\" said {f}. \"You see, {calm}.\"")
    s.add("{h} took a deep breath. {h.He} (counted to {n}|thought of something nice).", n=w.NUMBERS[rng.choice([3, 5, 10])])
    s.add("Then {h.he} (opened {h.his} eyes|took one small step|tried again). (It was not so bad.|Nothing bad happened.|It was easier than before.)")
    s.ask("who", "Who helped {h}?", "{f} the {f.kind} helped {h}.", "{f}")
    s.para()
    s.add("\"(I did it!|I am not afraid any more!|You were right!)\" (said|cried|laughed) {h}.")
    s.add("\"(I knew you could do it|I am proud of you|You are braver than you think),\" said {f}.")
    s.maybe(0.5, "After that, they (laughed|danced|sang a song) and (went on their way|went home|played with the {o}).")
    closing(s, rng.choice(["being brave means trying even when you are afraid", "a friend makes hard things easier",
                           "most fears get smaller when you look at them"]))


def plot_race(s):
    """A proud one and a slow one race."""
    rng = s.rng
    s.topic = "a race"
    intro(s, but=("proud", "lazy", "quick"))
    s.ctx["prize"] = s.ctx["co"]
    s.para()
    s.add("A {f.kind} named {f} lived nearby. {f} (was proud and|) always (said|told everyone), \"I am the fastest (of all|in the whole land)!\"")
    s.add("(One day|One {season} day|On {day}), there was a race (from {p.the} to the old bridge|from {p.the} to the big tree). The prize was a {co}.")
    s.ask("what", "What was the prize?", "The prize was a {co}.", "a {co}")
    s.add("(\"You will never win,\" {f} (laughed|said to {h}).|\"You are too slow,\" said {f}.) \"(We will see|I will do my best),\" said {h}(| quietly).")
    s.para()
    s.add("(\"Ready, steady, go!\" The race began.|\"One, two, three, go!\" The race began.|A whistle blew, and the race began.) {f} ran (ahead|away) (like the wind|very fast), and {h} was (far behind|last).")
    r = rng.randrange(3)
    if r == 0:
        s.add("(Soon|Halfway), {f} looked back and saw nobody. \"I have (lots of|plenty of) time,\" {f.he} thought, and {f.he} lay down (under a tree|in the grass) and fell asleep.")
        s.add("But {h} kept going, step by step. {h.He} (passed|walked past) {f} and (crossed the line|reached the end) first.")
        s.ask("why", "Why did {f} lose?", "{f} lost because {f.he} fell asleep.", "because {f.he} fell asleep")
        win = s.hero
    elif r == 1:
        s.add("(Suddenly|But then), {f} (tripped over a (stone|root)|slipped in the mud) and hurt {f.his} foot. \"Ouch!\" {f.he} cried.")
        s.add("{h} could have won, but {h.he} stopped. \"(Let me help you|Lean on me),\" {h.he} said. They crossed the line together.")
        s.add("Everyone clapped. {f} gave the {o} to {h}. \"You are the real winner,\" {f.he} said.")
        s.ask("why", "Why did {h} stop?", "{h} stopped because {f} was hurt.", "because {f} was hurt")
        win = None
    else:
        s.add("{f} was so sure of {f.himself} that {f.he} (took the wrong path|stopped to eat some berries|stopped to talk to everyone).")
        s.add("{h} (ran|walked) on and on. When {f} came to the end, {h} was already there!")
        win = s.hero
    if win:
        s.ask("who", "Who won the race?", "{h} won the race.", "{h}")
        s.para()
        s.add("(Everyone cheered|The crowd cheered|All the others clapped), and {h} got the {co}. (\"Well done,\" said {f}. \"I will not laugh at you again.\"|{f} said sorry for {f.his} words.)")
        s.maybe(0.5, "{h} let {f} {use} too, and (so they|they soon) became friends.")
    closing(s, rng.choice(["slow and steady wins the race", "nobody should laugh at others"]) if win else
            rng.choice(["it is better to be kind than to be first", "helping is better than winning"]))


def plot_storm(s):
    """A storm takes or breaks something; a shelter or a repair follows."""
    rng = s.rng
    s.topic = "a storm"
    intro(s, friend=True)
    s.para()
    weather = rng.choice(["storm", "snowstorm"]) if s.ctx["season"] == "winter" else "storm"
    s.ctx["weather"] = weather
    s.add("(One {season} evening|One {season} night|On {day}), dark clouds (came over|covered) the sky. (The wind began to blow.|The wind howled.) A big {weather} was coming.")
    s.ask("what", "What (came|was coming)?", "A {weather} came.", "a {weather}")
    s.add("{h} was (at home|alone) with {h.his} {co} when the wind blew (the roof off the house|the door open and broke the window).")
    s.add("\"(Oh no|Oh dear)!\" cried {h}. \"Where can I (go|stay) now?\"")
    s.add("{h.He} took the {o} and ran through the (rain|wind) to {f}'s (house|home)." if weather == "storm" else
          "{h.He} took the {o} and walked through the deep snow to {f}'s (house|home).")
    s.ask("where", "Where did {h} go (in|during) the {weather}?", "{h} went to {f}'s home.", "to {f}'s home")
    s.ask("what", "What did {h} take along?", "{h} took {h.his} {co}.", "{h.his} {co}")
    s.para()
    s.add("{f} opened the door. \"Come in (quickly|at once)!\" {f.he} said. \"You are (all wet|cold). (Sit by the fire|Here is a warm blanket).\"")
    s.add("They (drank hot tea|ate {cake}|ate warm bread) and (told stories|sang songs|played games) (until the {weather} was over|all night long).", cake=rng.choice(w.CAKES))
    s.para()
    helper = s.another()
    s.add("In the morning, the sun (was shining|came out) again. {f} and {x} the {x.kind} helped {h} to (mend|repair|fix) the house.", x=helper)
    s.ask("who", "Who helped {h} (mend|repair|fix) the house?", "{f} and {x} helped {h}.", "{f} and {x}", x=helper)
    s.add("(They worked all day.|{f} cut the wood, and {x} held the ladder.|One carried wood, and the other held the nails.) (By evening|When the sun went down), the house was (as good as new|better than before).", x=helper)
    s.add("\"(Thank you all|What would I do without you)!\" said {h}(| and made a big dinner for everyone).")
    closing(s, rng.choice(["after every storm the sun comes back", "together we can mend anything", "a warm home is best when it is shared"]))


def plot_birthday(s):
    """Everyone seems to have forgotten; a surprise."""
    rng = s.rng
    s.topic = "a birthday"
    intro(s, friend=True)
    s.para()
    helper = s.another()
    s.ctx["x"] = helper
    age = rng.randint(3, 10)
    s.add("(One {season} day|On {day}), it was {h}'s birthday. {h} was {n} years old (now|that day).", n=w.NUMBERS[age])
    s.ask("count", "How old was {h}?", "{h} was {n} years old.", "{n} years old", n=w.NUMBERS[age])
    s.add("{h.He} woke up early and (ran outside|looked out of the window). But nobody (was there|said happy birthday|came).")
    s.add("{h.He} went to {x} the {x.kind}. \"(I am busy|I have no time today|I have a lot to do),\" said {x}.")
    s.add("{h.He} went to {f}. But {f} was not (at home|there).")
    s.add("(\"They have all forgotten my birthday,\" {h.he} thought.|\"Nobody remembers my birthday,\" said {h}.) {h.He} (felt very sad|sat down {p.at} and sighed|walked {p.at} all alone).")
    s.ask("why", "Why was {h} sad?", "{h} was sad because {h.he} thought that everyone had forgotten {h.his} birthday.", "because {h.he} felt forgotten")
    s.para()
    s.add("In the (evening|afternoon), {h} (came home|went home|opened {h.his} door). \"Surprise!\" (shouted|cried|called) everyone.")
    cake = rng.choice([c for c in w.CAKES if "cake" in c or "pie" in c])
    s.add("{f} had (made|baked) a (big|huge|lovely) {cake}, and {x} had brought a (present|gift). It was a {co}!", cake=cake)
    s.ask("what", "What (present|gift) did {h} get?", "{h} got a {co}.", "a {co}")
    s.ask("what", "What did {f} (make|bake)?", "{f} made a {cake}.", "a {cake}", cake=cake)
    s.ask("who", "Who brought the (present|gift)?", "{x} the {x.kind} brought it.", "{x}")
    s.add("\"You did not forget!\" (laughed|said) {h}. \"(Of course not|Never)!\" said {f}.")
    s.add("They (sang|danced|played) (until late|until the stars came out|all evening), and {h} was (the happiest {h.kind} in the world|very happy).")
    closing(s, rng.choice(["friends do not forget each other", "surprises can be worth the wait"]))


def plot_honest(s):
    """Breaks a friend's thing; the truth."""
    rng = s.rng
    s.topic = "telling the truth"
    intro(s, friend=True)
    s.para()
    s.add("{f} had a {co}. (It was {f.his} favourite thing.|{f.He} loved it very much.|{f.He} was very proud of it.)")
    if s.colour:
        s.ask("colour", "What colour was {f}'s {o}?", "{f}'s {o} was {c}.", "{c}", c=s.colour)
    s.ask("who", "Whose {o} was it?", "It was {f}'s {o}.", "{f}")
    s.add("(One day|One {season} day|On {day}), {h} asked, \"May I (borrow|play with|have) your {o} for a while?\" \"Yes, but please be careful,\" said {f}.")
    s.add("(But {h} (ran|jumped) too fast and fell.|But {h} was not careful.|{h} took it to {p.the}, but {h.he} tripped over a stone.) The {o} (broke|broke in two|fell and broke).")
    s.ask("what", "What did {h} break?", "{h} broke {f}'s {o}.", "the {o}")
    s.para()
    s.add("\"(Oh no|Oh dear)! What (should|shall) I do (now|)?\" thought {h}. \"(If I tell {f}, {f.he} will be angry.|{f} will be so sad.|Maybe I can hide it.)\"")
    if rng.random() < 0.5:
        s.add("{h} hid the {o} {spot}. But {h.he} could not (eat|sleep|play) and {h.his} heart felt heavy.", spot=rng.choice(s.place.spots))
        s.add("The next (day|morning), {h.he} went to {f} and told {f.him} (everything|the truth).")
    else:
        s.add("But {h} did not want to lie. {h.He} (went straight to|ran to) {f} and told {f.him} (everything|the truth).")
    s.add("\"I am (so|very) sorry. I broke your {o},\" said {h}.")
    s.para()
    s.add("{f} was (quiet for a moment|sad at first). Then {f.he} (smiled|nodded|hugged {h}). \"(Thank you for telling me the truth|I am glad that you told me|It was brave to tell me),\" {f.he} said. \"(A friend is worth more than a {o}|We can mend it|Let us mend it together).\"")
    s.add("(They mended the {o} with (glue|some string).|Together they mended the {o}, and soon it was as good as new.|{h} worked hard and mended it.)")
    s.maybe(0.4, "{h} felt (as light as a feather|much better).")
    closing(s, rng.choice(["it is best to tell the truth", "friends forgive each other", "the truth makes the heart light"]))


def plot_neighbour(s):
    """A new neighbour, shyness, a gift."""
    rng = s.rng
    s.topic = "making a new friend"
    s.friend = s.new_who(s.any_kind({s.hero.kind}))
    s.ctx["f"] = s.friend
    intro(s, but=("friendly", "cheerful"))
    s.add("(But {h} had no friends nearby.|{h.He} often played alone.|{h.He} wished for someone to play with.)")
    s.para()
    s.add("(One day|One {season} day|On {day}), someone moved into the (empty|old) house (next door|across the road|down the path). It was a {f.kind} named {f}.")
    s.ask("who", "Who moved into the house?", "{f} the {f.kind} moved into the house.", "{f}")
    s.add("{h} wanted to say hello, but {h.he} (was too shy|did not know what to say|was afraid that {f} would not like {h.him}).")
    s.add("{h.He} (watched|looked out) from (behind the curtain|behind a tree|the window). {f} was (all alone, too|sitting on the step, all alone).")
    s.para()
    s.add("Then {h} had an idea. {h.He} took {h.his} {co} and went to {f}'s door. (Knock, knock!|{h.He} knocked softly.)")
    s.add("\"(Hello|Good morning), I am {h}. (I live next door.|Welcome!) (Would you like to play?|Do you want to {use} with me?)\"")
    s.ask("what", "What did {h} (take|bring) along?", "{h} brought {h.his} {co}.", "{h.his} {co}")
    s.add("{f} (smiled|beamed|clapped with joy). \"(I would love to|Yes, please|Oh yes)! I am {f}. I (was hoping that someone would come|do not know anyone here).\"")
    s.para()
    s.add("They (went|walked) to {p.the} and (played|talked|laughed) (all day|all afternoon|until the sun went down).")
    s.ask("where", "Where did they (play|go)?", "They went to {p.the}.", "to {p.the}")
    s.add("{f} liked the {o} so much that {h} (gave it to {f.him}|let {f.him} keep it for a night|let {f.him} have a turn).")
    s.maybe(0.5, "The next day, {f} (brought|baked) a {cake} for {h}.", cake=rng.choice([c for c in w.CAKES if "soup" not in c]))
    s.add("Now {h} (was not alone any more|had a friend|was never lonely again).")
    closing(s, rng.choice(["a kind hello can start a friendship", "it is worth being brave and saying hello"]))


def plot_seed(s):
    """Plants a seed and waits, day by day."""
    rng = s.rng
    s.topic = "a seed"
    intro(s, but=("patient", "lazy"))
    one, many, colour, grows = rng.choice([f for f in w.FRUIT if f[3] != "on a tree"] + [
        ("sunflower", "sunflowers", "yellow", "in the garden"), ("rose", "roses", "red", "in the garden")])
    flower = one in ("sunflower", "rose")
    s.ctx.update(one=one, many=many, colour=colour)
    giver = s.friend
    s.para()
    start = rng.randrange(7)
    s.ctx["day"] = w.DAYS[start]
    s.add("On {day}, {h} got a (small|tiny) {one} seed from {f} the {f.kind}. \"(Plant it|Put it in the ground) and (give it water|water it) every day,\" said {f}.")
    s.ask("who", "Who gave {h} the seed?", "{f} the {f.kind} gave {h} the seed.", "{f}")
    s.ask("when", "(On which day|When) did {h} get the seed?", "{h} got the seed on {day}.", "on {day}")
    s.add("{h} (dug|made) a (small|little) hole {g} and put the seed in it. {h.He} put {h.his} {co} next to it to mark the spot.",
          g=rng.choice(["in the garden", "behind the house", "near the fence"]))
    s.ask("what", "What did {h} plant?", "{h} planted a {one} seed.", "a {one} seed")
    s.para()
    s.add("On {d1}, {h.he} looked at the ground. (Nothing had happened.|There was nothing to see.)", d1=w.DAYS[(start + 1) % 7])
    s.add("On {d2}, {h.he} looked again. Still nothing. \"(It does not work|Maybe the seed is asleep|I do not like waiting),\" {h.he} (sighed|said).", d2=w.DAYS[(start + 2) % 7])
    s.add("\"(Be patient|Wait a little longer|Good things take time),\" said {f}. So {h} (waited|watered the seed) (and sang to it|every morning|day after day).")
    s.para()
    d = rng.randint(4, 6)
    s.add("(Then, on {d3}|On {d3}), there was a (tiny|small) green leaf! {h} (danced|jumped) for joy.", d3=w.DAYS[(start + d) % 7])
    s.ask("when", "When did the first leaf come up?", "The first leaf came up on {d3}.", "on {d3}", d3=w.DAYS[(start + d) % 7])
    s.add("The plant grew and grew. (After some weeks|By the end of the {season}|In the end), there " +
          ("was a beautiful {colour} {one}." if flower else "were {n} (big|fat|ripe) {colour} {many}."), n=w.NUMBERS[rng.randint(3, 9)])
    if flower:
        s.add("{h} (showed it to {f}|called {f} at once), and they (sat and looked at it|smelled it) together.")
    else:
        s.add("{h} gave (some|half) of them to {f} and (ate the rest|made soup|kept one seed for the next year).")
    closing(s, rng.choice(["good things take time", "waiting can be hard, but it is worth it"]))


def plot_job(s):
    """Helps someone at work; a mistake; learns."""
    rng = s.rng
    s.topic = "helping at work"
    job, does, where = rng.choice([j for j in w.JOBS if j[0] in (
        "baker", "gardener", "painter", "tailor", "cook", "librarian", "shoemaker", "carpenter", "beekeeper", "shepherd")])
    s.ctx.update(job=job, where=where)
    intro(s, but=("lazy",))
    s.para()
    boss = s.friend = s.new_who(s.any_kind({s.hero.kind, *w.GROWN_UP}))
    s.ctx["f"] = boss
    s.add("(One day|One {season} day|On {day}), {h} went to {f}, a {f.kind} who worked as a {job}. \"(May|Can) I help you today?\" {h.he} asked.")
    s.ask("what", "What was {f}'s job?", "{f} was a {job}.", "a {job}")
    s.add("\"Yes, please,\" said {f}. \"(There is a lot to do|I have so much work).\"")
    task, wrong, fix = {
        "baker": ("mix the dough", "put salt in the dough and no sugar", "made a new dough"),
        "gardener": ("water the flowers", "gave the flowers too much water", "dug a small ditch for the water"),
        "painter": ("clean the brushes", "spilled the blue paint on the floor", "wiped the floor with a cloth"),
        "tailor": ("cut the cloth", "cut the cloth too short", "made a little waistcoat from the short cloth"),
        "cook": ("stir the soup", "put too much pepper in the soup", "added milk and potatoes"),
        "librarian": ("put the books away", "put all the books on the wrong shelves", "sorted the books by colour and then by name"),
        "shoemaker": ("polish the shoes", "polished the brown shoes with black polish", "cleaned the shoes again"),
        "carpenter": ("paint a chair", "painted the chair twice and it would not dry", "put the chair in the sun"),
        "beekeeper": ("carry the honey", "dropped a jar of honey", "swept up the glass with great care"),
        "shepherd": ("watch the sheep", "fell asleep, and three sheep walked away", "followed the tracks and brought the sheep back"),
    }[job]
    s.ctx.update(task=task, wrong=wrong, fix=fix)
    s.add("(First|So) {h} had to {task}. {h.He} (wanted to do it well|worked as fast as {h.he} could|was very excited).")
    s.ask("what", "What (did {h} have to do|was {h}'s task)?", "{h} had to {task}.", "{task}")
    s.para()
    s.add("But (then |)something went wrong. {h} {wrong}!")
    s.ask("what", "What went wrong?", "{h} {wrong}.", None)
    s.add("\"(Oh no! I am sorry|I have made a mistake|I am no help at all),\" said {h}. {h.His} ears turned red." if s.hero.kind in ("girl", "boy") else
          "\"(Oh no! I am sorry|I have made a mistake|I am no help at all),\" said {h}(| with a red face).")
    s.add("\"(Everyone makes mistakes|That can happen to anyone|When I was young, I did the same),\" said {f}. \"Let us put it right.\"")
    s.add("(Together they|So they) {fix}.")
    s.ask("how", "How did they put it right?", "They {fix}.", None)
    s.para()
    s.add("(In the evening|At the end of the day), all the work was done. {f} gave {h} a {co}. \"(This is for you|Thank you for your help|You can come back any time),\" {f.he} said.")
    s.ask("what", "What did {f} give {h}?", "{f} gave {h} a {co}.", "a {co}")
    s.add("{h} (walked|ran|danced) home (with a big smile|proudly|as happy as could be).")
    closing(s, rng.choice(["everyone makes mistakes, and we can learn from them", "it is fine to try again"]))


def plot_map(s):
    """A note, a path with two tests, a chest."""
    rng = s.rng
    s.topic = "an adventure"
    intro(s, friend=True)
    s.para()
    spot = rng.choice(s.place.spots)
    s.add("(One day|One {season} day|On {day}), {h} found an old (note|letter) {p.at}. It was {spot}.", spot=spot)
    s.ask("where", "Where did the adventure begin?",
          "It began {p.at}.", "{p.at}")
    goal = rng.choice(["the tall rock", "the old tower", "the big oak tree", "the hidden cave", "the broken bridge", "the little island"])
    s.ctx["goal"] = goal
    s.add("It said: \"(Look for a surprise at|Go to|There is a secret at) {goal}.\"")
    s.ask("where", "Where did the (note|letter) tell them to go?", "It told them to go to {goal}.", "to {goal}")
    s.add("{h} (ran to|called|showed it to) {f}. \"(Let us go|Come with me)!\" {h.he} said. \"(Hooray|Yes)! An adventure!\" said {f}.")
    s.para()
    tests = rng.sample([
        ("First they came to a wide river. There was no bridge, so they (crossed it on big stones|made a raft from branches).", "a river"),
        ("Then they came to a dark wood. They (held on to each other|sang a song) so that they would not be afraid.", "a dark wood"),
        ("After that, the path went up a steep hill. They (rested three times|climbed slowly) until they reached the top.", "a steep hill"),
        ("Then a thick fog came. {f} walked in front and (rang a little bell|called out), so that nobody got lost.", "a thick fog")], 2)
    firsts = ["First ", "Then "]
    for i, (line, _) in enumerate(tests):
        for lead in ("First ", "Then ", "After that, "):
            if line.startswith(lead):
                line = firsts[i] + line[len(lead):]
                break
        s.add(line)
    s.maybe(0.5, "\"(Are we there yet|Is it far)?\" asked {f}. \"(Almost|Only a little more),\" said {h}.")
    s.para()
    s.add("At last, they (reached|saw|stood before) {goal}. There was (an old box|a little chest|a small box) (in the grass|under some leaves). {h} opened it (slowly|carefully|with care).")
    s.add("Inside was a {co}(|. It shone in the sun|. It was beautiful)!")
    s.ask("what", "What was in the (box|chest)?" if "chest" not in s.text() else "What was in the chest?" if "chest" in s.text() else "", "There was a {co} inside.", "a {co}")
    s.add("(\"We found it together, so it belongs to both of us,\" said {h}.|\"You may have it on some days, and I will have it on the others,\" said {h}.|\"The best part was the way here,\" said {f}.)")
    s.add("They (walked|went) home (before dark|under the stars|singing all the way), and they never forgot that day.")
    closing(s, rng.choice(["adventures are best with a friend", "the way can be as good as the end of it"]))


def plot_quarrel(s):
    """Both want one thing; a quarrel; turns."""
    rng = s.rng
    s.topic = "a quarrel"
    intro(s, friend=True)
    s.para()
    s.add("(One day|One {season} day|On {day}), {h} and {f} found a {co} {p.at}.")
    s.ask("what", "What did {h} and {f} find?", "They found a {co}.", "a {co}")
    s.ask("where", "Where did they find the {o}?", "They found it {p.at}.", "{p.at}")
    s.add("\"I saw it first!\" said {h}. \"No, I saw it first!\" said {f}.")
    s.ask("why", "Why did {h} and {f} (fight|quarrel)?", "They quarrelled because both of them wanted the {o}.", "because both wanted the {o}")
    s.add("(They pulled and pulled.|They shouted at each other.|Each of them held on to it.) In the end, (they went home angry|both of them walked away without a word|they did not talk any more).")
    s.para()
    s.add("That (night|evening), {h} (could not sleep|sat alone and thought). (It was no fun to {usea} alone.|The house was so quiet without {f}.|{h.He} missed {f}.)")
    helper = s.another()
    if rng.random() < 0.5:
        s.add("{x} the {x.kind} saw {h.him}. \"A thing can be found again,\" said {x}, \"but a friend is hard to find.\"", x=helper)
        s.ask("who", "Who gave {h} advice?", "{x} the {x.kind} gave {h} advice.", "{x}", x=helper)
    s.add("(The next morning|In the morning|Early the next day), {h} went to {f}. \"I am sorry,\" said {h}. \"I am sorry, too,\" said {f}.")
    s.add("\"Let us take turns,\" said {h}. \"You can have it today, and I can have it tomorrow.\"")
    s.add("\"(That is a good idea|That is fair),\" said {f}. (They shook hands|They hugged), and (then they played together|the quarrel was over)." if
          s.hero.kind not in w.ANIMALS and s.friend.kind not in w.ANIMALS else
          "\"(That is a good idea|That is fair),\" said {f}. They hugged, and (then they played together|the quarrel was over).")
    closing(s, rng.choice(["a friend is worth more than any toy", "it is better to share than to fight", "saying sorry is a good start"]))


def plot_baby(s):
    """Finds a lost young animal and brings it home."""
    rng = s.rng
    s.topic = "a lost baby animal"
    intro(s)
    outdoors(s)
    options = [a for a in w.ANIMALS.values() if a.young and a.young not in ("infant", "tadpole", "hatchling", "pup", "hoglet")
               and a.name in w.STORY_ANIMALS and a.name not in (s.hero.kind, s.friend.kind) and a.size > 1]
    a = rng.choice(options)
    s.ctx.update(young=a.young, parent=a.name, lives=a.lives, eats=a.eats)
    s.para()
    s.add("(One day|One {season} morning|On {day}), {h} was (walking|out for a walk) {p.at} with {h.his} {co}. {h.He} heard a (small|tiny|little) (cry|voice|sound).")
    s.add("(Behind a bush|Under a tree|In the grass|Next to the path) sat a little {young}. It was (crying|all alone|shaking with cold).")
    s.ask("what", "What did {h} find?", "{h} found a little {young}.", "a {young}")
    s.ask("where", "Where was {h} walking?", "{h} was walking {p.at}.", "{p.at}")
    s.add("\"(What is wrong|Why are you crying|Are you lost), little one?\" asked {h}. \"I cannot find my (mother|mum),\" said the {young}.")
    s.ask("why", "Why was the {young} (sad|crying|unhappy)?", "The {young} could not find its mother.", "because it could not find its mother")
    s.para()
    s.add("(\"Do not cry,\" said {h}. \"We will find her.\"|\"Come with me,\" said {h}. \"I will take you home.\") {h.He} gave the {young} {h.his} {co} to (hold|make it feel better|cheer it up).")
    s.add("They asked {f} the {f.kind}. \"Have you seen a {parent}?\" asked {h}. \"(Yes|Oh yes)! {Pl} live {lives},\" said {f}." , Pl=a.plural.capitalize())
    s.ask("who", "Who did {h} ask?", "{h} asked {f} the {f.kind}.", "{f}")
    s.add("So they (went on|walked and walked) until they came to the right place.")
    s.para()
    s.add("There was the mother! She had (looked everywhere|been so worried). The {young} ran (straight |)to her.")
    s.add("\"Thank you for bringing my little one home,\" said the mother {parent}. (They all ate together.|She gave {h} a warm hug.|\"Please come and visit us.\")")
    s.maybe(0.5, "The {young} gave back the {o}(| and said goodbye| and waved until {h} was gone).")
    closing(s, rng.choice(["it is good to help those who are smaller", "a kind heart finds the way"]))


def plot_night(s):
    """Cannot sleep; tries things; sleeps."""
    rng = s.rng
    s.topic = "bedtime"
    intro(s, friend=False)
    s.para()
    s.add("(One night|One {season} night|On {day} night), {h} could not sleep. {h.He} (turned to the left and then to the right|turned over and closed {h.his} eyes), but it (did not help|was no use).")
    s.ask("what", "What was {h}'s problem?", "{h} could not sleep.", None)
    n = rng.randint(5, 20)
    s.add("First {h.he} counted (sheep|stars). {h.He} counted to {n}, but {h.he} was still awake.", n=w.NUMBERS[n])
    s.ask("count", "How far did {h} count?", "{h} counted to {n}.", "to {n}", n=w.NUMBERS[n])
    s.add("Then {h.he} (drank a cup of warm milk|drank some water|ate a small piece of bread), but {h.he} was still awake.")
    s.add("{h.He} even tried to {use}, but that only made {h.him} more awake." if s.thing.name not in ("pillow", "blanket") else
          "{h.He} even tried to {use}, but {h.he} was still awake.")
    s.para()
    s.add("{h} looked out of the window. {f} the {f.kind} was outside in the moonlight. \"I cannot sleep,\" said {h}.")
    s.ask("who", "Who was outside in the moonlight?", "{f} the {f.kind} was outside.", "{f}")
    s.add("\"(Then let me tell you|I will tell you) about my day,\" said {f}. \"I went to {p.the}, and I (saw|found) a {co}. I (walked|looked around) for a long time, and then I came home.\"")
    s.ask("where", "Where had {f} been?", "{f} had been to {p.the}.", "to {p.the}")
    s.add("(The voice was soft and slow.|The moon shone softly.) {h}'s eyes (grew heavy|began to close).")
    s.add("When {f} (came to the end|had finished the story), {h} was (fast asleep|sleeping like a stone). \"Good night, {h},\" (whispered|said) {f}(| and went home).")
    closing(s, None)


def plot_trick(s):
    """A boast or a trick that fails, with a clever answer."""
    rng = s.rng
    s.topic = "a clever trick"
    intro(s, but=("clumsy", "lazy"))
    s.para()
    s.add("(One day|One {season} day|On {day}), {h} was sitting {p.at} with a {co}. A {f.kind} named {f} came along and saw it.")
    s.add("(\"I want that {o},\" thought {f}.|{f} wanted the {o} for {f.himself}.)")
    s.ask("who", "Who wanted the {o}?", "{f} the {f.kind} wanted the {o}.", "{f}")
    s.add("\"(Look|Oh dear)! There is a (fire|big wave|hungry monster) behind you!\" {f.he} (cried|shouted).")
    s.maybe(0.6, "But it was a lie. There was nothing there at all.")
    s.add("{h} was clever and did not turn around. {h.He} did not let go of the {o}. \"(How strange|Is that so),\" said {h}. \"(I do not hear anything|I see nothing in your eyes).\"")
    s.add("{f} turned red. (\"You are too clever for me,\" {f.he} said.|{f.He} did not know what to say.)" )
    s.ask("why", "Why did the trick not work?", "The trick did not work because {h} did not turn around.", "because {h} did not turn around")
    s.para()
    s.add("\"Why did you not just ask?\" said {h}. \"(I would gladly share it|You can {use} with me|Sit down and we will {use} together).\"" )
    s.add("{f} was (surprised|ashamed). \"(I am sorry|Please forgive me),\" {f.he} said. \"(May I (try|have a turn)|Can we share)?\" \"(Of course|Yes),\" said {h}.")
    s.add("(So they spent the day together|And so they shared the {o}), and {f} never (played a trick on|lied to) {h} again.")
    closing(s, rng.choice(["it is better to ask than to trick", "honest words open more doors than tricks"]))


PLOTS = [plot_lost, plot_wish, plot_rescue, plot_share, plot_fear, plot_race, plot_storm, plot_birthday,
         plot_honest, plot_neighbour, plot_seed, plot_job, plot_map, plot_quarrel, plot_baby, plot_night,
         plot_trick]


BREAKABLE = set("clock;cup;doll;drum;flute;jar;kite;lantern;mirror;necklace;paintbrush;pencil;puppet;shell;sled;"
                "spoon;teapot;telescope;toy boat;toy train;umbrella;violin;wagon;whistle;bicycle;trumpet;top;"
                "bucket".split(";"))


def choose_plot(s):
    r = s.rng.random()
    if r < 0.4:
        return lean(PLOTS, s.thing.name, 3, s.rng)
    if r < 0.75:
        return lean(PLOTS, s.hero.kind, 3, s.rng)
    return s.rng.choice(PLOTS)


def make_story(rng, split, hero_kind=None, thing=None, plot=None, **more):
    s = Story(rng, split, hero_kind, thing, **more)
    while plot is None or plot is plot_honest and s.thing.name not in BREAKABLE:
        plot = choose_plot(s)
    plot(s)
    seen, keep = set(), []
    for q in s.questions:
        if q[1] and q[1] not in seen:
            seen.add(q[1])
            keep.append(q)
    s.questions = keep
    return s


def make_chapters(rng, split, n):
    """A longer story: the same hero in n chapters, each with its own plot, thing and friend."""
    chapters, plots, names = [], set(), set()
    hero = None
    while len(chapters) < n:
        plot = rng.choice(PLOTS)
        if plot in plots:
            continue
        s = make_story(rng, split, plot=plot, hero=hero, chapter=len(chapters), last=len(chapters) == n - 1)
        if names & (s.used_names - {s.hero.name}):
            continue
        hero = s.hero
        names |= s.used_names - {hero.name}
        plots.add(plot)
        chapters.append(s)
    return chapters
