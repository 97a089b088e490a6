#!/usr/bin/env python3
"""Make the golden models and their expected outputs with Hugging Face transformers.

    python tools/golden/make_golden.py [--out tests/golden] [--only PREFIX ...]

Each case (cases.py) becomes a folder that looks like a published checkpoint: config.json,
generation_config.json, model*.safetensors; and expected.safetensors, whose tensors are described in
tests/golden/README.md. Every expected value comes from a model that transformers loaded afresh from
the written folder.

Same versions (requirements.txt), same bytes. Kernels of torch that depend on the processor are
switched to their portable versions, and one thread is used, so that the last bits do not move.
"""

import os

# Before torch is imported: MKL and ATen choose their kernels once.
os.environ["MKL_CBWR"] = "COMPATIBLE"
os.environ["ATEN_CPU_CAPABILITY"] = "default"
os.environ["ONEDNN_MAX_CPU_ISA"] = "SSE41"
os.environ["TRANSFORMERS_VERBOSITY"] = "error"
os.environ["HF_HUB_OFFLINE"] = "1"

import argparse
import copy
import json
import pathlib
import shutil
import sys
import tempfile
import zlib

import numpy as np
import torch
import transformers
from safetensors.torch import save_file
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from cases import BF16, CASES, DROP, SLIDING

GREEDY_TOKENS = 64
CANDIDATES = 256  # prompts tried for one with clear greedy margins
MIN_DISTINCT = 10  # distinct greedy tokens, so that the continuation is no short loop
MIN_MARGIN = 0.02  # smallest top-2 margin accepted, in standard deviations of the logits
FIRST_PLAIN_TOKEN = 4  # ids below are bos, eos and padding in one family or another
NO_WINDOW = 1 << 20
GENERATION_VERSION = "4.46.3"


class Float64Mode(TorchFunctionMode):
    """Keeps float64 where the model code asks for float32.

    Norms and softmax of transformers compute in float32 whatever the model's type is: a model
    turned to double alone would still round there. Under this mode a float64 tensor stays float64.
    The rope tables are not touched: inverse frequencies, angles, cos and sin are float32 in every
    type, as transformers has them.
    """

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if args and isinstance(args[0], torch.Tensor) and args[0].dtype == torch.float64:
            if func is torch.Tensor.float:
                return args[0]
            if func is torch.Tensor.to:
                args = tuple(torch.float64 if a is torch.float32 else a for a in args)
            if kwargs.get("dtype") is torch.float32:
                kwargs["dtype"] = torch.float64
        return func(*args, **kwargs)


def patched(config, overrides):
    config = copy.deepcopy(config)
    for key, value in overrides.items():
        config.pop(key, None)
        if value is not DROP:
            config[key] = value
    return config


def hf_config(config):
    cls = transformers.models.auto.configuration_auto.CONFIG_MAPPING[config["model_type"]]
    out = cls.from_dict(copy.deepcopy(config))
    out._attn_implementation = "eager"
    return out


def is_gemma(case):
    return case.family.startswith("gemma")


def initial_weight(case, config, name, shape):
    """Random values under which every structural feature shows in the logits.

    The initialisation of transformers is of no use here: unit norms, zero biases and nearly flat
    attention hide mistakes. Norm weights differ from one, biases from zero; queries and keys are
    large enough that attention is selective. A tied head would make the last token its own best
    successor: the last norm then has weights of both signs.
    """
    rng = np.random.Generator(np.random.Philox(key=[zlib.crc32(case.name.encode()) + case.seed,
                                                    zlib.crc32(name.encode())]))
    normal = rng.standard_normal(shape)
    hidden = config.hidden_size
    if name.endswith("norm.weight"):
        if name == "model.norm.weight" and config.tie_word_embeddings:
            weight = normal * case.final_gain
        elif "q_norm" in name or "k_norm" in name:
            weight = rng.uniform(1.0, 2.0, shape)
        else:
            weight = rng.uniform(0.6, 1.4, shape)
        return weight - 1.0 if is_gemma(case) else weight  # Gemma multiplies by 1 + weight
    if name.endswith("bias"):
        return normal * 0.5
    if "embed_tokens" in name:
        return normal / hidden ** 0.5 if is_gemma(case) else normal
    if "lm_head" in name:
        return normal * 4.0 / hidden ** 0.5
    gain = 1.0 if "v_proj" in name else 1.5
    return normal * gain / shape[1] ** 0.5


def make_model(case):
    """The model in memory, weights rounded to the stored type and held as float32."""
    config = hf_config(case.hf or case.config)
    model = transformers.AutoModelForCausalLM.from_config(
        config, attn_implementation="eager", dtype=torch.float32).eval()
    stored = stored_dtype(case)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            value = initial_weight(case, config, name, tuple(parameter.shape))
            if name.endswith("bias") and any(part in name for part in case.drop_bias):
                value = np.zeros_like(value)
            parameter.copy_(torch.from_numpy(value).to(stored).float())
    return model


def stored_dtype(case):
    return getattr(torch, case.config.get("torch_dtype") or case.config["dtype"])


def checkpoint(case, model):
    """name -> tensor in the stored type, as transformers names them."""
    tensors = {name: tensor.to(stored_dtype(case)).contiguous()
               for name, tensor in model.state_dict().items()}
    if model.config.tie_word_embeddings:
        head = tensors.pop("lm_head.weight")
        if case.stored_tied_head:
            tensors["lm_head.weight"] = head.clone()
    if case.inv_freq_tensors:
        # Deliberately not the values in use: they must come from the config.
        for layer in range(model.config.num_hidden_layers):
            tensors[f"model.layers.{layer}.self_attn.rotary_emb.inv_freq"] = (
                torch.full_like(model.model.rotary_emb.inv_freq, 0.25))
    return tensors


def as_internlm2(config, tensors):
    """Rename, and pack q, k, v as InternLM2 does: per KV head its query heads, then k, then v."""
    kv_heads = config["num_key_value_heads"]
    group = config["num_attention_heads"] // kv_heads
    head_dim = config["hidden_size"] // config["num_attention_heads"]
    rename = {"model.embed_tokens": "model.tok_embeddings", "lm_head": "output",
              "self_attn.o_proj": "attention.wo", "mlp.gate_proj": "feed_forward.w1",
              "mlp.up_proj": "feed_forward.w3", "mlp.down_proj": "feed_forward.w2",
              "input_layernorm": "attention_norm", "post_attention_layernorm": "ffn_norm"}
    out = {}
    for name, tensor in tensors.items():
        if ".k_proj." in name or ".v_proj." in name:
            continue
        if ".q_proj." in name:
            q, k, v = (tensors[name.replace(".q_proj.", f".{part}_proj.")] for part in "qkv")
            tail = q.shape[1:]
            packed = torch.cat([q.reshape(kv_heads, group, head_dim, *tail),
                                k.reshape(kv_heads, 1, head_dim, *tail),
                                v.reshape(kv_heads, 1, head_dim, *tail)], dim=1)
            name = name.replace("self_attn.q_proj", "attention.wqkv")
            tensor = packed.reshape(-1, *tail).contiguous()
        else:
            for old, new in rename.items():
                name = name.replace(f"{old}.", f"{new}.")
        out[name] = tensor
    return out


def write_json(path, value):
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n")


def write_tensors(folder, tensors, shards):
    metadata = {"format": "pt"}
    if shards == 1:
        save_file(tensors, folder / "model.safetensors", metadata=metadata)
        return
    names = sorted(tensors)
    weight_map = {}
    for shard in range(shards):
        file = f"model-{shard + 1:05}-of-{shards:05}.safetensors"
        part = names[len(names) * shard // shards:len(names) * (shard + 1) // shards]
        save_file({name: tensors[name] for name in part}, folder / file, metadata=metadata)
        weight_map |= {name: file for name in part}
    total = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    write_json(folder / "model.safetensors.index.json",
               {"metadata": {"total_size": total}, "weight_map": weight_map})


def write_checkpoint(folder, config, tensors, shards=1):
    folder.mkdir(parents=True)
    write_json(folder / "config.json", config)
    generation = {key: config[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id")
                  if key in config}
    generation |= {"_from_model_config": True, "transformers_version": GENERATION_VERSION}
    write_json(folder / "generation_config.json", generation)
    write_tensors(folder, tensors, shards)


def load(folder, dtype):
    """What a user of transformers would load. Rope buffers stay float32 in every type this way;
    model.to(bfloat16) would round them."""
    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=dtype, attn_implementation="eager").eval()
    model.generation_config.eos_token_id = None  # an end token must not stop the continuation
    for name, buffer in model.named_buffers():
        assert "inv_freq" not in name or buffer.dtype == torch.float32, name
    return model


@torch.no_grad()
def logits_of(model, ids):
    return model(torch.tensor(ids)[None], use_cache=False).logits[0]


@torch.no_grad()
def logits_f64(folder, ids, round_bf16):
    """Logits in float64 on the stored weights, or on these rounded to bfloat16."""
    model = load(folder, torch.float32)
    if round_bf16:
        for parameter in model.parameters():
            parameter.copy_(parameter.bfloat16().float())
    model.double()
    model.model.rotary_emb.float()
    with Float64Mode():
        out = logits_of(model, ids)
    assert out.dtype == torch.float64
    return out


def end_tokens(config):
    eos = config["eos_token_id"]
    return eos if isinstance(eos, list) else [eos]


def candidate_prompts(case):
    rng = np.random.Generator(np.random.Philox(key=[zlib.crc32(case.name.encode()), 1]))
    prompts = rng.integers(FIRST_PLAIN_TOKEN, case.config["vocab_size"],
                           (CANDIDATES, case.prompt_len), dtype=np.int64)
    if case.prompt_len > 1:
        prompts[:, 0] = case.config["bos_token_id"]
    return torch.from_numpy(prompts)


@torch.no_grad()
def generate(model, prompts):
    out = model.generate(prompts, attention_mask=torch.ones_like(prompts), do_sample=False,
                         use_cache=True, min_new_tokens=GREEDY_TOKENS,
                         max_new_tokens=GREEDY_TOKENS, pad_token_id=0)
    return out[:, prompts.shape[1]:]


def margins(logits):
    top = torch.topk(logits, 2, dim=-1).values
    return top[..., 0] - top[..., 1]


@torch.no_grad()
def choose_prompt(case, model):
    """The candidate whose greedy continuation has the clearest smallest margin."""
    prompts = candidate_prompts(case)
    if case.prefill_only:
        return prompts[0].tolist()
    greedy = generate(model, prompts)
    logits = model(torch.cat([prompts, greedy[:, :-1]], dim=1), use_cache=False).logits
    smallest = margins(logits[:, case.prompt_len - 1:]).min(dim=1).values
    best, best_margin = None, -1.0
    for i, tokens in enumerate(greedy.tolist()):
        if len(set(tokens)) < MIN_DISTINCT or set(tokens) & set(end_tokens(case.config)):
            continue
        if smallest[i].item() > best_margin:
            best, best_margin = i, smallest[i].item()
    if best is None:
        sys.exit(f"{case.name}: no candidate prompt has a usable continuation; change its weights")
    return prompts[best].tolist()


def rms(x):
    return x.double().square().mean().sqrt().item()


def check_features(case, model, ids, reference, bf16_rms):
    """RMS change of the logits of prompt and continuation, in bf16 RMS errors, when each feature is
    left out."""
    changes = {}
    for feature, overrides in case.without.items():
        wrong = transformers.AutoModelForCausalLM.from_config(
            hf_config(patched(case.hf or case.config, overrides)),
            attn_implementation="eager", dtype=torch.float32).eval()
        wrong.load_state_dict(model.state_dict())
        changes[feature] = round(rms(logits_of(wrong, ids) - reference) / bf16_rms, 1)
        if changes[feature] < 3.0:
            sys.exit(f"{case.name}: without {feature} the logits move by {changes[feature]} bf16 "
                     "errors only; the case would not show its absence")
    return changes


def check_window(model, ids):
    """The eager masks of transformers against one written by hand, in the layers' attention."""
    config = model.config
    with torch.no_grad():
        attentions = model(torch.tensor(ids)[None], use_cache=False,
                           output_attentions=True).attentions
    types = getattr(config, "layer_types", None) or [SLIDING] * config.num_hidden_layers
    window = getattr(config, "sliding_window", None) or NO_WINDOW
    query = torch.arange(len(ids))[:, None]
    key = torch.arange(len(ids))[None]
    for kind, weights in zip(types, attentions, strict=True):
        width = window if kind == SLIDING else NO_WINDOW
        seen = (key <= query) & (key > query - width)
        assert (weights[0][:, ~seen] == 0).all(), "a key outside the window was seen"
        assert (weights[0][:, seen] > 0).float().mean() > 0.99, "a key in the window was not seen"


def make_case(case, out):
    folder = out / case.name
    shutil.rmtree(folder, ignore_errors=True)
    model = make_model(case)
    tensors = checkpoint(case, model)
    with tempfile.TemporaryDirectory() as scratch:
        if case.hf is None:
            write_checkpoint(folder, case.config, tensors, case.shards)
            source = folder
        else:
            # transformers cannot load this family: it loads the equal Llama model instead.
            source = pathlib.Path(scratch) / "equal"
            write_checkpoint(source, case.hf, tensors)
            kept = {name: tensor for name, tensor in tensors.items()
                    if not (name.endswith("bias") and any(p in name for p in case.drop_bias))}
            if case.family == "internlm2":
                kept = as_internlm2(case.config, kept)
            write_checkpoint(folder, case.config, kept, case.shards)
        return folder, expect(case, model, source, folder)


def expect(case, in_memory, source, folder):
    model = load(source, torch.float32)
    ids = choose_prompt(case, model)
    f32 = logits_of(model, ids)
    if not torch.equal(f32, logits_of(in_memory, ids)):
        sys.exit(f"{case.name}: the written folder does not reload to the same model")
    check_window(model, ids)
    f64 = logits_f64(source, ids, round_bf16=False)
    exact = f64 if stored_dtype(case) == torch.bfloat16 else logits_f64(source, ids, True)
    bf16_error = logits_of(load(source, torch.bfloat16), ids).double() - exact
    bf16_rms = rms(bf16_error)
    expected = {
        "prompt_ids": torch.tensor(ids, dtype=torch.int64),
        "logits_f32": f32,
        "logits_f64": f64,
        "bf16_rms_error": torch.tensor([bf16_rms], dtype=torch.float64),
        "bf16_max_error": bf16_error.abs().max()[None],
    }
    if exact is not f64:
        expected["logits_f64_bf16w"] = exact
    facts = {
        "folder": case.name,
        "exercises": case.what,
        "dtype": str(stored_dtype(case)).removeprefix("torch."),
        "prompt_tokens": len(ids),
        "prefill_only": case.prefill_only,
        "max_abs_logit": round(f64.abs().max().item(), 4),
        "logit_std": round(f64.std().item(), 4),
        "f32_max_error": float(f"{(f32.double() - f64).abs().max().item():.3g}"),
        "bf16_rms_error": float(f"{bf16_rms:.4g}"),
        "bf16_max_error": float(f"{bf16_error.abs().max().item():.4g}"),
    }
    rows = f32
    sequence = ids
    if not case.prefill_only:
        greedy = generate(model, torch.tensor(ids)[None])[0]
        # Once more without a cache, in one pass: every token must be the same, and by a margin.
        sequence = ids + greedy[:-1].tolist()
        rows = logits_of(model, sequence)
        assert torch.equal(rows[len(ids) - 1:].argmax(dim=-1), greedy), case.name
        smallest = margins(rows[len(ids) - 1:]).min().item()
        if smallest < MIN_MARGIN * f32.std().item():
            sys.exit(f"{case.name}: smallest greedy margin {smallest}: change its weights")
        expected["greedy_ids"] = greedy
        facts["min_margin"] = round(smallest, 4)
        facts["greedy_distinct"] = len(set(greedy.tolist()))
    facts["without"] = check_features(case, model, sequence, rows, bf16_rms)
    save_file({name: tensor.contiguous() for name, tensor in expected.items()},
              folder / "expected.safetensors")
    facts["bytes"] = sum(file.stat().st_size for file in folder.iterdir())
    return facts


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    root = pathlib.Path(__file__).resolve().parents[2]
    parser.add_argument("--out", type=pathlib.Path, default=root / "tests" / "golden")
    parser.add_argument("--only", nargs="+", default=[""], metavar="PREFIX",
                        help="make the cases whose name starts so; the others are kept")
    options = parser.parse_args()
    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()

    listing = options.out / "cases.json"
    known = {}
    if listing.exists():
        known = {facts["folder"]: facts for facts in json.loads(listing.read_text())["cases"]}
    for case in CASES:
        if case.name.startswith(tuple(options.only)):
            _, facts = make_case(case, options.out)
            known[case.name] = facts
            print(f"{case.name:26} P={facts['prompt_tokens']:<4} "
                  f"margin={facts.get('min_margin', '-'):<8} std={facts['logit_std']:<8} "
                  f"bf16={facts['bf16_rms_error']:<9} f32={facts['f32_max_error']:<9} "
                  f"{facts['bytes'] // 1024} KB {facts['without']}", flush=True)
    cases = [known[case.name] for case in CASES if case.name in known]
    versions = {module.__name__: module.__version__ for module in (np, torch, transformers)}
    write_json(listing, {"cases": cases, "versions": versions})
    print(f"{len(cases)} cases, {sum(facts['bytes'] for facts in cases)} bytes")


if __name__ == "__main__":
    main()
