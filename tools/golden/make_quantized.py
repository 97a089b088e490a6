#!/usr/bin/env python3
"""Make the golden models whose checkpoints are quantised, as other programs publish them.

    python tools/golden/make_quantized.py [--out tests/quantized] [--only PREFIX ...] [--packages FOLDER]

Each case is a small Llama model. Its matrices are rounded to integers (or to FP8) here, packed as the
format says, and multiplied out again: transformers computes the expected values of make_golden.py from
the numbers that come out. `hash.NAME` in expected.safetensors is FNV-1a (64 bits) over the float32
bytes of the matrix NAME: whoever reads the packed tensors must get the very same numbers.
`int8_rms_error` is what rounding activations to int8, per token and group of 32, costs in float64:
programs that multiply integers are measured against it.

With the package compressed-tensors (the version of requirements.txt) its packing is compared with ours.

The cases by-* are packed and multiplied out again by other programs' code. For AutoAWQ and AutoGPTQ, FOLDER holds what
`pip download --no-deps autoawq==0.2.9 auto-gptq==0.7.1` brings, unpacked (awq/ and auto_gptq/); the modules with the
packing are loaded alone, for the packages want a GPU and versions of their own. Without FOLDER these cases are left out.
"""

import argparse
import importlib
import json
import pathlib
import shutil
import sys
import tempfile
import types

import make_golden as golden  # sets torch's environment: before torch
import numpy as np
import torch
import transformers
from cases import Case, llama
from safetensors.torch import save_file

SMALL = {"hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 2, "num_key_value_heads": 1,
         "vocab_size": 64}
KEPT = ("embed_tokens", "lm_head", "norm")  # stored plain by all formats
SHAPE = {"hidden_size": 128, "intermediate_size": 256, "num_attention_heads": 4,
         "num_key_value_heads": 2, "head_dim": 32, "vocab_size": 128, "num_hidden_layers": 1}
AWQ_ORDER = [0, 2, 4, 6, 1, 3, 5, 7]  # of a word's rows, from the low nibble up


def grouped(w, group):
    n, k = w.shape
    return w.reshape(n, k // group, group)


def round_to(w, bits, group, symmetric, scale_type):
    """(q [n, k] 0 .. 2^bits - 1, scale [n, k / group], zero [n, k / group]), all exact float32."""
    top = 2 ** bits - 1
    g = grouped(w, group)
    if symmetric:
        scale = g.abs().amax(-1) * 2 / top
        zero = torch.full_like(scale, 2 ** (bits - 1))
    else:
        low, high = g.amin(-1).clamp(max=0), g.amax(-1).clamp(min=0)
        scale = (high - low) / top
    scale = scale.to(scale_type).float()
    if not symmetric:
        zero = torch.round(-low / scale).clamp(0, top)
    q = torch.round(g / scale[..., None] + zero[..., None]).clamp(0, top)
    return q.reshape(w.shape), scale, zero


def multiplied_out(q, scale, zero, index):
    return scale[:, index] * (q - zero[:, index])


def words(values, bits, axis):
    """Neighbours along an axis in int32 words, from the low bits up; the last word is filled with 0."""
    per = 32 // bits
    values = np.moveaxis(values.numpy().astype(np.uint32), axis, -1)
    pad = -values.shape[-1] % per
    values = np.pad(values, [(0, 0)] * (values.ndim - 1) + [(0, pad)])
    values = values.reshape(*values.shape[:-1], -1, per)
    out = np.zeros(values.shape[:-1], np.uint32)
    for i in range(per):
        out |= values[..., i] << np.uint32(bits * i)
    return torch.from_numpy(np.moveaxis(out, -1, axis).view(np.int32).copy())


def awq(name, w, o):
    q, scale, zero = round_to(w, 4, o["group"], False, torch.float16)
    index = torch.arange(w.shape[1]) // o["group"]

    def packed(x):  # [rows, n]: eight n a word
        return words(x.reshape(x.shape[0], -1, 8)[..., AWQ_ORDER].reshape(x.shape), 4, 1)

    return multiplied_out(q, scale, zero, index), {
        f"{name}.qweight": packed(q.T), f"{name}.qzeros": packed(zero.T),
        f"{name}.scales": scale.T.half()}


def gptq(name, w, o):
    n, k = w.shape
    bits, group = o["bits"], o["group"] if o["group"] > 0 else k
    order = torch.arange(k)
    if o["act_order"]:
        order = torch.from_numpy(np.random.default_rng(k).permutation(k))
    q, scale, zero = round_to(w[:, order], bits, group, o["sym"], torch.float16)
    index = torch.empty(k, dtype=torch.int64)
    index[order] = torch.arange(k) // group  # g_idx
    q = q[:, torch.argsort(order)]
    stored = zero if o["v2"] else (zero - 1) % 2 ** bits
    return multiplied_out(q, scale, zero, index), {
        f"{name}.qweight": words(q.T, bits, 0), f"{name}.qzeros": words(stored.T, bits, 1),
        f"{name}.scales": scale.T.half(), f"{name}.g_idx": index.int()}


def packed(name, w, o):
    n, k = w.shape
    bits, group = o["bits"], o["group"] if o["group"] > 0 else k
    order = torch.arange(k)
    if o.get("act_order"):
        order = torch.from_numpy(np.random.default_rng(k).permutation(k))
    q, scale, zero = round_to(w[:, order], bits, group, o["sym"], torch.bfloat16)
    index = torch.empty(k, dtype=torch.int64)
    index[order] = torch.arange(k) // group
    q = q[:, torch.argsort(order)]
    tensors = {f"{name}.weight_packed": words(q, bits, 1), f"{name}.weight_scale": scale.bfloat16(),
               f"{name}.weight_shape": torch.tensor([n, k])}
    if not o["sym"]:
        tensors[f"{name}.weight_zero_point"] = words(zero, bits, 0)
    if o.get("act_order"):
        tensors[f"{name}.weight_g_idx"] = index.int()
    witness(bits, q, zero, o["sym"], tensors, name)
    return multiplied_out(q, scale, zero, index), tensors


def witness(bits, q, zero, symmetric, tensors, name):
    try:
        from compressed_tensors.compressors.quantized_compressors.pack_quantized import pack_to_int32
    except ImportError:
        return
    half = 2 ** (bits - 1)
    signed = (q - half).to(torch.int8)
    assert torch.equal(pack_to_int32(signed, bits), tensors[f"{name}.weight_packed"]), name
    if not symmetric:
        signed = (zero - half).to(torch.int8)
        packed = pack_to_int32(signed, bits, packed_dim=0).contiguous()
        assert torch.equal(packed, tensors[f"{name}.weight_zero_point"]), name
    if name.endswith("0.mlp.down_proj"):
        print(f"  {name}: packed as compressed-tensors packs it")


# ---- Other programs' code: (matrix as they multiply it out, tensors as they pack them) ----

PACKAGES = None


def alone(module):
    """A module of the folder of packages, without what the packages' own __init__ files import."""
    parts = module.split(".")
    for i in range(1, len(parts)):
        name = ".".join(parts[:i])
        if name not in sys.modules:
            sys.modules[name] = types.ModuleType(name)
            sys.modules[name].__path__ = [str(PACKAGES.joinpath(*parts[:i]))]
    for missing in ("accelerate",):  # imported by awq.utils.utils, for what is not called here
        try:
            importlib.import_module(missing)
        except ImportError:
            sys.modules[missing] = types.ModuleType(missing)
    return importlib.import_module(module)


def linear_of(w, dtype):
    linear = torch.nn.Linear(w.shape[1], w.shape[0], bias=False)
    linear.weight = torch.nn.Parameter(w.to(dtype), requires_grad=False)
    return linear


def by_autoawq(name, w, o):
    gemm = alone("awq.modules.linear.gemm")
    q, scale, zero = round_to(w, 4, o["group"], False, torch.float16)
    ours = multiplied_out(q, scale, zero, torch.arange(w.shape[1]) // o["group"])
    layer = gemm.WQLinear_GEMM.from_linear(linear_of(ours, torch.float32), 4, o["group"], scales=scale.T.contiguous(),
                                           zeros=zero.T.contiguous())
    # In float32: in float16 it rounds each product.
    theirs = gemm.dequantize_gemm(layer.qweight, layer.qzeros, layer.scales.float(), 4, o["group"]).T.contiguous()
    assert torch.equal(theirs, ours), name
    return theirs, {f"{name}.{key}": getattr(layer, key) for key in ("qweight", "qzeros", "scales")}


def by_autogptq(name, w, o):
    quant_linear = alone("auto_gptq.nn_modules.qlinear.qlinear_cuda").QuantLinear
    (n, k), bits, group = w.shape, o["bits"], o["group"]
    order = torch.arange(k)
    if o["act_order"]:
        order = torch.from_numpy(np.random.default_rng(k).permutation(k))
    q, scale, zero = round_to(w[:, order], bits, group, o["sym"], torch.float16)
    assert zero.min() > 0, f"{name}: a zero of 0, which AutoGPTQ's packing breaks"
    index = torch.empty(k, dtype=torch.int64)
    index[order] = torch.arange(k) // group
    ours = multiplied_out(q[:, torch.argsort(order)], scale, zero, index)
    layer = quant_linear(bits, group, k, n, False)
    layer.pack(linear_of(ours, torch.float16), scale.clone(), zero.clone(), index.int())
    assert layer.scales.dtype == torch.float16
    stored = {f"{name}.{key}": getattr(layer, key).clone() for key in ("qweight", "qzeros", "scales", "g_idx")}
    layer.scales = layer.scales.float()
    theirs = layer(torch.eye(k)).T.contiguous()  # every sum has one product that is not 0
    assert torch.equal(theirs, ours), name
    return theirs, stored


def by_compressed_tensors(name, w, o):
    from compressed_tensors.compressors.quantized_compressors import pack_quantized as ct
    from compressed_tensors.quantization import QuantizationArgs
    from compressed_tensors.quantization.lifecycle.forward import dequantize
    bits, group = o["bits"], o["group"]
    q, scale, zero = round_to(w, bits, group, False, torch.bfloat16)
    ours = multiplied_out(q, scale, zero, torch.arange(w.shape[1]) // group)
    arguments = QuantizationArgs(num_bits=bits, type="int", symmetric=False, strategy="group", group_size=group)
    point = (zero - 2 ** (bits - 1)).to(torch.int8)
    packed = ct.PackedQuantizationCompressor().compress_weight(ours, scale.bfloat16(), arguments, zero_point=point)
    # Its own decompression does not take packed zeros: its two parts do. With the scale in float32, which rounds nothing.
    theirs = dequantize(ct.unpack_from_int32(packed["weight_packed"], bits, w.shape), scale,
                        ct.unpack_from_int32(packed["weight_zero_point"], bits, scale.shape, packed_dim=0)).float()
    assert torch.equal(theirs, ours), name
    packed["weight_scale"] = scale.bfloat16()
    return theirs.contiguous(), {f"{name}.{key}": value.clone().contiguous() for key, value in packed.items()}


def int8(name, w, o):
    k = w.shape[1]
    group = o["group"] if o["group"] > 0 else k
    q, scale, zero = round_to(w, 8, group, o["sym"], torch.bfloat16)
    index = torch.arange(k) // group
    tensors = {f"{name}.weight": (q - 128).to(torch.int8), f"{name}.weight_scale": scale.bfloat16()}
    if not o["sym"]:
        tensors[f"{name}.weight_zero_point"] = (zero - 128).to(torch.int8)
    return multiplied_out(q, scale, zero, index), tensors


def fp8(name, w, o):
    rows, cols = o["block"] or w.shape
    n, k = w.shape
    scale = torch.empty(-(-n // rows), -(-k // cols))
    spread = torch.empty_like(w)
    for i in range(scale.shape[0]):
        for j in range(scale.shape[1]):
            part = w[i * rows:(i + 1) * rows, j * cols:(j + 1) * cols]
            scale[i, j] = part.abs().max() / 448
            spread[i * rows:(i + 1) * rows, j * cols:(j + 1) * cols] = scale[i, j]
    q = (w / spread).to(torch.float8_e4m3fn)
    stored = scale if o["block"] else scale.reshape(o["scale_shape"](n))
    return q.float() * spread, {f"{name}.weight": q, f"{name}.{o['scale']}": stored}


def ct(fmt, bits, group, symmetric, **keys):
    # int8 matrices are published for int8 activations, scaled as they come.
    inputs = {"num_bits": 8, "type": "int", "symmetric": True, "dynamic": True, "strategy": "token",
              "observer": None} if fmt == "int-quantized" else None
    weights = {"num_bits": bits, "type": "int", "symmetric": symmetric, "dynamic": False,
               "strategy": "group" if group > 0 else "channel",
               "group_size": group if group > 0 else None, "actorder": None, "observer": "minmax"}
    return {"quant_method": "compressed-tensors", "format": fmt, "quantization_status": "compressed",
            "ignore": ["lm_head"], "kv_cache_scheme": None, "global_compression_ratio": None,
            "config_groups": {"group_0": {"targets": ["Linear"], "input_activations": inputs,
                                          "output_activations": None, "weights": weights | keys}}}


def gptq_case(bits, group, sym, act_order, v2=False):
    return (gptq, {"bits": bits, "group": group, "sym": sym, "act_order": act_order, "v2": v2},
            {"quant_method": "gptq", "bits": bits, "group_size": group, "sym": sym,
             "desc_act": act_order, "damp_percent": 0.01, "true_sequential": True, "lm_head": False,
             "pack_dtype": "int32", "checkpoint_format": "gptq_v2" if v2 else "gptq"})


def awq_case(group):
    return (awq, {"group": group}, {"quant_method": "awq", "bits": 4, "group_size": group,
                                    "version": "gemm", "zero_point": True,
                                    "modules_to_not_convert": None})


def packed_case(bits, group, sym, act_order=False):
    return (packed, {"bits": bits, "group": group, "sym": sym, "act_order": act_order},
            ct("pack-quantized", bits, group, sym, actorder="group" if act_order else None))


def by_case(packer, case):
    return (packer, *case[1:])


FLOAT = {"type": "float"}
# name: (packer, its options, quantization_config), whether a CPU multiplies integers, what it exercises
CASES = {
    "awq-g64": (*awq_case(64), True, "AWQ, groups of 64"),
    "awq-g128": (*awq_case(128), True, "AWQ, groups of 128: one group a row in most matrices"),
    "gptq-sym-g32": (*gptq_case(4, 32, True, False), True, "GPTQ, symmetric, g_idx in order"),
    "gptq-asym-act-g64": (*gptq_case(4, 64, False, True), True, "GPTQ, zeros less one, act-order"),
    "gptq-v2-asym-g128": (*gptq_case(4, 128, False, False, True), True, "GPTQ v2: zeros as they are"),
    "gptq-rows": (*gptq_case(4, -1, False, True), True, "GPTQ, a group a row (group_size -1)"),
    "gptq-g16": (*gptq_case(4, 16, True, False), False, "GPTQ, groups too small for our own form"),
    "gptq-8bit": (*gptq_case(8, 32, True, True), True, "GPTQ, 8 bits, act-order"),
    "gptq-8bit-asym": (*gptq_case(8, 32, False, False), False, "GPTQ, 8 bits with zeros"),
    "ct-pack-sym-g32": (*packed_case(4, 32, True), True, "compressed-tensors, int4"),
    "ct-pack-asym-g64": (*packed_case(4, 64, False), True, "the same with packed zeros"),
    "ct-pack-act-g32": (*packed_case(4, 32, True, True), True, "the same with weight_g_idx"),
    "ct-pack-8bit": (*packed_case(8, -1, True), True, "compressed-tensors, packed int8, a scale a row"),
    "ct-int8-rows": (int8, {"group": -1, "sym": True}, ct("int-quantized", 8, -1, True), True,
                     "compressed-tensors, int8, a scale a row"),
    "ct-int8-asym": (int8, {"group": 64, "sym": False}, ct("int-quantized", 8, 64, False), False,
                     "compressed-tensors, int8 with zeros"),
    "ct-fp8-tensor": (fp8, {"block": None, "scale": "weight_scale", "scale_shape": lambda n: [1]},
                      ct("float-quantized", 8, -1, True, strategy="tensor", **FLOAT), False,
                      "compressed-tensors, FP8, a scale a matrix"),
    "fp8-block": (fp8, {"block": (128, 128), "scale": "weight_scale_inv"},
                  {"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic",
                   "weight_block_size": [128, 128]}, False, "FP8 in blocks of 128 x 128, cut at edges"),
    "fp8-tensor": (fp8, {"block": None, "scale": "weight_scale", "scale_shape": lambda n: []},
                   {"quant_method": "fp8", "activation_scheme": "static"}, False,
                   "FP8, a scale a matrix, without dimensions"),
    "by-autoawq-g64": (*by_case(by_autoawq, awq_case(64)), True, "AWQ, packed by AutoAWQ 0.2.9"),
    "by-autogptq-act-g32": (*by_case(by_autogptq, gptq_case(4, 32, False, True)), True,
                            "GPTQ with zeros and act-order, packed by AutoGPTQ 0.7.1"),
    "by-autogptq-sym-g64": (*by_case(by_autogptq, gptq_case(4, 64, True, False)), True,
                            "GPTQ, symmetric, packed by AutoGPTQ 0.7.1"),
    "by-autogptq-8bit": (*by_case(by_autogptq, gptq_case(8, 32, True, False)), True,
                         "GPTQ, 8 bits, packed by AutoGPTQ 0.7.1"),
    "by-ct-pack-asym-g32": (*by_case(by_compressed_tensors, packed_case(4, 32, False)), True,
                            "pack-quantized with zeros, packed by compressed-tensors 0.12.2"),
}


def fnv(w):
    h = 0xcbf29ce484222325
    for byte in w.float().contiguous().numpy().tobytes():
        h = (h ^ byte) * 0x100000001b3 & 0xffffffffffffffff
    return torch.from_numpy(np.array([h], np.uint64).view(np.int64))


def round_activations(x):
    g = x.reshape(*x.shape[:-1], -1, 32)
    scale = g.abs().amax(-1, keepdim=True) / 127
    return (torch.round(g / torch.where(scale == 0, 1, scale)) * scale).reshape(x.shape)


@torch.no_grad()
def int8_error(source, ids, exact, quantised):
    model = golden.load(source, torch.float32).double()
    model.model.rotary_emb.float()
    for name, module in model.named_modules():
        if name in quantised:
            module.register_forward_pre_hook(lambda _, args: (round_activations(args[0]),))
    with golden.Float64Mode():
        return golden.rms(golden.logits_of(model, ids) - exact)


def make(name, out):
    """With the first seed under which the continuation is clear."""
    for seed in range(8):
        try:
            return make_with(name, out, seed)
        except SystemExit as reason:
            print(f"  {reason}")
    raise SystemExit(f"{name}: no seed serves")


def make_with(name, out, seed):
    packer, options, quantization, integers, what = CASES[name]
    # Ragged blocks of FP8 come from sizes that are no multiples of 128.
    shape = SHAPE | ({"intermediate_size": 200} if packer is fp8 else SMALL if name.startswith("by-") else {})
    case = Case("llama", name, llama("float32", **shape), what, 24, seed=seed)
    folder = out / name
    shutil.rmtree(folder, ignore_errors=True)
    model = golden.make_model(case)
    plain, stored, hashes = {}, {}, {}
    for key, w in golden.checkpoint(case, model).items():
        if any(kept in key for kept in KEPT):
            plain[key] = w.bfloat16().float()
            stored[key] = w.bfloat16()
            continue
        base = key.removesuffix(".weight")
        plain[key], tensors = packer(base, w, options)
        stored |= {tensor: value.contiguous() for tensor, value in tensors.items()}
        hashes[f"hash.{key}"] = fnv(plain[key])
    with torch.no_grad():
        for key, w in plain.items():
            model.get_parameter(key).copy_(w)
    config = case.config | {"torch_dtype": "bfloat16", "quantization_config": quantization}
    golden.write_checkpoint(folder, config, stored)
    with tempfile.TemporaryDirectory() as scratch:
        source = pathlib.Path(scratch) / "equal"
        golden.write_checkpoint(source, case.config, {k: w.contiguous() for k, w in plain.items()})
        facts = golden.expect(case, model, source, folder)
        expected = {k: v.clone() for k, v in load(folder / "expected.safetensors").items()} | hashes
        if integers:
            error = int8_error(source, expected["prompt_ids"].tolist(), expected["logits_f64"],
                               {key.removesuffix(".weight") for key in plain if "norm" not in key
                                and "embed" not in key and "lm_head" not in key})
            expected["int8_rms_error"] = torch.tensor([error], dtype=torch.float64)
            facts["int8_rms_error"] = float(f"{error:.4g}")
    save_file(expected, folder / "expected.safetensors")
    facts |= {"folder": name, "bytes": sum(file.stat().st_size for file in folder.iterdir())}
    return facts


def load(path):
    from safetensors.torch import load_file
    return load_file(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    root = pathlib.Path(__file__).resolve().parents[2]
    parser.add_argument("--out", type=pathlib.Path, default=root / "tests" / "quantized")
    parser.add_argument("--only", nargs="+", default=[""], metavar="PREFIX")
    parser.add_argument("--packages", type=pathlib.Path, metavar="FOLDER")
    options = parser.parse_args()
    global PACKAGES
    PACKAGES = options.packages
    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    options.out.mkdir(exist_ok=True)
    listing = options.out / "cases.json"
    known = {}
    if listing.exists():
        known = {facts["folder"]: facts for facts in json.loads(listing.read_text())["cases"]}
    for name in CASES:
        if CASES[name][0] in (by_autoawq, by_autogptq) and not PACKAGES:
            print(f"{name}: left out: --packages FOLDER makes it")
        elif name.startswith(tuple(options.only)):
            known[name] = make(name, options.out)
            facts = known[name]
            print(f"{name:20} std={facts['logit_std']} bf16={facts['bf16_rms_error']} "
                  f"int8={facts.get('int8_rms_error', '-')} {facts['bytes'] // 1024} KB", flush=True)
    versions = {module.__name__: module.__version__ for module in (np, torch, transformers)}
    golden.write_json(listing, {"cases": [known[n] for n in CASES if n in known], "versions": versions})


if __name__ == "__main__":
    main()
