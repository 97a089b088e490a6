#!/usr/bin/env python3
"""Measure what starting costs: time from exec to the first token, and peak memory, on a 2.5 GB checkpoint.

    bench/startup.py [--program build/verbatim] [--shape bench/shapes/llama-3.2-1b | --model DIR] [--repeat 5] [--out FILE.json]

Without --model it writes a checkpoint of that shape into a temporary folder first (bench/random_checkpoint.py). Either is in the page
cache when it is measured: the first run is not counted."""
import argparse
import json
import os
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))


def run_once(command):
    """Seconds from exec to exit, and the child's peak memory in MiB, as the kernel accounts it."""
    start = time.monotonic()
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    out, err = child.stdout.read(), child.stderr.read()
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.monotonic() - start
    if status:
        sys.exit(f"{' '.join(command)} failed: {err.decode()}")
    return seconds, usage.ru_maxrss / 1024, json.loads(out)


def spread(values):
    values = sorted(values)
    return {"median": values[len(values) // 2], "min": values[0], "max": values[-1]}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default=os.path.join(HERE, "..", "build", "verbatim"))
    parser.add_argument("--shape", default=os.path.join(HERE, "shapes", "llama-3.2-1b"))
    parser.add_argument("--model", help="a folder that is there; --shape is passed over")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--out")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        model = args.model or temporary
        if not args.model:
            subprocess.run([sys.executable, os.path.join(HERE, "random_checkpoint.py"), args.shape, model], check=True,
                           stdout=subprocess.DEVNULL)
        command = [args.program, "run", model, "--prompt-ids", "1,2,3,4,5,6,7,8", "--max-tokens", "1",
                   "--context", "4096", "--json"]
        runs = [run_once(command) for _ in range(args.repeat + 1)][1:]
        weights = os.path.getsize(os.path.join(model, "model.safetensors")) / 2**20
    cpu = json.loads(subprocess.run([args.program, "explain", "--json"], capture_output=True, check=True).stdout)["facts"]["cpu"]
    result = {
        "command": " ".join(["bench/startup.py"] + sys.argv[1:]),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "machine": f"{cpu['name']}, {cpu['threads']} threads ({', '.join(cpu['isa'])})",
        "weights_mib": weights,
        "start_to_answer_s": spread([r[0] for r in runs]),
        "peak_memory_mib": spread([r[1] for r in runs]),
        "memory_over_weights_mib": spread([r[1] - weights for r in runs]),
        "load_s": spread([r[2]["timing"]["load_s"] for r in runs]),
    }
    text = json.dumps(result, indent=1)
    print(text)
    if args.out:
        with open(args.out, "w", encoding="utf-8") as f:
            f.write(text + "\n")


if __name__ == "__main__":
    main()
