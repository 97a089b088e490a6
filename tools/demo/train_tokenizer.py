#!/usr/bin/env python3
"""Train the demo model's tokenizer and write its Hugging Face files.

    train_tokenizer.py --text text.jsonl --out models/demo

Byte-level BPE with the pre-tokenizer that Llama 3's tokenizer.json has: a Split by regular
expression, then ByteLevel; the special tokens have the highest ids; BOS is put in front by
TemplateProcessing.
"""

import argparse
import itertools
import json
import os

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    pre_tokenizers,
    processors,
    trainers,
)

import chat_format as cf

VOCAB = 3072
MAX_POSITIONS = 2048
PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def plain_texts(path, limit):
    with open(path) as f:
        for line in itertools.islice(f, limit):
            doc = json.loads(line)
            if "text" in doc:
                yield doc["text"]
            else:
                for m in doc["messages"]:
                    yield m["content"]


def build(path, limit):
    tok = Tokenizer(models.BPE(ignore_merges=True))
    tok.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PATTERN), behavior="isolated", invert=False),
            pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True, use_regex=False),
        ]
    )
    tok.decoder = decoders.ByteLevel()
    # The roles must stay single words even though they are rare in the text.
    roles = (r for _ in range(1000) for r in ("system", "user", "assistant"))
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB - len(cf.SPECIALS),
        min_frequency=2,
        special_tokens=[],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tok.train_from_iterator(itertools.chain(plain_texts(path, limit), roles), trainer)
    if tok.get_vocab_size() != VOCAB - len(cf.SPECIALS):
        raise SystemExit(f"train_tokenizer: the text yields only {tok.get_vocab_size()} tokens")
    tok.add_special_tokens([AddedToken(s, special=True, normalized=False) for s in cf.SPECIALS])
    tok.post_processor = processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=False),
            processors.TemplateProcessing(
                single=f"{cf.BOS} $A",
                pair=f"{cf.BOS} $A {cf.BOS}:1 $B:1",
                special_tokens=[(cf.BOS, tok.token_to_id(cf.BOS))],
            ),
        ]
    )
    return tok


def write_files(tok, out):
    os.makedirs(out, exist_ok=True)
    tok.save(os.path.join(out, "tokenizer.json"))
    ids = {s: tok.token_to_id(s) for s in cf.SPECIALS}

    def dump(name, value):
        with open(os.path.join(out, name), "w") as f:
            json.dump(value, f, indent=2)
            f.write("\n")

    dump(
        "tokenizer_config.json",
        {
            "added_tokens_decoder": {
                str(i): {
                    "content": s,
                    "lstrip": False,
                    "normalized": False,
                    "rstrip": False,
                    "single_word": False,
                    "special": True,
                }
                for s, i in ids.items()
            },
            "bos_token": cf.BOS,
            "chat_template": cf.TEMPLATE,
            "clean_up_tokenization_spaces": False,
            "eos_token": cf.END,
            "pad_token": cf.PAD,
            "model_input_names": ["input_ids", "attention_mask"],
            "model_max_length": MAX_POSITIONS,
            "tokenizer_class": "PreTrainedTokenizerFast",
        },
    )
    dump("special_tokens_map.json", {"bos_token": cf.BOS, "eos_token": cf.END, "pad_token": cf.PAD})
    dump(
        "generation_config.json",
        {
            "bos_token_id": ids[cf.BOS],
            "eos_token_id": [ids[cf.EOS], ids[cf.END]],
            "pad_token_id": ids[cf.PAD],
            "do_sample": False,
        },
    )


def main():
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("--text", required=True)
    p.add_argument("--limit", type=int, default=40000, help="documents to learn merges from")
    p.add_argument("--out", required=True)
    a = p.parse_args()
    tok = build(a.text, a.limit)
    write_files(tok, a.out)
    sample = "Once upon a time, there was a brave fox named Lily. What is 12 + 7?"
    print(f"vocabulary {tok.get_vocab_size()}; sample: {tok.encode(sample).tokens}")


if __name__ == "__main__":
    main()
