#!/usr/bin/env python3
"""cpu_scaling.py - how decoding on the CPU grows with the batch, the depth and the threads, for bench/plots.py to draw.

    python3 bench/cpu_scaling.py CHECKPOINT --machine "2 cores of ..." --out bench/results/cpu_scaling.json [--prefix CMD]
        [--weights bf16,q8,q4] [--batch 1,4,16,64] [--depth 0,1024,4096] [--threads 1,2] [--repeat 3]

Each point is a run of `verbatim bench --profile` of its own. --prefix is put before each, as taskset -c 0,1.
"""
import argparse
import datetime
import json
import os
import pathlib
import shlex
import subprocess
import sys


def numbers(text):
    return [int(n) for n in text.split(",") if n]


def measure(args, weights, batch, depth, threads):
    command = [args.program, "bench", args.checkpoint, "--device", "cpu", "--prompt-tokens", 64, "--decode-tokens", 4 if batch > 16 else 12,
               "--repeat", args.repeat, "--batch", batch, "--depth", depth, "--threads", threads, "--profile", "--json",
               *([] if weights == "bf16" else ["--quantize", weights])]
    result = subprocess.run(shlex.split(args.prefix) + [str(c) for c in command], capture_output=True, text=True)
    if result.returncode:
        sys.exit(f"{' '.join(str(c) for c in command)}: {result.stderr.strip()[-400:]}")
    row = json.loads(result.stdout)["results"][0]
    kinds = row["profile"]["decode"]["kinds"]
    flops = sum(k.get("flops", 0) for k in kinds) / batch
    limit = row["limit"]
    point = {"weights": weights, "batch": batch, "depth": depth, "threads": threads, "tok_s": row["decode_tok_s"],
             "memory_tok_s": limit["decode_tok_s"], "memory_read_gb_s": limit["memory_read_gb_s"],
             "matrix_tok_s": limit["matrix_gflop_s"] * 1e9 / flops if limit.get("matrix_gflop_s") else None,
             "share": {k["kind"]: round(k["share"], 4) for k in kinds}}
    print(f"{weights} batch {batch} depth {depth} threads {threads}: {row['decode_tok_s']['median']:.2f} tok/s, memory allows "
          f"{limit['decode_tok_s']:.2f}", flush=True)
    return point


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("checkpoint", type=pathlib.Path)
    p.add_argument("--program", default="build/verbatim")
    p.add_argument("--machine", required=True)
    p.add_argument("--model", default="the shape of Llama-3.2-1B, random weights")
    p.add_argument("--weights", type=lambda s: s.split(","), default=["bf16", "q8", "q4"])
    p.add_argument("--batch", type=numbers, default=[1, 4, 16, 64])
    p.add_argument("--depth", type=numbers, default=[0, 1024, 4096])
    p.add_argument("--threads", type=numbers, default=[1, os.cpu_count()])
    p.add_argument("--repeat", type=int, default=3)
    p.add_argument("--prefix", default="")
    p.add_argument("--out", type=pathlib.Path, required=True)
    args = p.parse_args()
    most = max(args.threads)
    wanted = [(w, b, 0, most) for w in args.weights for b in args.batch]
    wanted += [(w, 1, d, most) for w in args.weights for d in args.depth]
    wanted += [(w, 1, 0, t) for w in args.weights for t in args.threads]
    points = [measure(args, *point) for point in dict.fromkeys(wanted)]
    answer = {"machine": args.machine, "date": datetime.date.today().isoformat(), "model": args.model,
              "command": "verbatim bench CHECKPOINT --prompt-tokens 64 --decode-tokens 12 (4 above 16 sequences) --profile --json, with "
                         "--batch, --depth, --threads and --quantize of each point", "points": points}
    args.out.write_text(json.dumps(answer, indent=1) + "\n")


if __name__ == "__main__":
    main()
