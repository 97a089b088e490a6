#!/usr/bin/env python3
"""Train the demo model and its draft model.

    train.py --train train.jsonl --val val.jsonl --out models/demo --seconds 300 --draft-seconds 70

Needs tokenizer.json in --out (train_tokenizer.py). The schedule follows the clock: the learning
rate falls as a cosine of the time spent, so a faster machine takes more steps. The last quarter
of the time uses rows of 2,048 tokens in place of 1,024. The draft learns the main model's
distribution (Kullback-Leibler) on the same text. The main model's shape is the demo model's unless
--hidden and its like say otherwise.
"""

import argparse
import dataclasses
import json
import math
import multiprocessing
import os
import shutil
import time

import numpy as np
import torch
import torch._dynamo
import torch.nn.functional as F
from tokenizers import Tokenizer

import chat_format as cf
import model as m

_tok = None


def _open_tokenizer(path):
    global _tok
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    _tok = Tokenizer.from_file(path)


def _encode(lines):
    texts = [cf.document_text(json.loads(x)) for x in lines]
    docs = [e.ids for e in _tok.encode_batch(texts, add_special_tokens=False)]
    weights = [w for d in docs for w in token_weights(d)]
    ids = np.array([i for d in docs for i in d], dtype=np.int16)
    return ids, np.array(weights, dtype=np.uint8), [len(d) for d in docs]


def token_weights(ids):
    """4 for text the model is to write; 1 for what users and the system say, which it only has to
    read.
    """
    start, message, assistant = (_tok.token_to_id(t) for t in (cf.START, cf.MESSAGE, "assistant"))
    out, own = [], True
    for k, i in enumerate(ids):
        out.append(4 if own else 1)
        if i == start:
            own = ids[k + 1] == assistant
    return out


def load(path, tokenizer, jobs):
    """All documents as one stream of ids with their weights, and where each document begins."""

    def batches():
        with open(path) as f:
            batch = []
            for line in f:
                batch.append(line)
                if len(batch) == 500:
                    yield batch
                    batch = []
            if batch:
                yield batch

    parts, weights, lengths = [], [], []
    with multiprocessing.Pool(jobs, _open_tokenizer, (tokenizer,)) as pool:
        for part in pool.imap(_encode, batches()):
            parts.append(part[0])
            weights.append(part[1])
            lengths += part[2]
    return (
        np.concatenate(parts),
        np.concatenate(weights),
        np.concatenate(([0], np.cumsum(lengths)[:-1])),
    )


class Rows:
    """Rows of t + 1 tokens that begin at a document's beginning; every document is whole in some
    row unless it is longer than a row. Shuffled anew each pass."""

    def __init__(self, ids, weights, starts, t, device, seed):
        self.ids, self.weights, self.t = (
            torch.from_numpy(ids).to(device),
            torch.from_numpy(weights).to(device),
            t,
        )
        rows, at = [], 0
        while at < len(starts) and starts[at] + t + 1 <= len(ids):
            rows.append(starts[at])
            nxt = np.searchsorted(starts, starts[at] + t + 1, side="right") - 1
            at = max(int(nxt), at + 1)
        self.rows = torch.tensor(np.array(rows), device=device)
        self.gen = torch.Generator(device=device).manual_seed(seed)
        self.order, self.at, self.passes = None, 0, 0
        self.span = torch.arange(t + 1, device=device)

    def next(self, batch):
        if self.order is None or self.at + batch > len(self.order):
            self.order = torch.randperm(len(self.rows), device=self.rows.device, generator=self.gen)
            self.at, self.passes = 0, self.passes + 1
            if len(self.order) < batch:
                raise SystemExit("train: fewer rows than a batch: write more documents")
        pick = self.rows[self.order[self.at : self.at + batch]]
        self.at += batch
        x = self.ids[pick[:, None] + self.span].long()
        weight = self.weights[pick[:, None] + self.span[1:]].float()
        return x[:, :-1].contiguous(), x[:, 1:].contiguous(), weight


def next_token_loss(net, x, y, weight):
    loss = F.cross_entropy(net(x).flatten(0, 1).float(), y.flatten(), reduction="none")
    return (loss * weight.flatten()).sum() / weight.sum().clamp(min=1)


@torch.no_grad()
def mean_loss(net, rows, batch, n):
    """Mean cross-entropy in nats a token: of text the model writes, and of what others say."""
    net.eval()
    rows.order = None
    losses = []
    for _ in range(max(1, min(n, len(rows.rows) // batch))):
        x, y, weight = rows.next(batch)
        own = (weight > 1).float()
        losses.append(
            [next_token_loss(net, x, y, own).item(), next_token_loss(net, x, y, 1 - own).item()]
        )
    net.train()
    return dict(zip(("written", "read"), np.mean(losses, 0).round(4).tolist()))


def optimizer(net, lr):
    flat = [p for p in net.parameters() if p.dim() < 2]
    full = [p for p in net.parameters() if p.dim() >= 2]
    return torch.optim.AdamW(
        [{"params": full, "weight_decay": 0.1}, {"params": flat, "weight_decay": 0.0}],
        lr=lr,
        betas=(0.9, 0.95),
        eps=1e-8,
        fused=next(net.parameters()).is_cuda,
    )


def fit(net, step_loss, stages, seconds, lr, batch_tokens, log):
    """Run the clock: stages is [(fraction at which it ends, rows)]; step_loss(x, y, weight) is
    the loss to descend.
    """
    opt = optimizer(net, lr)
    warm, step, tokens, stage, lost = 100, 0, 0, 0, 0.0
    start = time.time()
    loss_sum = torch.zeros((), device=next(net.parameters()).device)
    while True:
        done = (time.time() - start - lost) / seconds
        if done >= 1:
            break
        while done > stages[stage][0]:
            stage += 1
        rows = stages[stage][1]
        scale = min(1, (step + 1) / warm) * (
            0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1, done)))
        )
        for g in opt.param_groups:
            g["lr"] = lr * scale
        x, y, weight = rows.next(max(1, batch_tokens // rows.t))
        began = time.time()
        loss = step_loss(x, y, weight)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        opt.step()
        opt.zero_grad(set_to_none=True)
        loss_sum += loss.detach()
        step, tokens = step + 1, tokens + x.numel()
        if step % 20 == 0 and x.is_cuda:
            torch.cuda.synchronize()  # the host must not run ahead of the clock
        if x.is_cuda and time.time() - began > 3:  # a compilation is not training
            lost += time.time() - began
        if step % 500 == 0:
            print(
                f"{log} step {step} tokens {tokens / 1e6:.0f}M loss {loss_sum.item() / 500:.4f} lr"
                f" {lr * scale:.5f} t {time.time() - start:.0f}s",
                flush=True,
            )
            loss_sum.zero_()
    return {
        "steps": step,
        "tokens": tokens,
        "seconds": round(time.time() - start, 1),
        "compile_seconds": round(lost, 1),
        "passes": max(r.passes for _, r in stages),
    }


def train_draft(net, draft, text, val, a, device, compiled, special):
    """The draft learns the main model's distribution; returns its part of the report."""
    net.eval().requires_grad_(False)

    def distil(x, y, weight):
        with torch.no_grad():
            want = F.log_softmax(net(x).flatten(0, 1).float(), -1)
        got = F.log_softmax(draft(x).flatten(0, 1).float(), -1)
        loss = F.kl_div(got, want, log_target=True, reduction="none").sum(-1)
        return (loss * weight.flatten()).sum() / weight.sum()

    report = fit(
        draft,
        compiled(distil),
        [(9.0, Rows(*text, a.short, device, a.seed + 2))],
        a.draft_seconds,
        a.draft_lr,
        a.batch_tokens // 2,
        "draft",
    )
    out = os.path.join(a.out, "draft")
    m.save(draft, out, special)
    for name in (
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "generation_config.json",
    ):
        shutil.copyfile(os.path.join(a.out, name), os.path.join(out, name))
    report.update(
        parameters=sum(p.numel() for p in draft.parameters()),
        val_loss=mean_loss(draft, val, max(1, a.batch_tokens // a.short // 4), 16),
    )
    print("draft", report, flush=True)
    return report


SHAPE_OPTIONS = ("hidden", "layers", "heads", "kv_heads", "inner", "head_dim")


def shape_problem(s, tokens):
    if min(s.hidden, s.layers, s.heads, s.kv_heads, s.inner, s.head_dim) < 1:
        return "every number of a shape is at least 1"
    if s.heads % s.kv_heads:
        return f"--heads {s.heads} is no multiple of --kv-heads {s.kv_heads}"
    if s.head_dim % 2:
        return f"--head-dim {s.head_dim} is odd: rotation takes pairs"
    if tokens > s.max_positions:
        return f"rows of {tokens} tokens: the model has {s.max_positions} positions"
    return None


def main():
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("--train", required=True)
    p.add_argument("--val", required=True)
    p.add_argument("--out", required=True)
    p.add_argument("--seconds", type=float, default=300)
    p.add_argument("--draft-seconds", type=float, default=70, help="0: no draft")
    p.add_argument("--batch-tokens", type=int, default=131072)
    p.add_argument("--lr", type=float, default=3e-3)
    p.add_argument("--draft-lr", type=float, default=4e-3)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--jobs", type=int, default=os.cpu_count())
    p.add_argument("--short", type=int, default=1024, help="tokens a row")
    p.add_argument(
        "--long", type=int, default=2048, help="tokens a row in the last quarter; 0: no such rows"
    )
    p.add_argument(
        "--start-from", help="a folder made by this script, whose two models are trained further"
    )
    p.add_argument("--no-compile", action="store_true")
    for name in SHAPE_OPTIONS:
        default = getattr(m.MAIN, name)
        p.add_argument(
            "--" + name.replace("_", "-"),
            type=int,
            default=default,
            help=f"of the main model's shape; {default} if left out",
        )
    a = p.parse_args()
    shape = dataclasses.replace(m.MAIN, **{name: getattr(a, name) for name in SHAPE_OPTIONS})
    problem = shape_problem(shape, max(a.short, a.long))
    if problem:
        p.error(problem)

    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(a.seed)
    path = os.path.join(a.out, "tokenizer.json")
    tok = Tokenizer.from_file(path)
    special = {s: tok.token_to_id(s) for s in cf.SPECIALS}
    t0 = time.time()
    ids, weights, starts = load(a.train, path, a.jobs)
    val_ids, val_weights, val_starts = load(a.val, path, a.jobs)
    print(
        f"train {len(starts)} documents {len(ids) / 1e6:.1f}M tokens, val {len(val_starts)}"
        f" documents {len(val_ids) / 1e6:.2f}M tokens, read in {time.time() - t0:.0f}s",
        flush=True,
    )
    short = Rows(ids, weights, starts, a.short, device, a.seed)
    long = Rows(ids, weights, starts, a.long, device, a.seed + 1) if a.long else None
    val = Rows(val_ids, val_weights, val_starts, a.short, device, 0)
    val_batch = max(1, a.batch_tokens // a.short // 4)
    # One compiled step for each row length: kernels for shapes known in advance are faster.
    torch._dynamo.config.automatic_dynamic_shapes = False
    compiled = (lambda f: f) if a.no_compile else torch.compile
    report = {
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "torch": torch.__version__,
        "train_documents": len(starts),
        "train_tokens": len(ids),
    }

    net = m.Llama(shape).to(device)
    draft = m.Llama(m.DRAFT).to(device) if a.draft_seconds > 0 else None
    if a.start_from:
        m.restore(net, a.start_from)
        if draft:
            m.restore(draft, os.path.join(a.start_from, "draft"))
    step = compiled(lambda x, y, weight: next_token_loss(net, x, y, weight))
    stages = [(0.75, short), (9.0, long)] if long else [(9.0, short)]
    report["main"] = fit(net, step, stages, a.seconds, a.lr, a.batch_tokens, "main")
    m.save(net, a.out, special)
    report["main"].update(
        parameters=sum(p.numel() for p in net.parameters()),
        train_loss=mean_loss(net, Rows(ids, weights, starts, a.short, device, 5), val_batch, 16),
        val_loss=mean_loss(net, val, val_batch, 16),
    )
    print("main", report["main"], flush=True)

    if draft:
        text = (ids, weights, starts)
        report["draft"] = train_draft(net, draft, text, val, a, device, compiled, special)
    with open(
        os.path.join(a.out, "training.json" if not a.start_from else "training_finish.json"), "w"
    ) as f:
        json.dump(report, f, indent=2)
        f.write("\n")


if __name__ == "__main__":
    main()
