#!/usr/bin/env python3
"""What 8 and 4 bits cost: the mean KL divergence of the next token from the bf16 model, in nats.

    tools/quantization_quality.py [--model models/demo] [--docs 200] [--llama-quantize PATH] [--out FILE]

The text is held out: documents of tools/demo/make_text.py with the validation split's seeds, which no
training has read. build/bench/divergence computes both distributions of every token, with bf16 and with
float32 activations (without the noise of bf16, which the q8 figure is close to).

Beside q8 and q4 of `--quantize`, two formats of the llama.cpp family, computed by transformers in float32.
With --llama-quantize their weights are that program's own: a bf16 GGUF is written, quantised to Q8_0 and
Q4_K_M without an importance matrix, and read by the package gguf. Without it they are simulated: Q8_0 as the
package gguf quantises it, and Q4_K_M, made here (Q4_K with a search over 21 steps, Q6_K where that mix has it:
values and `down` of layers that weigh more, and the embedding that is the head too; gguf must read the packed
Q4_K bytes as the same numbers). Once with activations as they are, once rounded to int8 as llama.cpp rounds
them: 256 with one scale beside K-quants, 32 beside others. For what weights alone cost, the folders that
`verbatim quantize` writes are computed like that too, with activations as they are.

Packages: numpy, torch, transformers, tokenizers, safetensors, gguf (0.19.0)."""

import argparse
import datetime
import json
import pathlib
import subprocess
import sys
import tempfile

import gguf
import numpy as np
import torch
import transformers
from gguf import GGMLQuantizationType as G
from safetensors.torch import load_file
from tokenizers import Tokenizer

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools" / "demo"))
sys.path.append(str(ROOT / "bench"))  # behind it: both have a module "plots"
import chat_format  # noqa: E402
import cpu_peers  # noqa: E402
import make_text  # noqa: E402

SEED = 7


def text_ids(model, docs, path):
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    with open(path, "w", encoding="utf-8") as f:
        for i in range(docs):
            text = chat_format.document_text(make_text.make_doc(SEED, "val", i))
            f.write(json.dumps(tokenizer.encode(text, add_special_tokens=False).ids) + "\n")


# ---- The llama.cpp family's formats ----

def q8_0(w):
    data = gguf.quants.quantize(w.numpy(), G.Q8_0)
    return torch.from_numpy(gguf.quants.dequantize(data, G.Q8_0).reshape(w.shape).copy())


def f16(x):
    return x.half().float()


def best_steps(x, steps=21):
    """For groups [g, 32]: scale and minimum (w = scale * q - minimum, minimum >= 0) of least weighted error."""
    e = x.abs() + x.square().mean(1, keepdim=True).sqrt()
    low, high = x.amin(1, keepdim=True).clamp(max=0), x.amax(1, keepdim=True)
    width = (high - low).clamp(min=1e-12)
    se, sx = e.sum(1, keepdim=True), (e * x).sum(1, keepdim=True)
    scale, offset = width / 15, low
    q = torch.round((x - low) / scale).clamp(0, 15)
    error = (e * (scale * q + offset - x) ** 2).sum(1, keepdim=True)
    for i in range(steps):
        q = torch.round((x - low) * ((14 + 0.1 * i) / width)).clamp(0, 15)
        sq, sqq, sqx = (e * q).sum(1, keepdim=True), (e * q * q).sum(1, keepdim=True), (e * q * x).sum(1, keepdim=True)
        d = se * sqq - sq * sq
        s, m = (se * sqx - sx * sq) / d, (sqq * sx - sq * sqx) / d
        s, m = torch.where(m > 0, sqx / sqq, s), m.clamp(max=0)
        this = (e * (s * q + m - x) ** 2).sum(1, keepdim=True)
        better = (d > 0) & (this < error)
        scale, offset = torch.where(better, s, scale), torch.where(better, m, offset)
        error = torch.where(better, this, error)
    return scale, -offset


def q4_k(w):
    """Super-blocks of 8 groups of 32: scales and minima are 6-bit multiples of two f16 numbers."""
    x = w.reshape(-1, 8, 32)
    scale, minimum = (t.reshape(-1, 8) for t in best_steps(w.reshape(-1, 32)))
    d, dmin = scale.amax(1, keepdim=True) / 63, minimum.amax(1, keepdim=True) / 63
    sc = torch.round(scale / torch.where(d > 0, d, 1)).clamp(0, 63)
    mn = torch.round(minimum / torch.where(dmin > 0, dmin, 1)).clamp(0, 63)
    d, dmin = f16(d), f16(dmin)
    step, low = (d * sc)[..., None], (dmin * mn)[..., None]
    q = torch.round((x + low) / torch.where(step > 0, step, 1)).clamp(0, 15)
    out = step * q - low
    witness_q4_k(d, dmin, sc, mn, q, out)
    return out.reshape(w.shape)


def witness_q4_k(d, dmin, sc, mn, q, out):
    """The same numbers from the bytes that a GGUF file would hold."""
    n = len(q)
    sc, mn = sc.numpy().astype(np.uint8), mn.numpy().astype(np.uint8)
    packed = np.zeros((n, 12), np.uint8)
    packed[:, 0:4] = sc[:, :4] | (sc[:, 4:] >> 4) << 6
    packed[:, 4:8] = mn[:, :4] | (mn[:, 4:] >> 4) << 6
    packed[:, 8:12] = (sc[:, 4:] & 15) | (mn[:, 4:] & 15) << 4
    q = q.numpy().astype(np.uint8).reshape(n, 4, 2, 32)
    quants = (q[:, :, 0] | q[:, :, 1] << 4).reshape(n, 128)
    head = np.concatenate([d.half().numpy().view(np.uint8), dmin.half().numpy().view(np.uint8)], axis=1)
    blocks = np.concatenate([head, packed, quants], axis=1)
    read = gguf.quants.dequantize(blocks, G.Q4_K).reshape(n, 8, 32)
    assert np.allclose(read, out.numpy(), rtol=1e-6, atol=1e-8)


def q6_k(w):
    """Groups of 16 with a signed step from a search, steps 8-bit multiples of one f16 a 256."""
    x = w.reshape(-1, 16)
    at = x.abs().argmax(1, keepdim=True)
    most = x.gather(1, at)
    e = x * x
    best, error = torch.zeros_like(most), torch.full_like(most, torch.inf)
    for i in range(-9, 10):
        inverse = -(32 + 0.1 * i) / torch.where(most == 0, 1, most)
        q = torch.round(x * inverse).clamp(-32, 31)
        sqq = (e * q * q).sum(1, keepdim=True)
        s = (e * q * x).sum(1, keepdim=True) / torch.where(sqq > 0, sqq, 1)
        this = (e * (s * q - x) ** 2).sum(1, keepdim=True)
        best, error = torch.where(this < error, s, best), torch.minimum(this, error)
    best = best.reshape(-1, 16)
    biggest = best.gather(1, best.abs().argmax(1, keepdim=True))
    d = biggest / -128
    sc = torch.round(best / torch.where(d == 0, 1, d)).clamp(-128, 127)
    step = (f16(d) * sc)[..., None]
    q = torch.round(w.reshape(-1, 16, 16) / torch.where(step == 0, 1, step)).clamp(-32, 31)
    return (step * q).reshape(w.shape)


def q4_k_m(name, w, layers):
    if "layers." not in name:
        return q6_k(w)
    layer = int(name.split(".")[2])
    more = layer < layers // 8 or layer >= 7 * layers // 8 or (layer - layers // 8) % 3 == 2
    return q6_k(w) if more and ("v_proj" in name or "down_proj" in name) else q4_k(w)


def rounded(x, group):
    """Activations as int8, as llama.cpp has them beside weights of its formats."""
    g = x.reshape(*x.shape[:-1], -1, group)
    scale = g.abs().amax(-1, keepdim=True) / 127
    scale = f16(scale) if group == 32 else scale
    return (torch.round(g / torch.where(scale == 0, 1, scale)).clamp(-127, 127) * scale).reshape(x.shape)


# ---- Whose weights are computed: lists of (name, {weight: numbers}, {weight: of how many activations one scale is}) ----

def simulated(plain, layers):
    matrices = {name: w for name, w in plain.items() if w.dim() == 2}
    yield "Q8_0, simulated", {n: q8_0(w) for n, w in matrices.items()}, dict.fromkeys(matrices, 32)
    yield "Q4_K_M, simulated", {n: q4_k_m(n, w, layers) for n, w in matrices.items()}, dict.fromkeys(matrices, 256)


def of_gguf(path, plain, config):
    """The numbers of a GGUF under the names of transformers, and the types of its matrices."""
    tensors = {t.name: t for t in gguf.GGUFReader(path).tensors}
    weights, types = {}, {}
    for name, w in plain.items():
        if w.dim() != 2 or cpu_peers.gguf_name(name) not in tensors:
            continue
        t = tensors[cpu_peers.gguf_name(name)]
        x = gguf.quants.dequantize(t.data, t.tensor_type).reshape(w.shape)
        if "q_proj" in name or "k_proj" in name:  # GGUF has the rows that rotation pairs beside each other
            heads = config.num_attention_heads if "q_proj" in name else config.num_key_value_heads
            x = x.reshape(heads, -1, 2, x.shape[1]).swapaxes(1, 2).reshape(w.shape)
        weights[name], types[name] = torch.from_numpy(np.array(x, np.float32)), t.tensor_type.name
    return weights, types


def by_llama_quantize(program, folder, plain, config, scratch, chosen):
    source = scratch / "bf16.gguf"
    cpu_peers.write_gguf(folder, source, False)
    back, _ = of_gguf(source, plain, config)
    assert all(torch.equal(back[name], plain[name]) for name in back)  # nothing but the rounding is to differ
    for kind in ("Q8_0", "Q4_K_M"):
        out = scratch / f"{kind}.gguf"
        subprocess.run([program, source, out, kind, "2"], check=True, capture_output=True)
        weights, types = of_gguf(out, plain, config)
        chosen[kind] = {t: sorted(shortened(n) for n in types if types[n] == t) for t in sorted(set(types.values()))}
        groups = {n: 256 if t.endswith("_K") else 32 for n, t in types.items()}
        yield f"{kind}, llama-quantize", weights, groups


def shortened(name):
    return name.removeprefix("model.").removesuffix(".weight")


def by_verbatim(program, folder, plain, scratch):
    """Of the folders that `verbatim quantize` writes; the embedding's own face stays as it is."""
    for to in ("q8", "q4"):
        subprocess.run([program, "quantize", folder, scratch / to, "--to", to], check=True, capture_output=True)
        stored, weights = load_file(scratch / to / "model.safetensors"), {}
        for name, w in plain.items():
            scale = stored.get(f"{name}.scale")
            if scale is None:
                continue
            scale = scale.float().repeat_interleave(32, 1)
            if f"{name}.q8" in stored:
                x = stored[f"{name}.q8"].float() * scale
            elif f"{name}.q6" in stored:
                three = stored[f"{name}.q6"].int().unflatten(1, (-1, 3))
                word = three[..., 0] | three[..., 1] << 8 | three[..., 2] << 16
                q = torch.stack([word >> shift & 63 for shift in (0, 6, 12, 18)], -1).flatten(1)
                x = (q[:, :w.shape[1]] - 32).float() * scale
            else:
                packed = stored[f"{name}.q4"]
                q = torch.stack((packed & 15, packed >> 4), -1).flatten(1).float()
                x = (q - stored[f"{name}.zero"].float().repeat_interleave(32, 1) / 8) * scale
            weights[name] = x
        yield to, weights, None


@torch.no_grad()
def log_probabilities(model, texts):
    return [torch.log_softmax(model(torch.tensor([ids])).logits[0].double(), -1) for ids in texts]


class Simulation:
    """The model by transformers in float32, with its own weights and with others."""

    @torch.no_grad()
    def __init__(self, folder, ids):
        self.texts = [json.loads(line)[:512] for line in ids.read_text().splitlines()]
        self.model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        self.config = self.model.config
        # Whatever is looked up stays as it is where only the head is given: it has a tensor of its own here.
        if self.model.lm_head.weight is self.model.model.embed_tokens.weight:
            self.model.lm_head.weight = torch.nn.Parameter(self.model.lm_head.weight.clone())
            self.tied = True
        else:
            self.tied = False
        self.plain = {n: w.clone() for n, w in self.model.named_parameters() if not (self.tied and n == "lm_head.weight")}
        self.exact = log_probabilities(self.model, self.texts)

    def loss(self):
        """Mean cross-entropy of the text, a token, in nats: how well the model is trained."""
        each = [-p[:-1].gather(1, torch.tensor(ids[1:])[:, None]) for p, ids in zip(self.exact, self.texts, strict=True)]
        return torch.cat(each).mean().item()

    @torch.no_grad()
    def compare(self, name, weights, groups):
        """A row as divergence prints them. Without groups an embedding is what it was: only the head is another."""
        for key, w in self.model.named_parameters():
            source = "model.embed_tokens.weight" if self.tied and key == "lm_head.weight" else key
            other = weights.get(source)
            kept = other is None or (groups is None and "embed_tokens" in key)
            w.copy_(self.plain[source] if kept else other)
        for integers in (False, True) if groups else (False,):
            hooks = []
            for key, m in self.model.named_modules() if integers else ():
                source = "model.embed_tokens.weight" if self.tied and key == "lm_head" else f"{key}.weight"
                if isinstance(m, torch.nn.Linear):
                    hooks.append(m.register_forward_pre_hook(lambda _, x, g=groups[source]: (rounded(x[0], g),)))
            other = log_probabilities(self.model, self.texts)
            for hook in hooks:
                hook.remove()
            each = torch.cat([(p.exp() * (p - q)).sum(-1) for p, q in zip(self.exact, other, strict=True)])
            same = torch.cat([p.argmax(-1) == q.argmax(-1) for p, q in zip(self.exact, other, strict=True)])
            yield {"weights": name, "dtype": f"f32, activations {'int8' if integers else 'as they are'}",
                   "tokens": len(each), "mean_kl_nats": each.mean().item(),
                   "mean_kl_error": (each.std() / len(each) ** 0.5).item(), "median": each.median().item(),
                   "p99": each.quantile(0.99).item(), "max": each.max().item(),
                   "same_first": same.double().mean().item()}


def divergence(program, *arguments):
    done = subprocess.run([program, *map(str, arguments)], check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=pathlib.Path, default=ROOT / "models" / "demo")
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build")
    parser.add_argument("--docs", type=int, default=200)
    parser.add_argument("--llama-quantize", type=pathlib.Path, help="llama.cpp's or ik_llama.cpp's program: in place of simulation")
    parser.add_argument("--out", type=pathlib.Path)
    o = parser.parse_args()
    results, chosen = [], {}
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        ids = scratch / "ids.jsonl"
        text_ids(o.model, o.docs, ids)
        for dtype in ("bf16", "f32"):
            for to in ("q8", "q4"):
                results.append(divergence(o.build / "bench" / "divergence", "--dtype", dtype, "--quantize", to,
                                          o.model, o.model, ids))
        s = Simulation(o.model, ids)
        theirs = (by_llama_quantize(o.llama_quantize, o.model, s.plain, s.config, scratch, chosen) if o.llama_quantize
                  else simulated(s.plain, s.config.num_hidden_layers))
        for source in (by_verbatim(o.build / "verbatim", o.model, s.plain, scratch), theirs):
            for named in source:
                results += s.compare(*named)
        loss = s.loss()
    print(f"the model's own loss on this text: {loss:.4f} nats a token")
    for kind, types in chosen.items():
        print(f"{kind}: " + ", ".join(f"{len(names)} matrices {t}" for t, names in types.items()))
    for row in results:
        print(f"{row['weights']:24} {row['dtype']:28} mean {row['mean_kl_nats']:.3g}  p99 {row['p99']:.3g}  "
              f"max {row['max']:.3g}  same first choice {100 * row['same_first']:.2f} %")
    if o.out:
        commit = subprocess.run(["git", "-C", ROOT, "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
        model = o.model.resolve()
        report = {"date": datetime.date.today().isoformat(), "commit": commit.stdout.strip(),
                  "model": str(model.relative_to(ROOT)) if model.is_relative_to(ROOT) else model.name,
                  "parameters": sum(w.numel() for w in s.plain.values()), "docs": o.docs, "seed": SEED,
                  "loss_nats_a_token": loss, "types_chosen": chosen, "results": results}
        o.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
