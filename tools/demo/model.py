"""The demo model as a small PyTorch module whose weights have the Hugging Face Llama layout.

Weights are kept in float32 while training, but every forward pass reads them rounded to bfloat16
(the gradient passes straight through), so what is trained is what is saved.
"""

import json
import os
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import nn

import chat_format as cf


@dataclass
class Shape:
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    inner: int
    head_dim: int = 32
    vocab: int = 3072
    max_positions: int = 2048
    rope_theta: float = 10000.0
    eps: float = 1e-5


MAIN = Shape(hidden=256, layers=6, heads=8, kv_heads=2, inner=512)
DRAFT = Shape(hidden=128, layers=2, heads=4, kv_heads=2, inner=192)


def rounded(w):
    return w.to(torch.bfloat16)


class RMSNorm(nn.Module):
    def __init__(self, n, eps):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(n)), eps

    def forward(self, x):
        y = x.float()
        y = y * torch.rsqrt(y.pow(2).mean(-1, keepdim=True) + self.eps)
        return y.to(torch.bfloat16) * rounded(self.weight)


class Linear(nn.Module):
    def __init__(self, n_in, n_out, std):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(n_out, n_in) * std)

    def forward(self, x):
        return F.linear(x, rounded(self.weight))


class Attention(nn.Module):
    def __init__(self, s):
        super().__init__()
        self.s = s
        self.q_proj = Linear(s.hidden, s.heads * s.head_dim, s.hidden**-0.5)
        self.k_proj = Linear(s.hidden, s.kv_heads * s.head_dim, s.hidden**-0.5)
        self.v_proj = Linear(s.hidden, s.kv_heads * s.head_dim, s.hidden**-0.5)
        self.o_proj = Linear(
            s.heads * s.head_dim, s.hidden, s.hidden**-0.5 * (2 * s.layers) ** -0.5
        )

    def forward(self, x, cos, sin):
        s, (b, t, _) = self.s, x.shape
        q = self.q_proj(x).view(b, t, s.heads, s.head_dim).transpose(1, 2)
        k = self.k_proj(x).view(b, t, s.kv_heads, s.head_dim).transpose(1, 2)
        v = self.v_proj(x).view(b, t, s.kv_heads, s.head_dim).transpose(1, 2)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        group = s.heads // s.kv_heads
        k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.o_proj(y.transpose(1, 2).reshape(b, t, -1))


def rotate(x, cos, sin):
    a, b = x.chunk(2, -1)
    return (x * cos + torch.cat((-b, a), -1) * sin).to(torch.bfloat16)


class MLP(nn.Module):
    def __init__(self, s):
        super().__init__()
        self.gate_proj = Linear(s.hidden, s.inner, s.hidden**-0.5)
        self.up_proj = Linear(s.hidden, s.inner, s.hidden**-0.5)
        self.down_proj = Linear(s.inner, s.hidden, s.inner**-0.5 * (2 * s.layers) ** -0.5)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    def __init__(self, s):
        super().__init__()
        self.input_layernorm = RMSNorm(s.hidden, s.eps)
        self.self_attn = Attention(s)
        self.post_attention_layernorm = RMSNorm(s.hidden, s.eps)
        self.mlp = MLP(s)

    def forward(self, x, cos, sin):
        x = x + self.self_attn(self.input_layernorm(x), cos, sin)
        return x + self.mlp(self.post_attention_layernorm(x))


class Llama(nn.Module):
    """forward(ids [B, T]) -> logits [B, T, V] in bfloat16; the residual stream is float32."""

    def __init__(self, s):
        super().__init__()
        self.s = s
        self.embed_tokens = nn.Embedding(s.vocab, s.hidden)
        nn.init.normal_(self.embed_tokens.weight, std=0.02)
        self.layers = nn.ModuleList(Layer(s) for _ in range(s.layers))
        self.norm = RMSNorm(s.hidden, s.eps)
        inv = s.rope_theta ** (-torch.arange(0, s.head_dim, 2).float() / s.head_dim)
        angle = torch.outer(torch.arange(s.max_positions).float(), inv)
        angle = torch.cat((angle, angle), -1)
        self.register_buffer("cos", angle.cos(), persistent=False)
        self.register_buffer("sin", angle.sin(), persistent=False)

    def forward(self, ids):
        t = ids.shape[1]
        cos, sin = self.cos[:t], self.sin[:t]
        x = F.embedding(ids, rounded(self.embed_tokens.weight)).float()
        for layer in self.layers:
            x = layer(x, cos, sin)
        return F.linear(self.norm(x), rounded(self.embed_tokens.weight))


def n_params(s):
    return sum(p.numel() for p in Llama(s).parameters())


def restore(model, path):
    weights = load_file(os.path.join(path, "model.safetensors"))
    model.load_state_dict({k.removeprefix("model."): v.float() for k, v in weights.items()})


def save(model, out, ids):
    """Write model.safetensors (bf16) and config.json as transformers' LlamaForCausalLM reads
    them.
    """
    s = model.s
    os.makedirs(out, exist_ok=True)
    weights = {
        "model." + k: v.detach().to(torch.bfloat16).contiguous().cpu()
        for k, v in model.state_dict().items()
    }
    path = os.path.join(out, "model.safetensors")
    save_file(weights, path, metadata={"format": "pt"})
    os.chmod(path, 0o644)
    config = {
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": ids[cf.BOS],
        "eos_token_id": [ids[cf.EOS], ids[cf.END]],
        "pad_token_id": ids[cf.PAD],
        "head_dim": s.head_dim,
        "hidden_act": "silu",
        "hidden_size": s.hidden,
        "initializer_range": 0.02,
        "intermediate_size": s.inner,
        "max_position_embeddings": s.max_positions,
        "mlp_bias": False,
        "model_type": "llama",
        "num_attention_heads": s.heads,
        "num_hidden_layers": s.layers,
        "num_key_value_heads": s.kv_heads,
        "pretraining_tp": 1,
        "rms_norm_eps": s.eps,
        "rope_scaling": None,
        "rope_theta": s.rope_theta,
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
        "use_cache": True,
        "vocab_size": s.vocab,
    }
    with open(os.path.join(out, "config.json"), "w") as f:
        json.dump(config, f, indent=2)
        f.write("\n")
