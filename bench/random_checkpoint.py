#!/usr/bin/env python3
"""Write a safetensors checkpoint with made-up bf16 weights for a config.json of a Llama-like family.

    bench/random_checkpoint.py bench/shapes/llama-3.2-1b OUT_DIR

For measuring start-up and memory on files of a real model's size. Needs Python alone. The values are a repeated
megabyte of small numbers: fit for timing, not for text."""
import json
import os
import random
import shutil
import struct
import sys


def tensors(c):
    h, d = c["hidden_size"], c.get("head_dim") or c["hidden_size"] // c["num_attention_heads"]
    q, kv, ff = d * c["num_attention_heads"], d * c["num_key_value_heads"], c["intermediate_size"]
    yield "model.embed_tokens.weight", [c["vocab_size"], h]
    for i in range(c["num_hidden_layers"]):
        p = f"model.layers.{i}."
        yield p + "input_layernorm.weight", [h]
        for name, rows in (("q", q), ("k", kv), ("v", kv)):
            yield p + f"self_attn.{name}_proj.weight", [rows, h]
        if c["model_type"] == "qwen3":
            yield p + "self_attn.q_norm.weight", [d]
            yield p + "self_attn.k_norm.weight", [d]
        yield p + "self_attn.o_proj.weight", [h, q]
        yield p + "post_attention_layernorm.weight", [h]
        yield p + "mlp.gate_proj.weight", [ff, h]
        yield p + "mlp.up_proj.weight", [ff, h]
        yield p + "mlp.down_proj.weight", [h, ff]
    yield "model.norm.weight", [h]
    if not c.get("tie_word_embeddings"):
        yield "lm_head.weight", [c["vocab_size"], h]


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    shape, out = sys.argv[1:]
    with open(os.path.join(shape, "config.json"), encoding="utf-8") as f:
        config = json.load(f)
    if config["model_type"] not in ("llama", "mistral", "qwen3"):
        sys.exit(f"model_type {config['model_type']}: only llama, mistral and qwen3 are written")
    os.makedirs(out, exist_ok=True)
    shutil.copy(os.path.join(shape, "config.json"), out)
    header, end = {}, 0
    for name, dims in tensors(config):
        size = 2
        for n in dims:
            size *= n
        header[name] = {"dtype": "BF16", "shape": dims, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    rng = random.Random(1)
    # Normal deviates of deviation 0.02, cut to bf16.
    block = b"".join(struct.pack("<f", rng.gauss(0, 0.02))[2:] for _ in range(1 << 19))
    with open(os.path.join(out, "model.safetensors"), "wb") as f:
        f.write(struct.pack("<Q", len(text)))
        f.write(text)
        while end > 0:
            f.write(block[: min(end, len(block))])
            end -= len(block)
    print(f"{out}: {os.path.getsize(os.path.join(out, 'model.safetensors')) / 1e9:.2f} GB")


if __name__ == "__main__":
    main()
