#!/usr/bin/env python3
"""plots.py - draws docs/plots/*.svg from bench/results/cpu_scaling.json: tokens a second against batch, depth and threads, with
what the machine allows beside them.

    python3 bench/plots.py [RESULTS.json [OUT_DIR]]      # --check: compares with what is there, writes nothing

Needs Python alone. The same results give the same bytes.
"""
import json
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 640, 400, 64, 150, 44, 52
COLOURS = {"bf16": "#1f6f8b", "q8": "#c8553d", "q4": "#5a8f29"}


def nice_ceiling(value):
    for step in (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10):
        magnitude = 10 ** (len(str(int(value))) - 1)
        if value <= step * magnitude:
            return step * magnitude
    return 10 * magnitude


def text(x, y, content, anchor="middle", extra=""):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{extra}>{content}</text>'


def limit_of(point):
    """What memory allows, or arithmetic where that is less."""
    limits = [point["memory_tok_s"], point.get("matrix_tok_s")]
    return min(v for v in limits if v)


def draw(title, x_title, points, axis, note):
    """`points` of all weights; places on the x axis are evenly spaced, one a value."""
    values = sorted({p[axis] for p in points})
    top = nice_ceiling(max(max(p["tok_s"]["median"], limit_of(p)) for p in points))
    span = WIDTH - LEFT - RIGHT
    place = {v: LEFT + span * (i + 0.5) / len(values) for i, v in enumerate(values)}

    def height(v):
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * v / top

    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
           f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>', text(LEFT, 22, title, "start", ' font-size="15"')]
    for i in range(6):
        v = top * i / 5
        out.append(f'<line x1="{LEFT}" y1="{height(v):.1f}" x2="{WIDTH - RIGHT}" y2="{height(v):.1f}" stroke="#dddddd"/>')
        out.append(text(LEFT - 6, height(v) + 4, f"{v:g}", "end"))
    for v in values:
        out.append(text(place[v], HEIGHT - BOTTOM + 18, f"{v}"))
    out.append(text(LEFT + span / 2, HEIGHT - 14, x_title))
    out.append(text(16, TOP + (HEIGHT - TOP - BOTTOM) / 2, "tokens a second", "middle",
                    f' transform="rotate(-90 16 {TOP + (HEIGHT - TOP - BOTTOM) / 2:.1f})"'))
    for row, weights in enumerate(w for w in COLOURS if any(p["weights"] == w for p in points)):
        colour = COLOURS[weights]
        line = sorted((p for p in points if p["weights"] == weights), key=lambda p: p[axis])
        for key, dash in ((lambda p: p["tok_s"]["median"], ""), (limit_of, ' stroke-dasharray="5 4"')):
            path = " ".join(f"{place[p[axis]]:.1f},{height(key(p)):.1f}" for p in line)
            out.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>')
        for p in line:
            out.append(f'<circle cx="{place[p[axis]]:.1f}" cy="{height(p["tok_s"]["median"]):.1f}" r="3.5" fill="{colour}">'
                       f'<title>{p["tok_s"]["median"]:.1f} of {limit_of(p):.1f}</title></circle>')
        y = TOP + 14 + 40 * row
        out.append(f'<line x1="{WIDTH - RIGHT + 12}" y1="{y}" x2="{WIDTH - RIGHT + 40}" y2="{y}" stroke="{colour}" stroke-width="2"/>')
        out.append(text(WIDTH - RIGHT + 46, y + 4, weights, "start"))
        out.append(f'<line x1="{WIDTH - RIGHT + 12}" y1="{y + 16}" x2="{WIDTH - RIGHT + 40}" y2="{y + 16}" stroke="{colour}" '
                   'stroke-width="2" stroke-dasharray="5 4"/>')
        out.append(text(WIDTH - RIGHT + 46, y + 20, "allowed", "start"))
    out.append(text(LEFT, 37, note, "start", ' font-size="10" fill="#666666"'))
    out.append("</svg>")
    return "\n".join(out) + "\n"


def plots(results):
    points = results["points"]
    most = max(p["threads"] for p in points)
    note = f"{results['model']}; {results['machine']}; {results['date']}"
    return {
        "cpu_batch.svg": draw("Decoding many sequences at once", "sequences",
                              [p for p in points if p["depth"] == 0 and p["threads"] == most], "batch", note),
        "cpu_depth.svg": draw("Decoding behind a long context", "keys in the cache",
                              [p for p in points if p["batch"] == 1 and p["threads"] == most], "depth", note),
        "cpu_threads.svg": draw("Decoding with more threads", "threads",
                                [p for p in points if p["batch"] == 1 and p["depth"] == 0], "threads", note),
    }


def main():
    arguments = [a for a in sys.argv[1:] if a != "--check"]
    source = pathlib.Path(arguments[0]) if arguments else ROOT / "bench/results/cpu_scaling.json"
    folder = pathlib.Path(arguments[1]) if len(arguments) > 1 else ROOT / "docs/plots"
    stale = 0
    for name, svg in plots(json.loads(source.read_text())).items():
        if "--check" not in sys.argv:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(svg)
        elif not (folder / name).exists() or (folder / name).read_text() != svg:
            print(f"{folder / name} is not what {source} gives: run bench/plots.py")
            stale += 1
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
