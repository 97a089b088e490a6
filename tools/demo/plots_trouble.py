"""Plots in which something goes wrong or is hard to get: the hero looks, works, waits or takes
heart.
"""

import world as w
from stories import closing, intro, outdoors


def plot_lost(s):
    """Loses a thing, looks in two wrong places, a friend helps, finds it."""
    rng = s.rng
    s.topic = "losing something"
    intro(s, friend=rng.random() < 0.5)
    known = any(q[1].startswith("Who was") and "friend" in q[1] for q in s.questions)
    s.add(
        "{h} had a {co}(|, and {h.he} loved it very much|, and it was {h.his} favourite thing|. It"
        " was a gift from {h.his} grandmother)."
    )
    s.maybe(0.5, "(Every day|On most days|Whenever {h.he} could), {h.he} liked to {use}.")
    if s.colour:
        s.ask("colour", "What colour was {h}'s {o}?", "{h}'s {o} was {c}.", "{c}", c=s.colour)
    s.para()
    s.add("(One day|One morning|One {season} day|On {day}), the {o} was gone.")
    s.maybe(
        0.6,
        '("Oh no!" cried {h}. "Where is my {o}?"|"Where can it be?" {h} wondered.|{h} felt very'
        " sad.|{h} began to cry.)",
    )
    s.ask("what", "What did {h} lose?", "{h} lost {h.his} {co}.", "a {co}")
    s.ask(
        "why",
        "Why was {h} sad?",
        "{h} was sad because {h.his} {o} was gone.",
        "because the {o} was gone",
    )
    spots = rng.sample(s.place.spots, 2)
    wrong = rng.sample(
        [
            "under the bed",
            "behind the door",
            "in the kitchen",
            "on the shelf",
            "under the table",
            "in the attic",
        ],
        2,
    )
    s.add(
        "{h.He} looked {a}, but it was not there. {h.He} looked {b}, but it was not there"
        " (either|).",
        a=wrong[0],
        b=wrong[1],
    )
    s.para()
    if known:
        s.add('Then {f} came by. ("What is wrong?" asked {f}.|"Why are you so sad?" asked {f}.)')
    else:
        s.add(
            '(Just then|Soon|After a while), a {f.kind} named {f} came by. ("What is wrong?" asked'
            ' {f}.|"Why are you so sad?" asked {f}.)'
        )
    s.add('"I (have lost|cannot find) my {co}," said {h}.')
    s.add(
        '("Do not worry," said {f}. "I will help you."|"Let us look for it together," said'
        ' {f}.|"Where did you have it last?" asked {f}. "I was {p.at}," said {h}.)'
    )
    s.add("(So they went|Together they went|The two of them walked) to {p.the}.")
    s.ask("where", "Where did {h} and {f} go?", "They went to {p.the}.", "to {p.the}")
    s.maybe(0.5, "They looked (high and low|here and there|everywhere).")
    finder = s.friend if rng.random() < 0.75 else s.hero
    s.add(
        (
            '(At last|Then|Suddenly), {x} (looked|peeked) {spot}. ("Here it is!" {x.he}'
            ' (called|cried).|"Look!" {x.he} (said|shouted). "There is (your|the) {o}!")'
            if finder is s.friend
            else (
                '(At last|Then|Suddenly), {x} (looked|peeked) {spot}. "Here it is!" {x.he}'
                " (called|cried)."
            )
        ),
        x=finder,
        spot=spots[0],
    )
    s.ask("where", "Where was the {o}?", "The {o} was {spot}.", "{spot}", spot=spots[0])
    s.ask("who", "Who found the {o}?", "{x} found the {o}.", "{x}", x=finder)
    s.para()
    s.add(
        '{h} (was so happy|was very glad|jumped for joy|smiled from ear to ear). ("Thank you, {f}!"'
        ' {h.he} said.|"Thank you! You are a true friend," {h.he} said.)'
    )
    s.maybe(
        0.6,
        "(Then they|After that, they|The two friends) (played together until the sun went"
        " down|walked home together|shared a piece of {cake}).",
        cake=rng.choice(w.CAKES),
    )
    closing(
        s,
        rng.choice(
            [
                "a good friend helps you when you are sad",
                "it is good to take care of your things",
                "looking for something is easier with a friend",
            ]
        ),
    )


def plot_wish(s):
    """Wants a thing, earns it by work."""
    rng = s.rng
    s.topic = "a wish"
    intro(s, but=("lazy",))
    s.add(
        "{h} had (one big wish|a secret wish|a dream). {h.He} wanted to {usea}, but {h.he} did not"
        " have (one|a {o})."
    )
    s.ask("what", "What did {h} (want|wish for)?", "{h} wanted a {o}.", "a {o}")
    s.para()
    s.add(
        "(One day|One morning|On {day}), {h.he} saw a {co} in the window of a (little|small|) shop."
    )
    if s.colour:
        s.ask(
            "colour",
            "What colour was the {o} in the (shop|window)?",
            "The {o} was {c}.",
            "{c}",
            c=s.colour,
        )
    n = rng.randint(3, 10)
    s.ctx["n"], s.ctx["n1"] = w.NUMBERS[n], w.NUMBERS[n - 1]
    s.add('"How much does it cost?" {h.he} asked. "It costs {n} coins," said the shopkeeper.')
    s.ask(
        "count",
        "How (much did the {o} cost|many coins did the {o} cost)?",
        "The {o} cost {n} coins.",
        "{n} coins",
    )
    s.add(
        '{h} had (no money at all|only one coin|not a single coin). (But {h.he} did not give up.|"I'
        ' will (work|find a job)," {h.he} thought.)'
    )
    s.para()
    if s.friend.villager:
        s.add("So {h} went to {f} the {f.kind}, who (always had a lot to do|needed some help).")
    else:
        s.add("So {h} went to a {f.kind} named {f}, who (always had a lot to do|needed some help).")
    s.add(
        '("May I help you?" asked {h}. "Yes, please!" said {f}.|"Do you have any work for me?"'
        ' asked {h}. "Oh yes," said {f}.)'
    )
    works = rng.sample(
        [
            "swept the floor",
            "watered the flowers",
            "picked apples",
            "carried water from the well",
            "painted the fence",
            "chopped wood",
            "fed the hens",
            "washed the windows",
            "baked bread",
        ],
        3,
    )
    s.add(
        "(All week long|For many days|From morning to evening), {h} {a}, {b}, and {c}.",
        a=works[0],
        b=works[1],
        c=works[2],
    )
    s.ask("who", "Who did {h} work for?", "{h} worked for {f} the {f.kind}.", "{f}")
    s.ask("how", "How did {h} get the (money|coins)?", "{h} worked for {f}.", "by working")
    s.add(
        '(In the end|At the end of the week|At last), {f} gave {h.him} {n} coins. "You (worked'
        ' hard|have earned it|are a great help)," {f.he} said.'
    )
    s.para()
    s.add(
        "{h} ran (back|) to the shop (as fast as {h.he} could|with the coins in {h.his}"
        " (hand|pocket))."
        if s.hero.kind not in w.ANIMALS
        else "{h} ran back to the shop as fast as {h.he} could."
    )
    s.add(
        "(Now the {co} was {h.his} own.|{h.He} bought the {co} and hugged it.|Soon the {co}"
        " belonged to {h.him}.)"
    )
    s.add(
        "(That {day}|The next day|That very day), {h.he} could {use} (at last|for the first time)."
        " {h.He} was (so proud|very happy|full of joy)."
    )
    closing(
        s,
        rng.choice(
            [
                "hard work makes wishes come true",
                "it is worth waiting for good things",
                "things you work for are the best of all",
            ]
        ),
    )


def plot_rescue(s):
    """Someone is stuck; one tool fails, another works."""
    rng = s.rng
    s.topic = "helping a friend"
    intro(s, friend=True)
    s.para()
    outdoors(s)
    trouble = rng.choice(
        [
            ("fell into a deep hole", "in a deep hole", ["rope", "ladder"]),
            ("got stuck in the mud", "in the mud", ["rope", "strong branch"]),
            ("was stuck high up in a tree", "high up in a tree", ["ladder", "big blanket"]),
            ("fell into the cold water", "in the cold water", ["rope", "long branch"]),
            ("got caught in a thorny bush", "in a thorny bush", ["pair of scissors", "long stick"]),
            (
                "was trapped under a fallen branch",
                "under a fallen branch",
                ["strong rope", "long stick"],
            ),
        ]
    )
    good = rng.choice(trouble[2])
    s.add(
        "(One day|One {season} day|On {day}), {h} went for a walk {p.at} with {h.his} {co}.",
    )
    s.maybe(
        0.4,
        "The (sun was shining|wind was blowing|birds were singing) and all was (quiet|well|calm).",
    )
    s.add('Suddenly {h.he} heard a (voice|cry|small voice). "Help! (Help!|Please help me!)"')
    s.add(
        (
            "It was {f}! {f.He} {tr} and could not get out."
            if "trapped" not in trouble[0] and "stuck high" not in trouble[0]
            else (
                "It was {f}! {f.He} {tr} and could not get away."
                if "trapped" in trouble[0]
                else "It was {f}! {f.He} {tr} and could not get down."
            )
        ),
        tr=trouble[0].replace("fell", "had fallen").replace("got", "had got"),
    )
    s.ask(
        "where",
        "Where was {f} (stuck|when {h} heard the cry)?",
        "{f} was {w}.",
        "{w}",
        w=trouble[1],
    )
    s.ask("who", "Who (needed help|was in trouble)?", "{f} the {f.kind} needed help.", "{f}")
    s.para()
    s.add(
        '("Do not be afraid!" called {h}. "I will help you."|"Hold on!" cried {h}. "I will get you'
        ' out."|"Stay calm," said {h}. "I am here.")'
        if "tree" not in trouble[0]
        else '("Do not be afraid!" called {h}. "I will help you."|"Hold on!" cried {h}.)'
    )
    s.add(
        "First {h.he} tried to pull {f} out with {h.his} (bare |own |)hands, but {f} was too heavy."
        if "tree" not in trouble[0] and s.hero.kind not in w.ANIMALS
        else (
            "First {h.he} tried to reach {f.him}, but it was too far."
            if "branch" not in trouble[0]
            else "First {h.he} tried to push, but the branch was too heavy."
        )
    )
    helper = s.another()
    if rng.random() < 0.5:
        s.ctx["x"] = helper
        s.add(
            'So {h} ran to (get|fetch) {x} the {x.kind}. "{f} needs (us|our help)!" {h.he}'
            " (said|shouted)."
        )
        s.add("{x} brought a {good}. Together they (saved {f}|got {f} to safety).", good=good)
        s.ask(
            "who",
            "Who (brought the {good}|helped {h})?",
            "It was {x} the {x.kind}.",
            "{x}",
            good=good,
        )
    else:
        s.add(
            "Then {h.he} had (an idea|a good idea). {h.He} (ran home and|went back and|quickly)"
            " (got|fetched) a {good}.",
            good=good,
        )
        s.add("{h.He} used it to help {f}, and (soon|a moment later) {f} was (safe|free).")
    s.ask(
        "what",
        "What did they use to (save|help) {f}?",
        "They used a {good}." if not helper.name in s.text() else "They used a {good}.",
        "a {good}",
        good=good,
    )
    s.para()
    s.add(
        '("You saved me!" said {f}. "Thank you!"|"Thank you, {h}," said {f}. "You are so'
        ' brave."|{f} hugged {h}. "I was so scared," {f.he} said.)'
    )
    s.maybe(0.6, "{h} gave {f.him} the {co} to cheer {f.him} up, and {f} smiled again.")
    s.maybe(
        0.5,
        "They went home and (drank hot tea|ate warm soup|sat by the fire|ate some {cake}).",
        cake=rng.choice(w.CAKES),
    )
    closing(
        s,
        rng.choice(
            [
                "friends help each other",
                "it is good to stay calm when there is trouble",
                "nobody is too small to help",
            ]
        ),
    )


def plot_fear(s):
    """Afraid of something; learns otherwise."""
    rng = s.rng
    s.topic = "being brave"
    intro(s, but=("brave", "proud"), friend=True)
    fear, why, event, calm = rng.choice(
        [
            (
                "the dark",
                "strange shapes",
                "The lamp went out and the room was black.",
                "they are only shadows",
            ),
            (
                "thunder",
                "the loud noise",
                "A storm came, and the thunder rolled.",
                "it is only a noise",
            ),
            (
                "deep water",
                "the waves",
                "The path ended at the water, and they had to cross it.",
                "the water can carry you",
            ),
            (
                "high places",
                "falling down",
                "The path led over a high bridge.",
                "you only need to look straight ahead",
            ),
            (
                "the old house on the hill",
                "the creaking door",
                "Their way led past the old house, and the door creaked.",
                "it is only an old house",
            ),
            (
                "owls",
                "the strange calls at night",
                'An owl called from a tree: "Hoo! Hoo!"',
                "the owl is only singing",
            ),
        ]
    )
    if fear == "owls" and "owl" in (s.hero.kind, s.friend.kind):
        fear, why, event, calm = (
            "the dark",
            "strange shapes",
            "The lamp went out and the room was black.",
            "they are only shadows",
        )
    s.ctx.update(fear=fear, why=why, calm=calm)
    s.add(
        "(But {h} had a secret. {h.He} was afraid of {fear}.|There was one thing that {h} did not"
        " like: {fear}.|{h} was afraid of {fear}.)"
    )
    s.maybe(0.5, "{h.He} did not like {why}.")
    s.ask("what", "What was {h} afraid of?", "{h} was afraid of {fear}.", "{fear}")
    s.para()
    s.add(
        "(One evening|One night|One day|On {day}), {h} and {f} were (playing|sitting|walking)"
        " together with a {co}."
    )
    s.add(event)
    s.add(
        '{h} (began to shake|could not move|hid behind {f}|closed {h.his} eyes). "(I am scared|I'
        ' want to go home|I cannot do this)," {h.he} (whispered|said).'
    )
    s.para()
    s.add(
        '{f} (took {h.his} hand|sat down next to {h.him}|stayed close to {h.him}). "(It is all'
        ' right to be afraid|Do not worry|I am here with you)," said {f}. "You see, {calm}."'
        if s.hero.kind not in w.ANIMALS
        else (
            '{f} (sat down next to {h.him}|stayed close to {h.him}). "(It is all right to be'
            ' afraid|Do not worry|I am here with you)," said {f}. "You see, {calm}."'
        )
    )
    s.add(
        "{h} took a deep breath. {h.He} (counted to {n}|thought of something nice).",
        n=w.NUMBERS[rng.choice([3, 5, 10])],
    )
    s.add(
        "Then {h.he} (opened {h.his} eyes|took one small step|tried again). (It was not so"
        " bad.|Nothing bad happened.|It was easier than before.)"
    )
    s.ask("who", "Who helped {h}?", "{f} the {f.kind} helped {h}.", "{f}")
    s.para()
    s.add('"(I did it!|I am not afraid any more!|You were right!)" (said|cried|laughed) {h}.')
    s.add('"(I knew you could do it|I am proud of you|You are braver than you think)," said {f}.')
    s.maybe(
        0.5,
        "After that, they (laughed|danced|sang a song) and (went on their way|went home|played with"
        " the {o}).",
    )
    closing(
        s,
        rng.choice(
            [
                "being brave means trying even when you are afraid",
                "a friend makes hard things easier",
                "most fears get smaller when you look at them",
            ]
        ),
    )


def plot_storm(s):
    """A storm takes or breaks something; a shelter or a repair follows."""
    rng = s.rng
    s.topic = "a storm"
    intro(s, friend=True)
    s.para()
    weather = rng.choice(["storm", "snowstorm"]) if s.ctx["season"] == "winter" else "storm"
    s.ctx["weather"] = weather
    s.add(
        "(One {season} evening|One {season} night|On {day}), dark clouds (came over|covered) the"
        " sky. (The wind began to blow.|The wind howled.) A big {weather} was coming."
    )
    s.ask("what", "What (came|was coming)?", "A {weather} came.", "a {weather}")
    s.add(
        "{h} was (at home|alone) with {h.his} {co} when the wind blew (the roof off the house|the"
        " door open and broke the window)."
    )
    s.add('"(Oh no|Oh dear)!" cried {h}. "Where can I (go|stay) now?"')
    s.add(
        "{h.He} took the {o} and ran through the (rain|wind) to {f}'s (house|home)."
        if weather == "storm"
        else "{h.He} took the {o} and walked through the deep snow to {f}'s (house|home)."
    )
    s.ask(
        "where",
        "Where did {h} go (in|during) the {weather}?",
        "{h} went to {f}'s home.",
        "to {f}'s home",
    )
    s.ask("what", "What did {h} take along?", "{h} took {h.his} {co}.", "{h.his} {co}")
    s.para()
    s.add(
        '{f} opened the door. "Come in (quickly|at once)!" {f.he} said. "You are (all wet|cold).'
        ' (Sit by the fire|Here is a warm blanket)."'
    )
    s.add(
        "They (drank hot tea|ate {cake}|ate warm bread) and (told stories|sang songs|played games)"
        " (until the {weather} was over|all night long).",
        cake=rng.choice(w.CAKES),
    )
    s.para()
    helper = s.another()
    s.add(
        "In the morning, the sun (was shining|came out) again. {f} and {x} the {x.kind} helped {h}"
        " to (mend|repair|fix) the house.",
        x=helper,
    )
    s.ask(
        "who",
        "Who helped {h} (mend|repair|fix) the house?",
        "{f} and {x} helped {h}.",
        "{f} and {x}",
        x=helper,
    )
    s.add(
        "(They worked all day.|{f} cut the wood, and {x} held the ladder.|One carried wood, and the"
        " other held the nails.) (By evening|When the sun went down), the house was (as good as"
        " new|better than before).",
        x=helper,
    )
    s.add(
        '"(Thank you all|What would I do without you)!" said {h}(| and made a big dinner for'
        " everyone)."
    )
    closing(
        s,
        rng.choice(
            [
                "after every storm the sun comes back",
                "together we can mend anything",
                "a warm home is best when it is shared",
            ]
        ),
    )


def plot_seed(s):
    """Plants a seed and waits, day by day."""
    rng = s.rng
    s.topic = "a seed"
    intro(s, but=("patient", "lazy"))
    one, many, colour, grows = rng.choice(
        [f for f in w.FRUIT if f[3] != "on a tree"]
        + [
            ("sunflower", "sunflowers", "yellow", "in the garden"),
            ("rose", "roses", "red", "in the garden"),
        ]
    )
    flower = one in ("sunflower", "rose")
    s.ctx.update(one=one, many=many, colour=colour)
    s.para()
    start = rng.randrange(7)
    s.ctx["day"] = w.DAYS[start]
    s.add(
        'On {day}, {h} got a (small|tiny) {one} seed from {f} the {f.kind}. "(Plant it|Put it in'
        ' the ground) and (give it water|water it) every day," said {f}.'
    )
    s.ask("who", "Who gave {h} the seed?", "{f} the {f.kind} gave {h} the seed.", "{f}")
    s.ask(
        "when",
        "(On which day|When) did {h} get the seed?",
        "{h} got the seed on {day}.",
        "on {day}",
    )
    s.add(
        "{h} (dug|made) a (small|little) hole {g} and put the seed in it. {h.He} put {h.his} {co}"
        " next to it to mark the spot.",
        g=rng.choice(["in the garden", "behind the house", "near the fence"]),
    )
    s.ask("what", "What did {h} plant?", "{h} planted a {one} seed.", "a {one} seed")
    s.para()
    s.add(
        "On {d1}, {h.he} looked at the ground. (Nothing had happened.|There was nothing to see.)",
        d1=w.DAYS[(start + 1) % 7],
    )
    s.add(
        'On {d2}, {h.he} looked again. Still nothing. "(It does not work|Maybe the seed is asleep|I'
        ' do not like waiting)," {h.he} (sighed|said).',
        d2=w.DAYS[(start + 2) % 7],
    )
    s.add(
        '"(Be patient|Wait a little longer|Good things take time)," said {f}. So {h}'
        " (waited|watered the seed) (and sang to it|every morning|day after day)."
    )
    s.para()
    d = rng.randint(4, 6)
    s.add(
        "(Then, on {d3}|On {d3}), there was a (tiny|small) green leaf! {h} (danced|jumped) for"
        " joy.",
        d3=w.DAYS[(start + d) % 7],
    )
    s.ask(
        "when",
        "When did the first leaf come up?",
        "The first leaf came up on {d3}.",
        "on {d3}",
        d3=w.DAYS[(start + d) % 7],
    )
    s.add(
        "The plant grew and grew. (After some weeks|By the end of the {season}|In the end), there "
        + (
            "was a beautiful {colour} {one}."
            if flower
            else "were {n} (big|fat|ripe) {colour} {many}."
        ),
        n=w.NUMBERS[rng.randint(3, 9)],
    )
    if flower:
        s.add(
            "{h} (showed it to {f}|called {f} at once), and they (sat and looked at it|smelled it)"
            " together."
        )
    else:
        s.add(
            "{h} gave (some|half) of them to {f} and (ate the rest|made soup|kept one seed for the"
            " next year)."
        )
    closing(s, rng.choice(["good things take time", "waiting can be hard, but it is worth it"]))


def plot_job(s):
    """Helps someone at work; a mistake; learns."""
    rng = s.rng
    s.topic = "helping at work"
    job, does, where = rng.choice(
        [
            j
            for j in w.JOBS
            if j[0]
            in (
                "baker",
                "gardener",
                "painter",
                "tailor",
                "cook",
                "librarian",
                "shoemaker",
                "carpenter",
                "beekeeper",
                "shepherd",
            )
        ]
    )
    s.ctx.update(job=job, where=where)
    intro(s, but=("lazy",))
    s.para()
    boss = s.friend = s.new_who(s.any_kind({s.hero.kind, *w.GROWN_UP}))
    s.ctx["f"] = boss
    s.add(
        "(One day|One {season} day|On {day}), {h} went to {f}, a {f.kind} who worked as a {job}."
        ' "(May|Can) I help you today?" {h.he} asked.'
    )
    s.ask("what", "What was {f}'s job?", "{f} was a {job}.", "a {job}")
    s.add('"Yes, please," said {f}. "(There is a lot to do|I have so much work)."')
    task, wrong, fix = {
        "baker": ("mix the dough", "put salt in the dough and no sugar", "made a new dough"),
        "gardener": (
            "water the flowers",
            "gave the flowers too much water",
            "dug a small ditch for the water",
        ),
        "painter": (
            "clean the brushes",
            "spilled the blue paint on the floor",
            "wiped the floor with a cloth",
        ),
        "tailor": (
            "cut the cloth",
            "cut the cloth too short",
            "made a little waistcoat from the short cloth",
        ),
        "cook": ("stir the soup", "put too much pepper in the soup", "added milk and potatoes"),
        "librarian": (
            "put the books away",
            "put all the books on the wrong shelves",
            "sorted the books by colour and then by name",
        ),
        "shoemaker": (
            "polish the shoes",
            "polished the brown shoes with black polish",
            "cleaned the shoes again",
        ),
        "carpenter": (
            "paint a chair",
            "painted the chair twice and it would not dry",
            "put the chair in the sun",
        ),
        "beekeeper": (
            "carry the honey",
            "dropped a jar of honey",
            "swept up the glass with great care",
        ),
        "shepherd": (
            "watch the sheep",
            "fell asleep, and three sheep walked away",
            "followed the tracks and brought the sheep back",
        ),
    }[job]
    s.ctx.update(task=task, wrong=wrong, fix=fix)
    s.add(
        "(First|So) {h} had to {task}. {h.He} (wanted to do it well|worked as fast as {h.he}"
        " could|was very excited)."
    )
    s.ask("what", "What (did {h} have to do|was {h}'s task)?", "{h} had to {task}.", "{task}")
    s.para()
    s.add("But (then |)something went wrong. {h} {wrong}!")
    s.ask("what", "What went wrong?", "{h} {wrong}.", None)
    s.add(
        '"(Oh no! I am sorry|I have made a mistake|I am no help at all)," said {h}. {h.His} ears'
        " turned red."
        if s.hero.kind in ("girl", "boy")
        else (
            '"(Oh no! I am sorry|I have made a mistake|I am no help at all)," said {h}(| with a red'
            " face)."
        )
    )
    s.add(
        '"(Everyone makes mistakes|That can happen to anyone|When I was young, I did the same),"'
        ' said {f}. "Let us put it right."'
    )
    s.add("(Together they|So they) {fix}.")
    s.ask("how", "How did they put it right?", "They {fix}.", None)
    s.para()
    s.add(
        '(In the evening|At the end of the day), all the work was done. {f} gave {h} a {co}. "(This'
        ' is for you|Thank you for your help|You can come back any time)," {f.he} said.'
    )
    s.ask("what", "What did {f} give {h}?", "{f} gave {h} a {co}.", "a {co}")
    s.add("{h} (walked|ran|danced) home (with a big smile|proudly|as happy as could be).")
    closing(
        s,
        rng.choice(
            ["everyone makes mistakes, and we can learn from them", "it is fine to try again"]
        ),
    )


def plot_night(s):
    """Cannot sleep; tries things; sleeps."""
    rng = s.rng
    s.topic = "bedtime"
    intro(s, friend=False)
    s.para()
    s.add(
        "(One night|One {season} night|On {day} night), {h} could not sleep. {h.He} (turned to the"
        " left and then to the right|turned over and closed {h.his} eyes), but it (did not help|was"
        " no use)."
    )
    s.ask("what", "What was {h}'s problem?", "{h} could not sleep.", None)
    n = rng.randint(5, 20)
    s.add(
        "First {h.he} counted (sheep|stars). {h.He} counted to {n}, but {h.he} was still awake.",
        n=w.NUMBERS[n],
    )
    s.ask("count", "How far did {h} count?", "{h} counted to {n}.", "to {n}", n=w.NUMBERS[n])
    s.add(
        "Then {h.he} (drank a cup of warm milk|drank some water|ate a small piece of bread), but"
        " {h.he} was still awake."
    )
    s.add(
        "{h.He} even tried to {use}, but that only made {h.him} more awake."
        if s.thing.name not in ("pillow", "blanket")
        else "{h.He} even tried to {use}, but {h.he} was still awake."
    )
    s.para()
    s.add(
        '{h} looked out of the window. {f} the {f.kind} was outside in the moonlight. "I cannot'
        ' sleep," said {h}.'
    )
    s.ask("who", "Who was outside in the moonlight?", "{f} the {f.kind} was outside.", "{f}")
    s.add(
        '"(Then let me tell you|I will tell you) about my day," said {f}. "I went to {p.the}, and I'
        ' (saw|found) a {co}. I (walked|looked around) for a long time, and then I came home."'
    )
    s.ask("where", "Where had {f} been?", "{f} had been to {p.the}.", "to {p.the}")
    s.add(
        "(The voice was soft and slow.|The moon shone softly.) {h}'s eyes (grew heavy|began to"
        " close)."
    )
    s.add(
        "When {f} (came to the end|had finished the story), {h} was (fast asleep|sleeping like a"
        ' stone). "Good night, {h}," (whispered|said) {f}(| and went home).'
    )
    closing(s, None)
