"""All plots, and how one is chosen: whole stories and stories in chapters."""

from plots_friends import (
    plot_baby,
    plot_birthday,
    plot_honest,
    plot_map,
    plot_neighbour,
    plot_quarrel,
    plot_race,
    plot_share,
    plot_trick,
)
from plots_trouble import (
    plot_fear,
    plot_job,
    plot_lost,
    plot_night,
    plot_rescue,
    plot_seed,
    plot_storm,
    plot_wish,
)
from stories import Story, lean

PLOTS = [
    plot_lost,
    plot_wish,
    plot_rescue,
    plot_share,
    plot_fear,
    plot_race,
    plot_storm,
    plot_birthday,
    plot_honest,
    plot_neighbour,
    plot_seed,
    plot_job,
    plot_map,
    plot_quarrel,
    plot_baby,
    plot_night,
    plot_trick,
]


BREAKABLE = {  # things that can break and be mended
    "clock",
    "cup",
    "doll",
    "drum",
    "flute",
    "jar",
    "kite",
    "lantern",
    "mirror",
    "necklace",
    "paintbrush",
    "pencil",
    "puppet",
    "shell",
    "sled",
    "spoon",
    "teapot",
    "telescope",
    "toy boat",
    "toy train",
    "umbrella",
    "violin",
    "wagon",
    "whistle",
    "bicycle",
    "trumpet",
    "top",
    "bucket",
}


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
        s = make_story(
            rng, split, plot=plot, hero=hero, chapter=len(chapters), last=len(chapters) == n - 1
        )
        if names & (s.used_names - {s.hero.name}):
            continue
        hero = s.hero
        names |= s.used_names - {hero.name}
        plots.add(plot)
        chapters.append(s)
    return chapters
