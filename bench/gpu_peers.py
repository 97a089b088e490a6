#!/usr/bin/env python3
"""gpu_peers.py - verbatim's GPU kernels beside torch's, in one run on one GPU.

    python3 bench/gpu_peers.py [--program build/verbatim] [--repeat 20] [--out FILE.json] [--only decode,verify,prefill,linear]

Equal work: the same shapes and types, weights and keys rotated through more than twice the second-level cache, CUDA graph
replays timed by events, medians. Peers: cuDNN and FlashAttention-2 through torch's scaled_dot_product_attention (keys
contiguous and already expanded where the backend wants them so: verbatim reads its own from pages in random order), and torch.mm
(cuBLAS). Ours and theirs take turns, shape by shape. A peer that cannot serve a shape is left out, with its reason in the JSON.

Needs torch with CUDA. Not used by the tests.
"""
import argparse
import json
import statistics
import subprocess
import sys

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

WORKING_SET = 256 << 20

# batch, query tokens, keys, heads, KV heads, head size, window
DECODE = [(64, 1, 4096, 32, 8, 128, 0), (256, 1, 1024, 32, 8, 128, 0), (1, 1, 32768, 32, 8, 128, 0),
          (1, 1, 4096, 32, 8, 128, 0), (16, 1, 16384, 64, 8, 128, 0), (256, 1, 512, 32, 8, 128, 0),
          (64, 1, 4096, 32, 8, 64, 0), (32, 1, 4096, 8, 4, 256, 0), (32, 1, 32768, 32, 8, 128, 1024),
          (32, 1, 1024, 32, 8, 128, 0)]
VERIFY = [(64, 5, 4096, 32, 8, 128, 0), (1, 5, 4096, 32, 8, 128, 0), (1, 8, 32768, 32, 8, 128, 0)]
PREFILL = [(1, 8192, 8192, 32, 8, 128, 0), (1, 16384, 16384, 32, 32, 128, 0), (4, 4096, 4096, 32, 32, 128, 0),
           (1, 8192, 8192, 32, 8, 64, 0), (1, 2048, 2048, 32, 8, 128, 0)]
# tokens, rows, k
LINEAR = [(m, n, k) for n, k in [(4096, 4096), (6144, 4096), (28672, 4096), (4096, 14336), (128256, 4096)]
          for m in (1, 5, 16, 64, 512, 4096) if not (n > 100000 and m > 64)]


def time_graph(runs, repeat):
    """Median seconds of one of `runs`, each a function that enqueues work."""
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for run in runs[:2]:
            run()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        for run in runs:
            run()
    times = []
    for i in range(repeat + 2):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        graph.replay()
        end.record()
        torch.cuda.synchronize()
        if i >= 2:
            times.append(begin.elapsed_time(end) / 1e3 / len(runs))
    del graph
    return statistics.median(times)


def copies_for(size):
    return max(1, min(512, 1 + WORKING_SET // size))


def torch_attention(shape, backend, repeat):
    batch, q_len, keys, heads, kv_heads, dim, window = shape
    if window:
        keys = window  # what a window leaves to be done
    size = batch * keys * kv_heads * dim * 2 * 2
    n = copies_for(size)
    q = torch.randn(batch, heads, q_len, dim, device="cuda", dtype=torch.bfloat16)
    kv = [(torch.randn(batch, kv_heads, keys, dim, device="cuda", dtype=torch.bfloat16),
           torch.randn(batch, kv_heads, keys, dim, device="cuda", dtype=torch.bfloat16)) for _ in range(n)]
    causal = q_len > 1
    mask = None
    if causal and q_len != keys:  # the queries are the last tokens
        causal = False
        mask = torch.ones(q_len, keys, dtype=torch.bool, device="cuda").tril(keys - q_len)
        if backend == SDPBackend.FLASH_ATTENTION:
            raise RuntimeError("no mask for a few last tokens")

    def run(k, v):
        def call():
            with sdpa_kernel([backend]):
                torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal,
                                                                 enable_gqa=heads != kv_heads)
        return call

    calls = [run(k, v) for k, v in kv]
    while len(calls) < 8:
        calls = calls + calls
    return time_graph(calls, repeat)


def torch_linear(shape, repeat):
    m, n, k = shape
    count = copies_for(n * k * 2)
    x = torch.randn(m, k, device="cuda", dtype=torch.bfloat16)
    weights = [torch.randn(n, k, device="cuda", dtype=torch.bfloat16) * 0.05 for _ in range(count)]
    out = torch.empty(m, n, device="cuda", dtype=torch.bfloat16)
    calls = [(lambda w: lambda: torch.mm(x, w.t(), out=out))(w) for w in weights]
    while len(calls) < 8:
        calls = calls + calls
    return time_graph(calls, repeat)


def ours(program, *arguments):
    command = [program, "bench", *arguments, "--device", "cuda", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr.strip())
    return json.loads(done.stdout)


def attention_row(args, kind, shape):
    batch, q_len, keys, heads, kv_heads, dim, window = shape
    row = {"kind": kind, "batch": batch, "q_len": q_len, "keys": keys, "heads": heads, "kv_heads": kv_heads, "head_dim": dim,
           "window": window, "peers": {}}
    arguments = ["attention", "--batch", str(batch), "--q-len", str(q_len), "--kv-len", str(keys), "--heads", str(heads),
                 "--kv-heads", str(kv_heads), "--head-dim", str(dim)]
    if window:
        arguments += ["--window", str(window)]
    row["ours"] = ours(args.program, *arguments, "--repeat", str(args.repeat))
    for name, backend in (("cudnn", SDPBackend.CUDNN_ATTENTION), ("flash2", SDPBackend.FLASH_ATTENTION)):
        try:
            row["peers"][name] = {"time_us": torch_attention(shape, backend, args.repeat) * 1e6}
        except (RuntimeError, torch.OutOfMemoryError) as e:
            row["peers"][name] = {"why_not": str(e).split("\n")[0][:120]}
        torch.cuda.empty_cache()
    return row


def linear_row(args, shape):
    m, n, k = shape
    row = {"kind": "linear", "tokens": m, "rows": n, "k": k, "peers": {}}
    row["ours"] = ours(args.program, "linear", "--m", str(m), "--n", str(n), "--k", str(k), "--dtype", "bf16", "--repeat",
                       str(args.repeat))
    row["peers"]["cublas"] = {"time_us": torch_linear(shape, args.repeat) * 1e6}
    torch.cuda.empty_cache()
    return row


def show(row):
    mine = row["ours"]
    if row["kind"] == "linear":
        name = f"linear {row['tokens']:5} x {row['rows']} x {row['k']}"
    else:
        window = f" window {row['window']}" if row["window"] else ""
        name = f"{row['kind']} {row['batch']}x{row['keys']} q {row['q_len']} {row['heads']}/{row['kv_heads']} of {row['head_dim']}{window}"
    memory = mine["limit"] == "memory"
    figure = f"{mine['tb_s']:6.2f} TB/s" if memory else f"{mine['tflop_s']:6.0f} TFLOP/s"
    peers = []
    for peer, p in row["peers"].items():
        if "time_us" in p:
            ratio = p["time_us"] / mine["time_us"]
            peers.append(f"{peer} {p['time_us']:9.1f} us ({ratio:4.2f}x)")
        else:
            peers.append(f"{peer} -")
    print(f"{name:48} {mine['time_us']:9.1f} us {figure:>14}  {'  '.join(peers)}", flush=True)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--program", default="build/verbatim")
    p.add_argument("--repeat", type=int, default=20)
    p.add_argument("--out", help="JSON of every figure")
    p.add_argument("--only", default="decode,verify,prefill,linear")
    args = p.parse_args()
    if not torch.cuda.is_available():
        print("gpu_peers.py: torch finds no GPU", file=sys.stderr)
        return 77
    only = args.only.split(",")
    limits = ours(args.program, "limits")
    print(f"{limits['device']}, torch {torch.__version__}: copy {limits['memory_copy_tb_s']:.2f} TB/s, "
          f"mma.sync {limits['matrix_tflop_s']['bf16']:.0f} TFLOP/s; (x): how many times our time the peer takes")
    rows = []

    def add(row):
        rows.append(row)
        show(row)
        if args.out:  # each time: a run that is cut short has its figures
            with open(args.out, "w", encoding="utf-8") as f:
                json.dump({"device": limits["device"], "torch": torch.__version__, "limits": limits, "rows": rows}, f, indent=1)

    for kind, shapes in (("decode", DECODE), ("verify", VERIFY), ("prefill", PREFILL)):
        for shape in shapes if kind in only else []:
            add(attention_row(args, kind, shape))
    for shape in LINEAR if "linear" in only else []:
        add(linear_row(args, shape))
    return 0


if __name__ == "__main__":
    sys.exit(main())
