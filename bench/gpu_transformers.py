#!/usr/bin/env python3
"""gpu_transformers.py - a whole model in verbatim and in transformers, side by side on one GPU.

    python3 bench/gpu_transformers.py [--shape bench/shapes/llama-3.1-8b] [--program build/verbatim] [--out FILE.json]

Random bf16 weights of the shape's config.json. Prefill of 8192 tokens; decode of batch 1 and of batch 64 at depth 1024: transformers
with its dynamic cache, and at batch 1 also with the static cache and torch.compile (reduce-overhead: CUDA graphs). Medians. The
compiled figure comes last, since compiling takes a minute or two; --only prefill,decode,batch,compiled chooses.

Needs torch with CUDA, and transformers. Not used by the tests.
"""
import argparse
import json
import statistics
import subprocess
import sys
import time

import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM, DynamicCache, StaticCache


def ours(args, *arguments):
    command = [args.program, "bench", args.shape, "--random-weights", "1", "--device", "cuda", "--json", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr.strip())
    return json.loads(done.stdout)["results"][0]


def load(shape):
    with torch.device("cuda"):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(shape), dtype=torch.bfloat16,
                                                 attn_implementation="sdpa")
    return model.eval()


def timed(run, repeat):
    times = []
    for i in range(repeat + 1):
        torch.cuda.synchronize()
        begin = time.perf_counter()
        run()
        torch.cuda.synchronize()
        if i:
            times.append(time.perf_counter() - begin)
    return statistics.median(times)


@torch.inference_mode()
def prefill(model, n, repeat):
    ids = torch.randint(0, model.config.vocab_size, (1, n), device="cuda")

    def run():
        model(ids, past_key_values=DynamicCache(config=model.config), logits_to_keep=1)
    return n / timed(run, repeat)


@torch.inference_mode()
def decode(model, batch, depth, steps, repeat):
    cache = DynamicCache(config=model.config)
    ids = torch.randint(0, model.config.vocab_size, (batch, 1), device="cuda")
    if depth:
        for begin in range(0, depth, 256):
            n = min(256, depth - begin)
            model(torch.randint(0, model.config.vocab_size, (batch, n), device="cuda"), past_key_values=cache, logits_to_keep=1)

    def run():
        token = ids
        for _ in range(steps):
            token = model(token, past_key_values=cache).logits[:, -1:].argmax(-1)
    return batch * steps / timed(run, repeat)


@torch.inference_mode()
def decode_compiled(model, steps, repeat):
    cache = StaticCache(config=model.config, max_cache_len=1024)
    forward = torch.compile(model.forward, mode="reduce-overhead", fullgraph=True)
    ids = torch.randint(0, model.config.vocab_size, (1, 16), device="cuda")
    model(ids, past_key_values=cache, cache_position=torch.arange(16, device="cuda"), logits_to_keep=1)
    # The cache counts its own tokens. The first token is laid out as those that follow: else everything is compiled twice.
    first = ids.new_ones((1, 1))

    def run(steps=steps):
        token = first
        for _ in range(steps):
            torch.compiler.cudagraph_mark_step_begin()
            logits = forward(token, past_key_values=cache).logits
            token = logits[:, -1:].argmax(-1).clone()
    begin = time.perf_counter()
    run(3)
    torch.cuda.synchronize()
    print(f"compiled in {time.perf_counter() - begin:.1f} s", flush=True)
    return steps / timed(run, repeat)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--shape", default="bench/shapes/llama-3.1-8b")
    p.add_argument("--program", default="build/verbatim")
    p.add_argument("--out")
    p.add_argument("--only", default="prefill,decode,batch,compiled")
    args = p.parse_args()
    only = args.only.split(",")
    rows = []

    def row(what, mine, theirs):
        rows.append({"what": what, "verbatim_tok_s": mine, "transformers_tok_s": theirs})
        print(f"{what:44} verbatim {mine:9.1f} tok/s   transformers {theirs:9.1f}   {mine / theirs:5.2f}x", flush=True)
        if args.out:
            with open(args.out, "w", encoding="utf-8") as f:
                json.dump({"device": torch.cuda.get_device_name(), "transformers": transformers.__version__,
                           "torch": torch.__version__, "shape": args.shape, "rows": rows}, f, indent=1)

    one = many = None
    if set(only) - {"batch"}:
        one = ours(args, "--prompt-tokens", "8192" if "prefill" in only else "16", "--decode-tokens", "64", "--batch", "1",
                   "--repeat", "3", "--context", "9000")
    if "batch" in only:
        many = ours(args, "--prompt-tokens", "512", "--decode-tokens", "32", "--batch", "64", "--depth", "1024", "--repeat", "3",
                    "--context", "2048")
    model = load(args.shape)
    if "prefill" in only:
        row("prefill of 8192 tokens", one["prefill_tok_s"]["median"], prefill(model, 8192, 3))
    if "decode" in only:
        row("decode, batch 1 (dynamic cache)", one["decode_tok_s"]["median"], decode(model, 1, 0, 16, 3))
    if "batch" in only:
        row("decode, batch 64 at depth 1024 (dynamic)", many["decode_tok_s"]["median"], decode(model, 64, 1024, 8, 3))
    if "compiled" in only:
        row("decode, batch 1 (static cache, compiled)", one["decode_tok_s"]["median"], decode_compiled(model, 32, 3))
    return 0


if __name__ == "__main__":
    sys.exit(main())
