#!/usr/bin/env python3
"""cpu_peers.py - verbatim on the CPU beside llama.cpp or ik_llama.cpp, and its linears beside oneDNN and OpenBLAS.

    python3 bench/cpu_peers.py CHECKPOINT --peer PATH/llama-bench [--peer-batched PATH/llama-batched-bench]
        [--types bf16,q8_0,q4_k_m] [--peer-quantize PATH/llama-quantize] [--peer-options="-rtr 1"]
        [--peer-batched-options=-rtr] [--threads N] [--repeat 3]
        [--prompt 512] [--decode 32] [--depth 4096] [--batch 4,16] [--prefix CMD] [--linears] [--out FILE.json]

CHECKPOINT is a safetensors folder of a Llama, such as bench/random_checkpoint.py writes. The same weights go to a GGUF beside it (by the
gguf package: bf16, and Q8_0; Q4_K_M by the peer's own tool, where it is given), once. The peer's bench and `verbatim bench`
take turns, repeat by repeat, so that both meet the same swings of a shared machine; ratios are of medians. Against q8_0
verbatim runs with --quantize q8, against q4_k_m with --quantize q4. --prefix is put before each command that is measured.

--linears adds torch (oneDNN, bf16) and numpy (OpenBLAS, float32) beside `verbatim bench linear` for a few shapes.

Needs numpy and gguf; torch for --linears. Not used by the tests but for its reading of what a peer prints.
"""
import argparse
import json
import pathlib
import shlex
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import time

OURS = {"bf16": [], "q8_0": ["--quantize", "q8"], "q4_k_m": ["--quantize", "q4"]}
# tokens, rows, k
LINEARS = [(1, 8192, 2048), (16, 8192, 2048), (512, 8192, 2048), (512, 2048, 8192), (512, 4096, 4096)]


# ---- The peer's model ----

def open_safetensors(folder):
    """(name, shape, raw bf16 bytes as uint16) of every tensor."""
    import numpy
    path = folder / "model.safetensors"
    with open(path, "rb") as f:
        size, = struct.unpack("<Q", f.read(8))
        header = json.loads(f.read(size))
    data = numpy.memmap(path, dtype=numpy.uint8, mode="r", offset=8 + size)
    for name, t in header.items():
        if name == "__metadata__":
            continue
        if t["dtype"] != "BF16":
            sys.exit(f"{path}: tensor {name} is {t['dtype']}: only bf16 checkpoints are written as GGUF")
        begin, end = t["data_offsets"]
        yield name, t["shape"], data[begin:end].view(numpy.uint16).reshape(t["shape"])


def gguf_name(name):
    fixed = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight",
             "lm_head.weight": "output.weight"}
    if name in fixed:
        return fixed[name]
    _, _, layer, rest = name.split(".", 3)
    part = {"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "self_attn.q_proj": "attn_q",
            "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
            "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down"}
    return f"blk.{layer}.{part[rest.removesuffix('.weight')]}.weight"


def interleaved(rows, n_heads):
    """GGUF's Llama rotates neighbouring pairs: rows of q and k in that order."""
    n, k = rows.shape
    return rows.reshape(n_heads, 2, n // n_heads // 2, k).swapaxes(1, 2).reshape(n, k)


def write_gguf(folder, path, quantised):
    import gguf
    import numpy
    c = json.loads((folder / "config.json").read_text())
    if c["model_type"] != "llama":
        sys.exit(f"{folder}: model_type {c['model_type']}: only llama is written as GGUF")
    heads, kv_heads = c["num_attention_heads"], c["num_key_value_heads"]
    w = gguf.GGUFWriter(str(path), "llama", use_temp_file=True)
    w.add_name("random weights")
    w.add_context_length(c["max_position_embeddings"])
    w.add_embedding_length(c["hidden_size"])
    w.add_block_count(c["num_hidden_layers"])
    w.add_feed_forward_length(c["intermediate_size"])
    w.add_head_count(heads)
    w.add_head_count_kv(kv_heads)
    w.add_key_length(c.get("head_dim") or c["hidden_size"] // heads)
    w.add_value_length(c.get("head_dim") or c["hidden_size"] // heads)
    w.add_rope_dimension_count(c.get("head_dim") or c["hidden_size"] // heads)
    w.add_rope_freq_base(float(c.get("rope_theta", 10000)))
    w.add_layer_norm_rms_eps(c["rms_norm_eps"])
    w.add_vocab_size(c["vocab_size"])
    w.add_tokenizer_model("no_vocab")
    w.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0 if quantised else gguf.LlamaFileType.MOSTLY_BF16)
    for name, shape, bits in open_safetensors(folder):
        if name.endswith(("q_proj.weight", "k_proj.weight")):
            bits = interleaved(bits, heads if "q_proj" in name else kv_heads)
        bits = numpy.ascontiguousarray(bits)
        if len(shape) == 2 and not quantised:
            w.add_tensor(gguf_name(name), bits.view(numpy.uint8), raw_dtype=gguf.GGMLQuantizationType.BF16)
            continue
        values = (bits.astype(numpy.uint32) << 16).view(numpy.float32)
        if len(shape) == 2:
            q8 = gguf.quants.quantize(values, gguf.GGMLQuantizationType.Q8_0)
            w.add_tensor(gguf_name(name), q8, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
        else:
            w.add_tensor(gguf_name(name), values)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def peer_models(args):
    """{type: path}; a type that cannot be made is left out, and that is said."""
    models = {}
    for kind in args.types:
        path = args.checkpoint / f"peer-{kind}.gguf"
        if not path.exists() and kind == "q4_k_m":
            if not args.peer_quantize:
                print("q4_k_m: left out: --peer-quantize PATH makes it", file=sys.stderr)
                continue
            source = args.checkpoint / "peer-bf16.gguf"
            if not source.exists():
                write_gguf(args.checkpoint, source, False)
            run(args, [args.peer_quantize, source, path, "Q4_K_M"])
        elif not path.exists():
            write_gguf(args.checkpoint, path, kind == "q8_0")
        models[kind] = path
    return models


# ---- Running and reading ----

def run(args, command, also_errors=False):
    command = args.prefix + [str(c) for c in command]
    with tempfile.TemporaryDirectory() as folder:  # a peer leaves a log where it runs
        result = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    if result.returncode:
        sys.exit(f"{' '.join(str(c) for c in command)}: exit {result.returncode}: {result.stderr.strip()[-400:]}")
    return result.stdout + (result.stderr if also_errors else "")


def read_peer(text):
    """Tokens a second of llama-bench's only test, and what it says of itself: the last JSON list or object of its output."""
    start = min(i for i in (text.find("["), text.find("{")) if i >= 0)
    answer = json.loads(text[start:])
    last = answer[-1] if isinstance(answer, list) else answer
    return float(last["avg_ts"]), {k: last.get(k) for k in ("build_commit", "model_type", "n_threads", "type_k", "test")}


def read_peer_batched(text, batch):
    """Total tokens a second of decoding from llama-batched-bench's table: | PP | TG | B | N_KV | T_PP | S_PP | T_TG | S_TG | ..."""
    for line in text.splitlines():
        cells = [c.strip() for c in line.strip().strip("|").split("|")]
        if len(cells) >= 8 and cells[0].isdigit() and int(cells[2]) == batch:
            return float(cells[7])
    raise ValueError(f"no line of batch {batch}")


def peer_speed(args, model, case):
    common = ["-m", model, "-t", args.threads]
    if case["kind"] == "batch":
        n = case["batch"]
        command = [args.peer_batched, *common, *args.peer_batched_options, "-c", (8 + args.decode) * n + 64, "-npp", 8, "-ntg",
                   args.decode, "-npl", n]
        return read_peer_batched(run(args, command, also_errors=True), n), {} # ik_llama.cpp's table goes to stderr
    common += [*args.peer_options, "-r", 1, "-o", "json"]
    if case["kind"] == "prefill":
        return read_peer(run(args, [args.peer, *common, "-p", case["tokens"], "-n", 0]))
    if case["depth"] == 0:
        return read_peer(run(args, [args.peer, *common, "-p", 0, "-n", args.decode]))
    # llama.cpp has -d for the depth, ik_llama.cpp -gp for a prompt before what is generated.
    depth = ["-gp", f"{case['depth']},{args.decode}"] if args.gp else ["-d", case["depth"], "-n", args.decode]
    return read_peer(run(args, [args.peer, *common, "-p", 0, *([] if not args.gp else ["-n", 0]), *depth]))


def our_speed(args, kind, case):
    prompt = case["tokens"] if case["kind"] == "prefill" else 8
    command = [args.program, "bench", args.checkpoint, "--device", "cpu", "--threads", args.threads, "--repeat", 1, "--prompt-tokens",
               prompt, "--decode-tokens", 1 if case["kind"] == "prefill" else args.decode, "--depth", case.get("depth", 0), "--batch",
               case.get("batch", 1), "--json", *OURS[kind]]
    row = json.loads(run(args, command))["results"][0]
    limit = row["limit"]
    if case["kind"] == "prefill":
        return row["prefill_tok_s"]["median"], {"of_limit": limit["prefill_fraction"], "matrix_gflop_s": limit["matrix_gflop_s"]}
    return row["decode_tok_s"]["median"], {"of_limit": limit["decode_fraction"], "memory_read_gb_s": limit["memory_read_gb_s"]}


def compare(args, kind, model, case):
    ours, theirs, limits, about = [], [], [], {}
    for _ in range(args.repeat):
        speed, about = peer_speed(args, model, case)
        theirs.append(speed)
        speed, limit = our_speed(args, kind, case)
        ours.append(speed)
        limits.append(limit)
    row = {"type": kind, **case, "verbatim_tok_s": statistics.median(ours), "peer_tok_s": statistics.median(theirs),
           "ratio": statistics.median(ours) / statistics.median(theirs), "verbatim_runs": ours, "peer_runs": theirs,
           "verbatim_limits": limits, "peer": {k: v for k, v in about.items() if v is not None}}
    what = case["kind"] + "".join(f" {k} {v}" for k, v in case.items() if k != "kind")
    print(f"{kind:8} {what:32} {row['verbatim_tok_s']:9.2f} {row['peer_tok_s']:9.2f} {row['ratio']:7.2f}", flush=True)
    return row


# ---- Libraries ----

def fastest(call, seconds=0.5):
    call()
    best, until = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < until:
        begin = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - begin)
    return best


def compare_linear(args, m, n, k):
    import numpy
    import torch
    torch.set_num_threads(args.threads)
    # Weights by turns, beyond the caches.
    copies = max(1, min(16, (96 << 20) // (n * k * 2)))
    x, w = torch.randn(m, k).bfloat16(), [torch.randn(n, k).bfloat16() for _ in range(copies)]
    xf, wf = numpy.random.rand(m, k).astype("f"), [numpy.random.rand(k, n).astype("f") for _ in range(copies)]
    turn = iter(range(1 << 60))
    row = {"m": m, "n": n, "k": k,
           "onednn_bf16_us": 1e6 * fastest(lambda: torch.nn.functional.linear(x, w[next(turn) % copies])),
           "openblas_f32_us": 1e6 * fastest(lambda: xf @ wf[next(turn) % copies])}
    for dtype in "bf16", "f32":
        a = json.loads(run(args, [args.program, "bench", "linear", "--m", m, "--n", n, "--k", k, "--dtype", dtype, "--device", "cpu",
                                  "--threads", args.threads, "--repeat", 20, "--json"]))
        row[f"verbatim_{dtype}_us"] = a["time_us"]
    print(f"linear {m}x{n}x{k}: bf16 {row['verbatim_bf16_us']:.0f} us, oneDNN {row['onednn_bf16_us']:.0f}; f32 "
          f"{row['verbatim_f32_us']:.0f}, OpenBLAS {row['openblas_f32_us']:.0f}", flush=True)
    return row


def program(name):
    path = shutil.which(name)
    if not path:
        raise argparse.ArgumentTypeError(f"no such program: {name}")
    return str(pathlib.Path(path).absolute())


def prefix(text):
    words = shlex.split(text)
    return [program(words[0])] + words[1:] if words else []


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("checkpoint", type=lambda s: pathlib.Path(s).absolute())
    p.add_argument("--program", type=program, default="build/verbatim")
    p.add_argument("--peer", type=program, help="llama-bench")
    p.add_argument("--peer-batched", type=program, help="llama-batched-bench")
    p.add_argument("--peer-quantize", type=program, help="llama-quantize")
    p.add_argument("--peer-options", type=shlex.split, default=[], help="more of the peer's options")
    p.add_argument("--peer-batched-options", type=shlex.split, default=[])
    p.add_argument("--types", type=lambda s: s.split(","), default=["bf16", "q8_0", "q4_k_m"])
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--repeat", type=int, default=3)
    p.add_argument("--prompt", type=int, default=512)
    p.add_argument("--decode", type=int, default=32)
    p.add_argument("--depth", type=int, default=4096, help="0: not measured")
    p.add_argument("--batch", type=lambda s: [int(n) for n in s.split(",") if n], default=[4, 16])
    p.add_argument("--prefix", type=prefix, default="", help="a command before each measured one, such as taskset -c 0,1")
    p.add_argument("--linears", action="store_true")
    p.add_argument("--out", type=pathlib.Path)
    args = p.parse_args()
    unknown = set(args.types) - set(OURS)
    if unknown:
        p.error(f"unknown type: {', '.join(sorted(unknown))}: use {', '.join(OURS)}")
    answer = {"command": " ".join(sys.argv), "threads": args.threads, "repeat": args.repeat, "rows": [], "linears": []}
    if args.peer:
        usage = subprocess.run([args.peer, "--help"], capture_output=True, text=True)
        args.gp = "-gp " in usage.stdout + usage.stderr
        cases = [{"kind": "prefill", "tokens": args.prompt}, {"kind": "decode", "depth": 0}]
        cases += [{"kind": "decode", "depth": args.depth}] if args.depth else []
        cases += [{"kind": "batch", "batch": n} for n in args.batch] if args.peer_batched else []
        print(f"{'weights':8} {'':32} {'verbatim':>9} {'peer':>9} {'ratio':>7}   tokens/s")
        for kind, model in peer_models(args).items():
            answer["rows"] += [compare(args, kind, model, case) for case in cases]
    if args.linears:
        answer["linears"] = [compare_linear(args, *shape) for shape in LINEARS]
    if args.out:
        args.out.write_text(json.dumps(answer, indent=1) + "\n")


if __name__ == "__main__":
    main()
