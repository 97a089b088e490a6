#!/usr/bin/env python3
"""Check the golden files against a forward pass written from the families' definitions.

    python tools/golden/check_golden.py [FOLDER ...]

numpy in float64, no transformers: it reads config.json and the checkpoint as an engine would, in
both styles of config, with InternLM2's packing and names. It shows that the folders say all that is
needed to compute the expected logits, that these are float64 throughout, and that the windows are
those of the configs. Differences are given relative to the standard deviation of the logits.
"""

import argparse
import json
import math
import pathlib
import sys

import numpy as np
import torch
from safetensors.torch import load_file

# Rope angles are float32 products in transformers and here; a last bit of an inverse frequency may
# differ between torch and numpy. Everything else is float64. bf16 errors are near 1e-2.
TOLERANCE = 2e-5


class Weights:
    """Tensors of a folder in float64, under Llama's names; rounded to bfloat16 before if asked."""

    def __init__(self, folder, config, round_bf16=False):
        self.config = config
        self.tensors = {}
        for file in sorted(folder.glob("model*.safetensors")):
            for name, tensor in load_file(file).items():
                if round_bf16:
                    tensor = tensor.to(torch.bfloat16)
                self.tensors[name] = tensor.to(torch.float64).numpy()
        if config["model_type"] == "internlm2":
            self.unpack_internlm2()
        if config["model_type"] == "phi3":
            self.unpack_phi3()

    def unpack_internlm2(self):
        heads, kv_heads = head_counts(self.config)
        rename = (("tok_embeddings", "embed_tokens"), ("attention.wo", "self_attn.o_proj"),
                  ("feed_forward.w1", "mlp.gate_proj"), ("feed_forward.w3", "mlp.up_proj"),
                  ("feed_forward.w2", "mlp.down_proj"), ("attention_norm", "input_layernorm"),
                  ("ffn_norm", "post_attention_layernorm"), ("output.", "lm_head."))
        out = {}
        for name, tensor in self.tensors.items():
            if "wqkv" in name:
                by_group = tensor.reshape(kv_heads, heads // kv_heads + 2, -1, *tensor.shape[1:])
                parts = {"q": by_group[:, :-2], "k": by_group[:, -2], "v": by_group[:, -1]}
                for part, value in parts.items():
                    key = name.replace("attention.wqkv", f"self_attn.{part}_proj")
                    out[key] = value.reshape(-1, *tensor.shape[1:])
                continue
            for old, new in rename:
                name = name.replace(old, new)
            out[name] = tensor
        self.tensors = out

    def unpack_phi3(self):
        heads, kv_heads = head_counts(self.config)
        dim = head_dim_of(self.config)
        for name in [name for name in self.tensors if "qkv_proj" in name or "gate_up_proj" in name]:
            tensor = self.tensors.pop(name)
            if "qkv_proj" in name:
                cuts = np.cumsum([heads * dim, kv_heads * dim])
                names = [name.replace("qkv_proj", f"{part}_proj") for part in "qkv"]
            else:
                cuts = [len(tensor) // 2]
                names = [name.replace("gate_up_proj", part) for part in ("gate_proj", "up_proj")]
            self.tensors |= dict(zip(names, np.split(tensor, cuts), strict=True))

    def __getitem__(self, name):
        return self.tensors[name]

    def linear(self, name, x):
        bias = self.tensors.get(f"{name}.bias")
        y = x @ self.tensors[f"{name}.weight"].T
        return y if bias is None else y + bias


def head_counts(config):
    heads = config["num_attention_heads"]
    return heads, config.get("num_key_value_heads") or heads


def head_dim_of(config):
    return config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]


def layer_types(config):
    n = config["num_hidden_layers"]
    sliding, full = "sliding_attention", "full_attention"
    if config.get("layer_types"):
        return config["layer_types"]
    kind = config["model_type"]
    if kind == "gemma2":
        return [full if i % 2 else sliding for i in range(n)]
    if kind == "gemma3_text":
        return [sliding if (i + 1) % config["sliding_window_pattern"] else full for i in range(n)]
    if kind in ("qwen2", "qwen3"):
        on = config["use_sliding_window"]
        return [sliding if on and i >= config["max_window_layers"] else full for i in range(n)]
    return [sliding if config.get("sliding_window") else full] * n


def rope_parameters(config, kind):
    """Either style of config, as one dictionary."""
    if "rope_parameters" in config:
        parameters = config["rope_parameters"]
        return dict(parameters.get(kind, parameters))
    parameters = dict(config.get("rope_scaling") or {})
    theta = config.get("rope_theta", 10000.0)
    if config["model_type"] == "gemma3_text" and kind == "sliding_attention":
        parameters, theta = {}, config["rope_local_base_freq"]
    parameters["rope_theta"] = theta
    parameters.setdefault("rope_type", parameters.get("type", "default"))
    parameters.setdefault("partial_rotary_factor", config.get("partial_rotary_factor", 1.0))
    return parameters


def yarn(config, p, dim, freq):
    """Inverse frequencies between freq and freq / factor, and the factor on cos and sin."""
    factor, original = p["factor"], p["original_max_position_embeddings"]

    def dim_of(rotations):
        turns = original / (rotations * 2 * math.pi)
        return dim * math.log(turns) / (2 * math.log(p["rope_theta"]))

    def mscale(scale):
        return 0.1 * scale * math.log(factor) + 1.0

    low, high = dim_of(p.get("beta_fast", 32)), dim_of(p.get("beta_slow", 1))
    if p.get("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, dim - 1)
    ramp = np.clip((np.arange(dim // 2) - low) / max(high - low, 1e-3), 0, 1)
    scale = p.get("attention_factor")
    if scale is None and "mscale" in p:
        scale = mscale(p["mscale"]) / mscale(p["mscale_all_dim"])
    return freq / factor * ramp + freq * (1 - ramp), scale or mscale(1.0)


def llama3(p, freq):
    original, factor = p["original_max_position_embeddings"], p["factor"]
    low, high = p["low_freq_factor"], p["high_freq_factor"]
    turns = original * freq / (2 * math.pi)  # over the original context
    smooth = np.clip((turns - low) / (high - low), 0, 1)
    return (1 - smooth) * freq / factor + smooth * freq


def rope_table(config, kind, length):
    """cos and sin, [length, rotary / 2]."""
    p = rope_parameters(config, kind)
    dim = int(head_dim_of(config) * p.get("partial_rotary_factor", 1.0))
    base, limit, scale = p["rope_theta"], config["max_position_embeddings"], 1.0
    if p["rope_type"] == "dynamic" and length > limit:
        base *= (p["factor"] * length / limit - (p["factor"] - 1)) ** (dim / (dim - 2))
    freq = base ** -(np.arange(0, dim, 2) / dim)
    if p["rope_type"] == "linear":
        freq /= p["factor"]
    elif p["rope_type"] == "llama3":
        freq = llama3(p, freq)
    elif p["rope_type"] == "yarn":
        freq, scale = yarn(config, p, dim, freq)
    elif p["rope_type"] in ("longrope", "su"):
        original = config["original_max_position_embeddings"]
        freq /= np.array(p["long_factor" if length > original else "short_factor"])
        scale = math.sqrt(1 + math.log(limit / original) / math.log(original))
    angle = np.arange(length, dtype=np.float32)[:, None] * freq.astype(np.float32)
    return (np.cos(angle) * scale).astype(np.float64), (np.sin(angle) * scale).astype(np.float64)


def rotate(x, table):
    """x [heads, length, head_dim]; the halves of the rotated part pair up, the rest passes."""
    cos, sin = table
    half = cos.shape[1]
    first, second, rest = x[..., :half], x[..., half:2 * half], x[..., 2 * half:]
    return np.concatenate([first * cos - second * sin, second * cos + first * sin, rest], axis=-1)


def norm(config, x, weight):
    out = x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + config["rms_norm_eps"])
    return out * (1 + weight) if config["model_type"].startswith("gemma") else out * weight


def softcap(x, cap):
    return x if cap is None else cap * np.tanh(x / cap)


def attention(config, weights, prefix, x, kind):
    heads, kv_heads = head_counts(config)
    length, dim = len(x), head_dim_of(config)
    q, k, v = (weights.linear(f"{prefix}.{part}_proj", x).reshape(length, -1, dim).swapaxes(0, 1)
               for part in "qkv")
    if f"{prefix}.q_norm.weight" in weights.tensors:
        q = norm(config, q, weights[f"{prefix}.q_norm.weight"])
        k = norm(config, k, weights[f"{prefix}.k_norm.weight"])
    table = rope_table(config, kind, length)
    q, k = rotate(q, table), rotate(k, table)
    k, v = (np.repeat(part, heads // kv_heads, axis=0) for part in (k, v))
    score = q @ k.swapaxes(1, 2) * config.get("query_pre_attn_scalar", dim) ** -0.5
    score = softcap(score, config.get("attn_logit_softcapping"))
    distance = np.arange(length)[:, None] - np.arange(length)[None]
    hidden = distance < 0
    if kind == "sliding_attention":
        hidden |= distance >= config["sliding_window"]
    score = np.where(hidden, -np.inf, score)
    score = np.exp(score - score.max(axis=-1, keepdims=True))
    score /= score.sum(axis=-1, keepdims=True)
    return weights.linear(f"{prefix}.o_proj", (score @ v).swapaxes(0, 1).reshape(length, -1))


def activation(config, x):
    if config["model_type"].startswith("gemma"):
        return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x ** 3)))
    return x / (1 + np.exp(-x))


def forward(config, weights, ids):
    gemma = config["model_type"].startswith("gemma")
    embedding = weights["model.embed_tokens.weight"]
    x = embedding[ids]
    if gemma:
        x = x * np.float64(np.float32(math.sqrt(config["hidden_size"])))
    for layer, kind in enumerate(layer_types(config)):
        p = f"model.layers.{layer}"

        def layer_norm(name, x, p=p):
            return norm(config, x, weights[f"{p}.{name}.weight"])

        y = attention(config, weights, f"{p}.self_attn", layer_norm("input_layernorm", x), kind)
        if gemma:
            x = x + layer_norm("post_attention_layernorm", y)
            y = layer_norm("pre_feedforward_layernorm", x)
        else:
            x = x + y
            y = layer_norm("post_attention_layernorm", x)
        y = weights.linear(f"{p}.mlp.down_proj",
                           activation(config, weights.linear(f"{p}.mlp.gate_proj", y))
                           * weights.linear(f"{p}.mlp.up_proj", y))
        x = x + (layer_norm("post_feedforward_layernorm", y) if gemma else y)
    x = norm(config, x, weights["model.norm.weight"])
    tied = config.get("tie_word_embeddings", gemma)
    logits = x @ (embedding if tied else weights["lm_head.weight"]).T
    return softcap(logits, config.get("final_logit_softcapping"))


def check(folder):
    """(largest relative difference of logits, greedy tokens that agree, greedy tokens)."""
    config = json.loads((folder / "config.json").read_text())
    expected = {name: tensor.numpy()
                for name, tensor in load_file(folder / "expected.safetensors").items()}
    ids = expected["prompt_ids"]
    weights = Weights(folder, config)
    difference = 0.0
    for name, source in (("logits_f64", weights), ("logits_f64_bf16w", None)):
        if name in expected:
            source = source or Weights(folder, config, round_bf16=True)
            error = np.abs(forward(config, source, ids) - expected[name]).max()
            difference = max(difference, error / expected[name].std())
    greedy = expected.get("greedy_ids")
    if greedy is None:
        return difference, 0, 0
    again = forward(config, weights, np.concatenate([ids, greedy[:-1]]))[len(ids) - 1:]
    return difference, int((again.argmax(axis=-1) == greedy).sum()), len(greedy)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    root = pathlib.Path(__file__).resolve().parents[2] / "tests" / "golden"
    parser.add_argument("folders", nargs="*", type=pathlib.Path)
    folders = parser.parse_args().folders or sorted(root.glob("*/"))
    failed = 0
    for folder in folders:
        difference, agree, tokens = check(folder)
        good = difference < TOLERANCE and agree == tokens
        failed += not good
        verdict = "ok  " if good else "FAIL"
        print(f"{verdict} {folder.name:26} {difference:.1e}  {agree}/{tokens} tokens")
    sys.exit(f"{failed} of {len(folders)} differ" if failed else 0)


if __name__ == "__main__":
    main()
