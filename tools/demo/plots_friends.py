"""Plots about others: sharing, racing, quarrels, gifts, truth, and journeys together."""

import world as w
from stories import closing, intro, meet_friend, outdoors


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
    s.place = rng.choice(
        [p for p in w.PLACES if p.the in ("the garden", "the farm", "the orchard", "the market")]
    )
    s.ctx["p"] = s.place
    s.add(
        "(One day|One {season} day|On {day}), {h} {got} {n} {p.at}. {h.He} put them in a (bag|sack)"
        " with {h.his} {co}.",
        n=num(n),
        got="bought" if s.place.the == "the market" else "picked",
    )
    s.ask(
        "count",
        "How many {many} did {h} have at first?",
        "{h} had {n} at first.",
        "{n}",
        many=many,
        n=num(n),
    )
    s.maybe(
        0.5,
        '("What a (feast|treat)!" {h.he} said.|"I will eat them all," {h.he} thought.|They'
        " (looked|smelled) (so good|wonderful).)",
    )
    s.para()
    meet_friend(s)
    s.add(
        '{f} (looked sad|looked tired|was very hungry). ("I have not eaten all day," said {f}.|"I'
        ' am so hungry," {f.he} said.|"I have nothing to eat," {f.he} said.)'
    )
    s.ask(
        "why",
        "Why (did {h} give {f} some {many}|did {h} share the {many})?",
        "{h} shared because {f} was hungry.",
        "because {f} was hungry",
        many=many,
    )
    s.maybe(0.5, "{h} (looked at them and thought for a moment|did not have to think for long).")
    s.add('"Here, (take|have) {a}," said {h}.', a=num(a))
    s.ask(
        "count",
        "How many {many} did {h} give to {f}?",
        "{h} gave {a} to {f}.",
        "{a}",
        many=many,
        a=num(a),
    )
    s.add(
        "(Now|Then) {h} had {b} left(|, but {h.he} did not mind|, and that was enough).",
        b=num(n - a),
    )
    s.ask(
        "count",
        "How many {many} (did {h} have|were) left?",
        "{h} had {b} left.",
        "{b}",
        many=many,
        b=num(n - a),
    )
    s.add(
        '{f} (ate slowly|took a big bite) and (smiled|felt much better). "Thank you! (You are very'
        ' kind|I will never forget this)," {f.he} said.'
    )
    s.para()
    r = rng.randrange(3)
    if r == 0:
        s.add(
            "(The next day|A few days later|On the next {day}), {h} lost {h.his} {co}. (Who came to"
            " help? It was {f}!|But {f} came to help.)"
        )
        s.add("{f} found it and (brought it back|gave it back) to {h.him}.")
    elif r == 1:
        s.add(
            "(The next day|A few days later), it (rained|snowed) and {h} had no food at home."
            " (There was a knock on the door.|Then someone knocked.) It was {f} with a (big|fresh)"
            " {cake}!",
            cake=rng.choice([c for c in w.CAKES if "soup" not in c]),
        )
        s.add('"You shared with me, so now I share with you," said {f}.')
    else:
        s.add(
            "From then on, they (met|played) {p.at} (every day|every {day}), and they always shared"
            " (what they had|their food)."
        )
    closing(
        s,
        rng.choice(
            [
                "sharing makes you happy",
                "kindness always comes back",
                "a small gift can be a big help",
            ]
        ),
    )


def plot_race(s):
    """A proud one and a slow one race."""
    rng = s.rng
    s.topic = "a race"
    intro(s, but=("proud", "lazy", "quick"))
    s.ctx["prize"] = s.ctx["co"]
    s.para()
    s.add(
        'A {f.kind} named {f} lived nearby. {f} (was proud and|) always (said|told everyone), "I am'
        ' the fastest (of all|in the whole land)!"'
    )
    s.add(
        "(One day|One {season} day|On {day}), there was a race (from {p.the} to the old bridge|from"
        " {p.the} to the big tree). The prize was a {co}."
    )
    s.ask("what", "What was the prize?", "The prize was a {co}.", "a {co}")
    s.add(
        '("You will never win," {f} (laughed|said to {h}).|"You are too slow," said {f}.) "(We will'
        ' see|I will do my best)," said {h}(| quietly).'
    )
    s.para()
    s.add(
        '("Ready, steady, go!" The race began.|"One, two, three, go!" The race began.|A whistle'
        " blew, and the race began.) {f} ran (ahead|away) (like the wind|very fast), and {h} was"
        " (far behind|last)."
    )
    r = rng.randrange(3)
    if r == 0:
        s.add(
            '(Soon|Halfway), {f} looked back and saw nobody. "I have (lots of|plenty of) time,"'
            " {f.he} thought, and {f.he} lay down (under a tree|in the grass) and fell asleep."
        )
        s.add(
            "But {h} kept going, step by step. {h.He} (passed|walked past) {f} and (crossed the"
            " line|reached the end) first."
        )
        s.ask(
            "why",
            "Why did {f} lose?",
            "{f} lost because {f.he} fell asleep.",
            "because {f.he} fell asleep",
        )
        win = s.hero
    elif r == 1:
        s.add(
            "(Suddenly|But then), {f} (tripped over a (stone|root)|slipped in the mud) and hurt"
            ' {f.his} foot. "Ouch!" {f.he} cried.'
        )
        s.add(
            '{h} could have won, but {h.he} stopped. "(Let me help you|Lean on me)," {h.he} said.'
            " They crossed the line together."
        )
        s.add('Everyone clapped. {f} gave the {o} to {h}. "You are the real winner," {f.he} said.')
        s.ask(
            "why", "Why did {h} stop?", "{h} stopped because {f} was hurt.", "because {f} was hurt"
        )
        win = None
    else:
        s.add(
            "{f} was so sure of {f.himself} that {f.he} (took the wrong path|stopped to eat some"
            " berries|stopped to talk to everyone)."
        )
        s.add("{h} (ran|walked) on and on. When {f} came to the end, {h} was already there!")
        win = s.hero
    if win:
        s.ask("who", "Who won the race?", "{h} won the race.", "{h}")
        s.para()
        s.add(
            "(Everyone cheered|The crowd cheered|All the others clapped), and {h} got the {co}."
            ' ("Well done," said {f}. "I will not laugh at you again."|{f} said sorry for {f.his}'
            " words.)"
        )
        s.maybe(0.5, "{h} let {f} {use} too, and (so they|they soon) became friends.")
    closing(
        s,
        (
            rng.choice(["slow and steady wins the race", "nobody should laugh at others"])
            if win
            else rng.choice(
                ["it is better to be kind than to be first", "helping is better than winning"]
            )
        ),
    )


def plot_birthday(s):
    """Everyone seems to have forgotten; a surprise."""
    rng = s.rng
    s.topic = "a birthday"
    intro(s, friend=True)
    s.para()
    helper = s.another()
    s.ctx["x"] = helper
    age = rng.randint(3, 10)
    s.add(
        "(One {season} day|On {day}), it was {h}'s birthday. {h} was {n} years old (now|that day).",
        n=w.NUMBERS[age],
    )
    s.ask("count", "How old was {h}?", "{h} was {n} years old.", "{n} years old", n=w.NUMBERS[age])
    s.add(
        "{h.He} woke up early and (ran outside|looked out of the window). But nobody (was"
        " there|said happy birthday|came)."
    )
    s.add(
        '{h.He} went to {x} the {x.kind}. "(I am busy|I have no time today|I have a lot to do),"'
        " said {x}."
    )
    s.add("{h.He} went to {f}. But {f} was not (at home|there).")
    s.add(
        '("They have all forgotten my birthday," {h.he} thought.|"Nobody remembers my birthday,"'
        " said {h}.) {h.He} (felt very sad|sat down {p.at} and sighed|walked {p.at} all alone)."
    )
    s.ask(
        "why",
        "Why was {h} sad?",
        "{h} was sad because {h.he} thought that everyone had forgotten {h.his} birthday.",
        "because {h.he} felt forgotten",
    )
    s.para()
    s.add(
        'In the (evening|afternoon), {h} (came home|went home|opened {h.his} door). "Surprise!"'
        " (shouted|cried|called) everyone."
    )
    cake = rng.choice([c for c in w.CAKES if "cake" in c or "pie" in c])
    s.add(
        "{f} had (made|baked) a (big|huge|lovely) {cake}, and {x} had brought a (present|gift). It"
        " was a {co}!",
        cake=cake,
    )
    s.ask("what", "What (present|gift) did {h} get?", "{h} got a {co}.", "a {co}")
    s.ask("what", "What did {f} (make|bake)?", "{f} made a {cake}.", "a {cake}", cake=cake)
    s.ask("who", "Who brought the (present|gift)?", "{x} the {x.kind} brought it.", "{x}")
    s.add('"You did not forget!" (laughed|said) {h}. "(Of course not|Never)!" said {f}.')
    s.add(
        "They (sang|danced|played) (until late|until the stars came out|all evening), and {h} was"
        " (the happiest {h.kind} in the world|very happy)."
    )
    closing(s, rng.choice(["friends do not forget each other", "surprises can be worth the wait"]))


def plot_honest(s):
    """Breaks a friend's thing; the truth."""
    rng = s.rng
    s.topic = "telling the truth"
    intro(s, friend=True)
    s.para()
    s.add(
        "{f} had a {co}. (It was {f.his} favourite thing.|{f.He} loved it very much.|{f.He} was"
        " very proud of it.)"
    )
    if s.colour:
        s.ask("colour", "What colour was {f}'s {o}?", "{f}'s {o} was {c}.", "{c}", c=s.colour)
    s.ask("who", "Whose {o} was it?", "It was {f}'s {o}.", "{f}")
    s.add(
        '(One day|One {season} day|On {day}), {h} asked, "May I (borrow|play with|have) your {o}'
        ' for a while?" "Yes, but please be careful," said {f}.'
    )
    s.add(
        "(But {h} (ran|jumped) too fast and fell.|But {h} was not careful.|{h} took it to {p.the},"
        " but {h.he} tripped over a stone.) The {o} (broke|broke in two|fell and broke)."
    )
    s.ask("what", "What did {h} break?", "{h} broke {f}'s {o}.", "the {o}")
    s.para()
    s.add(
        '"(Oh no|Oh dear)! What (should|shall) I do (now|)?" thought {h}. "(If I tell {f}, {f.he}'
        ' will be angry.|{f} will be so sad.|Maybe I can hide it.)"'
    )
    if rng.random() < 0.5:
        s.add(
            "{h} hid the {o} {spot}. But {h.he} could not (eat|sleep|play) and {h.his} heart felt"
            " heavy.",
            spot=rng.choice(s.place.spots),
        )
        s.add("The next (day|morning), {h.he} went to {f} and told {f.him} (everything|the truth).")
    else:
        s.add(
            "But {h} did not want to lie. {h.He} (went straight to|ran to) {f} and told {f.him}"
            " (everything|the truth)."
        )
    s.add('"I am (so|very) sorry. I broke your {o}," said {h}.')
    s.para()
    s.add(
        '{f} was (quiet for a moment|sad at first). Then {f.he} (smiled|nodded|hugged {h}). "(Thank'
        ' you for telling me the truth|I am glad that you told me|It was brave to tell me)," {f.he}'
        ' said. "(A friend is worth more than a {o}|We can mend it|Let us mend it together)."'
    )
    s.add(
        "(They mended the {o} with (glue|some string).|Together they mended the {o}, and soon it"
        " was as good as new.|{h} worked hard and mended it.)"
    )
    s.maybe(0.4, "{h} felt (as light as a feather|much better).")
    closing(
        s,
        rng.choice(
            [
                "it is best to tell the truth",
                "friends forgive each other",
                "the truth makes the heart light",
            ]
        ),
    )


def plot_neighbour(s):
    """A new neighbour, shyness, a gift."""
    rng = s.rng
    s.topic = "making a new friend"
    s.friend = s.new_who(s.any_kind({s.hero.kind}))
    s.ctx["f"] = s.friend
    intro(s, but=("friendly", "cheerful"))
    s.add(
        "(But {h} had no friends nearby.|{h.He} often played alone.|{h.He} wished for someone to"
        " play with.)"
    )
    s.para()
    s.add(
        "(One day|One {season} day|On {day}), someone moved into the (empty|old) house (next"
        " door|across the road|down the path). It was a {f.kind} named {f}."
    )
    s.ask("who", "Who moved into the house?", "{f} the {f.kind} moved into the house.", "{f}")
    s.add(
        "{h} wanted to say hello, but {h.he} (was too shy|did not know what to say|was afraid that"
        " {f} would not like {h.him})."
    )
    s.add(
        "{h.He} (watched|looked out) from (behind the curtain|behind a tree|the window). {f} was"
        " (all alone, too|sitting on the step, all alone)."
    )
    s.para()
    s.add(
        "Then {h} had an idea. {h.He} took {h.his} {co} and went to {f}'s door. (Knock,"
        " knock!|{h.He} knocked softly.)"
    )
    s.add(
        '"(Hello|Good morning), I am {h}. (I live next door.|Welcome!) (Would you like to play?|Do'
        ' you want to {use} with me?)"'
    )
    s.ask("what", "What did {h} (take|bring) along?", "{h} brought {h.his} {co}.", "{h.his} {co}")
    s.add(
        '{f} (smiled|beamed|clapped with joy). "(I would love to|Yes, please|Oh yes)! I am {f}. I'
        ' (was hoping that someone would come|do not know anyone here)."'
    )
    s.para()
    s.add(
        "They (went|walked) to {p.the} and (played|talked|laughed) (all day|all afternoon|until the"
        " sun went down)."
    )
    s.ask("where", "Where did they (play|go)?", "They went to {p.the}.", "to {p.the}")
    s.add(
        "{f} liked the {o} so much that {h} (gave it to {f.him}|let {f.him} keep it for a night|let"
        " {f.him} have a turn)."
    )
    s.maybe(
        0.5,
        "The next day, {f} (brought|baked) a {cake} for {h}.",
        cake=rng.choice([c for c in w.CAKES if "soup" not in c]),
    )
    s.add("Now {h} (was not alone any more|had a friend|was never lonely again).")
    closing(
        s,
        rng.choice(
            ["a kind hello can start a friendship", "it is worth being brave and saying hello"]
        ),
    )


def plot_map(s):
    """A note, a path with two tests, a chest."""
    rng = s.rng
    s.topic = "an adventure"
    intro(s, friend=True)
    s.para()
    spot = rng.choice(s.place.spots)
    s.add(
        "(One day|One {season} day|On {day}), {h} found an old (note|letter) {p.at}. It was"
        " {spot}.",
        spot=spot,
    )
    s.ask("where", "Where did the adventure begin?", "It began {p.at}.", "{p.at}")
    goal = rng.choice(
        [
            "the tall rock",
            "the old tower",
            "the big oak tree",
            "the hidden cave",
            "the broken bridge",
            "the little island",
        ]
    )
    s.ctx["goal"] = goal
    s.add('It said: "(Look for a surprise at|Go to|There is a secret at) {goal}."')
    s.ask(
        "where",
        "Where did the (note|letter) tell them to go?",
        "It told them to go to {goal}.",
        "to {goal}",
    )
    s.add(
        '{h} (ran to|called|showed it to) {f}. "(Let us go|Come with me)!" {h.he} said.'
        ' "(Hooray|Yes)! An adventure!" said {f}.'
    )
    s.para()
    tests = rng.sample(
        [
            (
                (
                    "First they came to a wide river. There was no bridge, so they (crossed it on"
                    " big stones|made a raft from branches)."
                ),
                "a river",
            ),
            (
                (
                    "Then they came to a dark wood. They (held on to each other|sang a song) so"
                    " that they would not be afraid."
                ),
                "a dark wood",
            ),
            (
                (
                    "After that, the path went up a steep hill. They (rested three times|climbed"
                    " slowly) until they reached the top."
                ),
                "a steep hill",
            ),
            (
                (
                    "Then a thick fog came. {f} walked in front and (rang a little bell|called"
                    " out), so that nobody got lost."
                ),
                "a thick fog",
            ),
        ],
        2,
    )
    firsts = ["First ", "Then "]
    for i, (line, _) in enumerate(tests):
        for lead in ("First ", "Then ", "After that, "):
            if line.startswith(lead):
                line = firsts[i] + line[len(lead) :]
                break
        s.add(line)
    s.maybe(
        0.5, '"(Are we there yet|Is it far)?" asked {f}. "(Almost|Only a little more)," said {h}.'
    )
    s.para()
    s.add(
        "At last, they (reached|saw|stood before) {goal}. There was (an old box|a little chest|a"
        " small box) (in the grass|under some leaves). {h} opened it (slowly|carefully|with care)."
    )
    s.add("Inside was a {co}(|. It shone in the sun|. It was beautiful)!")
    s.ask(
        "what",
        (
            "What was in the (box|chest)?"
            if "chest" not in s.text()
            else "What was in the chest?" if "chest" in s.text() else ""
        ),
        "There was a {co} inside.",
        "a {co}",
    )
    s.add(
        '("We found it together, so it belongs to both of us," said {h}.|"You may have it on some'
        ' days, and I will have it on the others," said {h}.|"The best part was the way here," said'
        " {f}.)"
    )
    s.add(
        "They (walked|went) home (before dark|under the stars|singing all the way), and they never"
        " forgot that day."
    )
    closing(
        s,
        rng.choice(
            ["adventures are best with a friend", "the way can be as good as the end of it"]
        ),
    )


def plot_quarrel(s):
    """Both want one thing; a quarrel; turns."""
    rng = s.rng
    s.topic = "a quarrel"
    intro(s, friend=True)
    s.para()
    s.add("(One day|One {season} day|On {day}), {h} and {f} found a {co} {p.at}.")
    s.ask("what", "What did {h} and {f} find?", "They found a {co}.", "a {co}")
    s.ask("where", "Where did they find the {o}?", "They found it {p.at}.", "{p.at}")
    s.add('"I saw it first!" said {h}. "No, I saw it first!" said {f}.')
    s.ask(
        "why",
        "Why did {h} and {f} (fight|quarrel)?",
        "They quarrelled because both of them wanted the {o}.",
        "because both wanted the {o}",
    )
    s.add(
        "(They pulled and pulled.|They shouted at each other.|Each of them held on to it.) In the"
        " end, (they went home angry|both of them walked away without a word|they did not talk any"
        " more)."
    )
    s.para()
    s.add(
        "That (night|evening), {h} (could not sleep|sat alone and thought). (It was no fun to"
        " {usea} alone.|The house was so quiet without {f}.|{h.He} missed {f}.)"
    )
    helper = s.another()
    if rng.random() < 0.5:
        s.add(
            '{x} the {x.kind} saw {h.him}. "A thing can be found again," said {x}, "but a friend is'
            ' hard to find."',
            x=helper,
        )
        s.ask("who", "Who gave {h} advice?", "{x} the {x.kind} gave {h} advice.", "{x}", x=helper)
    s.add(
        '(The next morning|In the morning|Early the next day), {h} went to {f}. "I am sorry," said'
        ' {h}. "I am sorry, too," said {f}.'
    )
    s.add('"Let us take turns," said {h}. "You can have it today, and I can have it tomorrow."')
    s.add(
        '"(That is a good idea|That is fair)," said {f}. (They shook hands|They hugged), and (then'
        " they played together|the quarrel was over)."
        if s.hero.kind not in w.ANIMALS and s.friend.kind not in w.ANIMALS
        else (
            '"(That is a good idea|That is fair)," said {f}. They hugged, and (then they played'
            " together|the quarrel was over)."
        )
    )
    closing(
        s,
        rng.choice(
            [
                "a friend is worth more than any toy",
                "it is better to share than to fight",
                "saying sorry is a good start",
            ]
        ),
    )


def plot_baby(s):
    """Finds a lost young animal and brings it home."""
    rng = s.rng
    s.topic = "a lost baby animal"
    intro(s)
    outdoors(s)
    options = [
        a
        for a in w.ANIMALS.values()
        if a.young
        and a.young not in ("infant", "tadpole", "hatchling", "pup", "hoglet")
        and a.name in w.STORY_ANIMALS
        and a.name not in (s.hero.kind, s.friend.kind)
        and a.size > 1
    ]
    a = rng.choice(options)
    s.ctx.update(young=a.young, parent=a.name, lives=a.lives, eats=a.eats)
    s.para()
    s.add(
        "(One day|One {season} morning|On {day}), {h} was (walking|out for a walk) {p.at} with"
        " {h.his} {co}. {h.He} heard a (small|tiny|little) (cry|voice|sound)."
    )
    s.add(
        "(Behind a bush|Under a tree|In the grass|Next to the path) sat a little {young}. It was"
        " (crying|all alone|shaking with cold)."
    )
    s.ask("what", "What did {h} find?", "{h} found a little {young}.", "a {young}")
    s.ask("where", "Where was {h} walking?", "{h} was walking {p.at}.", "{p.at}")
    s.add(
        '"(What is wrong|Why are you crying|Are you lost), little one?" asked {h}. "I cannot find'
        ' my (mother|mum)," said the {young}.'
    )
    s.ask(
        "why",
        "Why was the {young} (sad|crying|unhappy)?",
        "The {young} could not find its mother.",
        "because it could not find its mother",
    )
    s.para()
    s.add(
        '("Do not cry," said {h}. "We will find her."|"Come with me," said {h}. "I will take you'
        ' home.") {h.He} gave the {young} {h.his} {co} to (hold|make it feel better|cheer it up).'
    )
    s.add(
        'They asked {f} the {f.kind}. "Have you seen a {parent}?" asked {h}. "(Yes|Oh yes)! {Pl}'
        ' live {lives}," said {f}.',
        Pl=a.plural.capitalize(),
    )
    s.ask("who", "Who did {h} ask?", "{h} asked {f} the {f.kind}.", "{f}")
    s.add("So they (went on|walked and walked) until they came to the right place.")
    s.para()
    s.add(
        "There was the mother! She had (looked everywhere|been so worried). The {young} ran"
        " (straight |)to her."
    )
    s.add(
        '"Thank you for bringing my little one home," said the mother {parent}. (They all ate'
        ' together.|She gave {h} a warm hug.|"Please come and visit us.")'
    )
    s.maybe(0.5, "The {young} gave back the {o}(| and said goodbye| and waved until {h} was gone).")
    closing(
        s, rng.choice(["it is good to help those who are smaller", "a kind heart finds the way"])
    )


def plot_trick(s):
    """A boast or a trick that fails, with a clever answer."""
    rng = s.rng
    s.topic = "a clever trick"
    intro(s, but=("clumsy", "lazy"))
    s.para()
    s.add(
        "(One day|One {season} day|On {day}), {h} was sitting {p.at} with a {co}. A {f.kind} named"
        " {f} came along and saw it."
    )
    s.add('("I want that {o}," thought {f}.|{f} wanted the {o} for {f.himself}.)')
    s.ask("who", "Who wanted the {o}?", "{f} the {f.kind} wanted the {o}.", "{f}")
    s.add(
        '"(Look|Oh dear)! There is a (fire|big wave|hungry monster) behind you!" {f.he}'
        " (cried|shouted)."
    )
    s.maybe(0.6, "But it was a lie. There was nothing there at all.")
    s.add(
        '{h} was clever and did not turn around. {h.He} did not let go of the {o}. "(How strange|Is'
        ' that so)," said {h}. "(I do not hear anything|I see nothing in your eyes)."'
    )
    s.add(
        '{f} turned red. ("You are too clever for me," {f.he} said.|{f.He} did not know what to'
        " say.)"
    )
    s.ask(
        "why",
        "Why did the trick not work?",
        "The trick did not work because {h} did not turn around.",
        "because {h} did not turn around",
    )
    s.para()
    s.add(
        '"Why did you not just ask?" said {h}. "(I would gladly share it|You can {use} with me|Sit'
        ' down and we will {use} together)."'
    )
    s.add(
        '{f} was (surprised|ashamed). "(I am sorry|Please forgive me)," {f.he} said. "(May I'
        ' (try|have a turn)|Can we share)?" "(Of course|Yes)," said {h}.'
    )
    s.add(
        "(So they spent the day together|And so they shared the {o}), and {f} never (played a trick"
        " on|lied to) {h} again."
    )
    closing(
        s,
        rng.choice(
            ["it is better to ask than to trick", "honest words open more doors than tricks"]
        ),
    )
