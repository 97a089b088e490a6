#!/usr/bin/env python3
"""Time linears of a model's shapes, dense and quantised, against the machine's limits.

    bench/linear_shapes.py [--program build/verbatim] [--threads 1,2] [--weights none,q8,q4] [--m 1,4,16,512] [--cpu-isa auto] [--out FILE.json]

The shapes are those of Llama-3.2-1B: gate and up, down. Each figure stands beside the memory and matrix limits measured in the same process."""
import argparse
import json
import platform
import subprocess
import sys
import time

SHAPES = [(8192, 2048), (2048, 8192)]


def cpu_name():
    with open("/proc/cpuinfo") as f:
        for line in f:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor()


def measure(a, threads, weights, m, n, k):
    command = [a.program, "bench", "linear", "--device", "cpu", "--threads", threads, "--quantize", weights, "--m", m, "--n", str(n),
               "--k", str(k), "--cpu-isa", a.cpu_isa, "--repeat", str(a.repeat), "--json"]
    got = subprocess.run(command, capture_output=True, text=True)
    if got.returncode:
        sys.exit(f"{' '.join(command)}: {got.stderr}")
    row = json.loads(got.stdout)
    print(f"{threads} threads  {row['weights']:4}  {m:>4}x{n}x{k}  {row['backend']:11} {row['time_us']:10.1f} us "
          f"{1e3 * row['tb_s']:6.1f} of {1e3 * row['memory_read_tb_s']:.1f} GB/s  {1e3 * row['tflop_s']:6.1f} G/s  "
          f"{100 * row['limit_fraction']:5.1f} % ({row['limit']})", flush=True)
    return row


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--program", default="build/verbatim")
    p.add_argument("--threads", default="1,2")
    p.add_argument("--weights", default="none,q8,q4")
    p.add_argument("--m", default="1,4,16,512")
    p.add_argument("--cpu-isa", default="auto")
    p.add_argument("--repeat", type=int, default=7)
    p.add_argument("--out")
    a = p.parse_args()
    rows = [measure(a, t, w, m, n, k) for t in a.threads.split(",") for w in a.weights.split(",") for m in a.m.split(",")
            for n, k in SHAPES]
    if a.out:
        with open(a.out, "w") as f:
            json.dump({"cpu": cpu_name(), "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                       "command": " ".join(sys.argv), "results": rows}, f, indent=1)
            f.write("\n")


if __name__ == "__main__":
    main()
