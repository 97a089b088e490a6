#!/usr/bin/env python3
"""Check the demo model with transformers: answers, stories, and the draft's agreement.

    check.py --model models/demo [--questions 400] [--stories 40] [--json report.json]

Questions come from the validation split of make_text.py, whose seeds, pairs of story characters
and things, and sums are not in the training text. An answer is right only if it is the expected
text, letter for letter. Everything is greedy, in bfloat16. Needs no file but the model: the
questions are made anew.
"""

import argparse
import json
import os
import random
import re
from collections import defaultdict

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import chat_format as cf
import make_text
import world as w
from questions import pick
from stories import held_out

PROMPTS = [
    "Hello!",
    "Who are you?",
    "What can you do?",
    "What is 7 + 5?",
    "What do rabbits eat?",
    "Where does Pip live?",
    "What is the capital of France?",
    "What day comes after Monday?",
    "What time is it?",
    "What is the opposite of hot?",
    "Which is bigger, a mouse or a horse?",
    "Anna has 5 apples. Tom gives her 3 more. How many apples does Anna have now?",
    "Tell me a story about a fox and a kite.",
]


def check_template(tok):
    messages = [
        {"role": "system", "content": " Be brief. "},
        {"role": "user", "content": "Hello!"},
        {"role": "assistant", "content": "Hello!"},
        {"role": "user", "content": "What is ice?"},
    ]
    for add in (False, True):
        got = tok.apply_chat_template(messages, tokenize=False, add_generation_prompt=add)
        if got != cf.render(messages, add):
            raise SystemExit(f"check: the chat template and chat_format.render differ: {got!r}")


def questions(n, seed):
    """n graded (tag, prompt, expected answer) of the validation split."""
    out, i = [], 0
    while len(out) < n:
        doc = make_text.make_doc(seed, "val", 10_000_000 + i)
        i += 1
        for k, m in enumerate(doc.get("messages", ())):
            if m["role"] != "assistant":
                continue
            tag = doc["tags"][sum(x["role"] == "assistant" for x in doc["messages"][:k])]
            if tag and tag != "story":
                out.append((tag, cf.render(doc["messages"][:k], True), m["content"]))
    return out[:n]


def story_requests(n, seed):
    out, i = [], 0
    while len(out) < n:
        i += 1
        rng = random.Random(f"{seed}/stories/{i}")
        kind = rng.choice(w.STORY_ANIMALS + ["girl", "boy", "robot", "dragon"])
        thing = rng.choice(list(w.OBJECTS))
        if held_out(kind, thing):
            text = pick(rng, "Tell me a story about a {k} and a {o}.", k=kind, o=thing)
            out.append((kind, thing, cf.render([{"role": "user", "content": text}], True)))
    return out


@torch.no_grad()
def generate(model, tok, prompts, limit, batch):
    """Greedy answers, in batches of like length."""
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    texts = [None] * len(prompts)
    ids = [None] * len(prompts)
    tok.padding_side = "left"
    for at in range(0, len(order), batch):
        pick = order[at : at + batch]
        enc = tok(
            [prompts[i] for i in pick], return_tensors="pt", padding=True, add_special_tokens=False
        ).to(model.device)
        enc.pop("token_type_ids", None)
        out = model.generate(**enc, max_new_tokens=limit, do_sample=False)[
            :, enc["input_ids"].shape[1] :
        ]
        for i, row in zip(pick, out.tolist()):
            row = [t for t in row if t != tok.pad_token_id]
            ids[i] = row
            texts[i] = tok.decode([t for t in row], skip_special_tokens=True)
    return texts, ids


@torch.no_grad()
def agreement(main, draft, tok, prompts, ids):
    """How often the draft's next token is the main model's, along the main model's own greedy
    text; and the mean length of what would be accepted of four drafted tokens."""
    hits = total = runs = run_tokens = 0
    for prompt, answer in zip(prompts, ids):
        head = tok(prompt, add_special_tokens=False)["input_ids"]
        x = torch.tensor([head + answer], device=draft.device)
        guess = draft(x).logits[0, len(head) - 1 : -1].argmax(-1).tolist()
        same = [g == t for g, t in zip(guess, answer)]
        hits, total = hits + sum(same), total + len(same)
        at = 0
        while at < len(same):  # accept up to four, then one token of the main model
            k = 0
            while k < 4 and at + k < len(same) and same[at + k]:
                k += 1
            runs, run_tokens, at = runs + 1, run_tokens + k, at + k + 1
    return hits / total, run_tokens / runs


def evaluate(path, n_questions=400, n_stories=40, device="cpu", batch=32, seed=7, show=0):
    tok = AutoTokenizer.from_pretrained(path)
    check_template(tok)
    load = lambda p: AutoModelForCausalLM.from_pretrained(p, dtype=torch.bfloat16).to(device).eval()
    main, draft = load(path), load(os.path.join(path, "draft"))
    size = os.path.getsize(os.path.join(path, "model.safetensors"))
    if size > 8 * 2**20:
        raise SystemExit(f"check: model.safetensors has {size} bytes, more than 8 MiB")

    asked = questions(n_questions, seed)
    texts, ids = generate(main, tok, [q[1] for q in asked], 64, batch)
    by_kind = defaultdict(lambda: [0, 0])
    wrong = []
    for (tag, prompt, want), got in zip(asked, texts):
        ok = got.strip() == want.strip()
        by_kind[tag][0] += ok
        by_kind[tag][1] += 1
        if not ok:
            wrong.append((tag, prompt[-160:], want, got))
    for tag, prompt, want, got in wrong[:show]:
        print(f"[{tag}] ...{prompt!r}\n    want {want!r}\n    got  {got!r}")
    kinds = {
        k: {"right": a, "of": b, "share": round(a / b, 3)} for k, (a, b) in sorted(by_kind.items())
    }

    table = [(a, b) for a in range(21) for b in range(21)]
    sums, _ = generate(
        main,
        tok,
        (
            [
                cf.render([{"role": "user", "content": f"What is {a} + {b}?"}], True)
                for a, b in table
            ]
            if n_questions >= 1000
            else []
        ),
        16,
        batch,
    )
    sums_right = sum(s == f"{a} + {b} = {a + b}" for (a, b), s in zip(table, sums))

    wanted = story_requests(n_stories, seed)
    stories, story_ids = generate(main, tok, [p for _, _, p in wanted], 500, batch)
    both = sum(
        bool(re.search(rf"\b{k}\b", s) and re.search(rf"\b{o}\b", s))
        for (k, o, _), s in zip(wanted, stories)
    )
    ended = sum(
        i[-1] in (tok.convert_tokens_to_ids(cf.END), tok.convert_tokens_to_ids(cf.EOS))
        for i in story_ids
    )
    raw = [
        cf.BOS + t
        for t in (
            "Once upon a time",
            "Long ago, there lived a",
            "One day, a little girl named Lily",
        )
    ]
    raw_texts, raw_ids = generate(main, tok, raw, 400, batch)
    story_rate, story_run = agreement(
        main, draft, tok, [p for _, _, p in wanted] + raw, story_ids + raw_ids
    )
    answer_rate, answer_run = agreement(main, draft, tok, [q[1] for q in asked][:200], ids[:200])
    prompts = [cf.render([{"role": "user", "content": p}], True) for p in PROMPTS]
    samples, _ = generate(main, tok, prompts, 400, batch)
    right = sum(v["right"] for v in kinds.values())
    return {
        "bytes": size,
        "parameters": sum(p.numel() for p in main.parameters()),
        "draft_parameters": sum(p.numel() for p in draft.parameters()),
        "questions": {"right": right, "of": n_questions, "share": round(right / n_questions, 3)},
        "kinds": kinds,
        "all_sums_to_20_plus_20": {"right": sums_right, "of": len(sums)},
        "stories": {"asked": n_stories, "name_both": both, "end_by_themselves": ended},
        "draft": {
            "agreement_stories": round(story_rate, 3),
            "accepted_of_4_stories": round(story_run, 2),
            "agreement_answers": round(answer_rate, 3),
            "accepted_of_4_answers": round(answer_run, 2),
        },
        "samples": (
            [{"prompt": p, "answer": s} for p, s in zip(PROMPTS, samples)]
            + [{"raw": r[len(cf.BOS) :], "text": s} for r, s in zip(raw, raw_texts)]
            + [
                {"prompt": f"(story) {k}, {o}", "answer": s}
                for (k, o, _), s in list(zip(wanted, stories))[:6]
            ]
        ),
    }


def main():
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("--model", default="models/demo")
    p.add_argument("--questions", type=int, default=400)
    p.add_argument("--stories", type=int, default=40)
    p.add_argument("--batch", type=int, default=32)
    p.add_argument("--show", type=int, default=20, help="wrong answers to print")
    p.add_argument("--device", default="cpu")
    p.add_argument("--json")
    a = p.parse_args()
    report = evaluate(a.model, a.questions, a.stories, a.device, a.batch, show=a.show)
    if a.json:
        with open(a.json, "w") as f:
            json.dump(report, f, indent=2)
            f.write("\n")
    for s in report.pop("samples"):
        print(
            "\n"
            + ("> " + s["prompt"] if "prompt" in s else "| " + s["raw"])
            + "\n"
            + s.get("answer", s.get("text"))
        )
    print("\n" + json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
