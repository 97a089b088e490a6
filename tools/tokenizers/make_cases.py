#!/usr/bin/env python3
"""Makes small tokenizer.json files that between them have every component that the tokeniser supports.

usage: make_cases.py OUT_DIR [SEED]
Writes OUT_DIR/NAME.json for every tokenizer and OUT_DIR/texts.json, a list of texts that are hard on tokenizers.
Everything is made up here: vocabularies are trained on generated text or written by hand.
"""
import base64
import json
import random
import struct
import sys
from pathlib import Path

from tokenizers import (AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors,
                        trainers)

PATTERNS = {
    "gpt2": r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    "llama3": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
              r"|\s+(?!\S)|\s+",
    "qwen2": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
             r"|\s+(?!\S)|\s+",
    "o200k": r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
             r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
             r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "tekken": r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
              r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}"
              r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "kimi": r"[\p{Han}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*"
            r"[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
            r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+"
            r"[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
            r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "deepseek3": r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
                 r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "deepseek3_cjk": "[一-龥\u3040-ゟ゠-ヿ]+",
    "deepseek_punctuation": r"\s?[!-/:-~！-／：-～‘-‟　-。]+",
    "trailing_space": r"\s+$",
    "bloom": " ?[^(\\s|[.,!?…。，、।۔،])]+",
    "digit_groups": r"\d{1,3}(?=(?:\d{3})*\b)",
    "glm": r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
           r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "repeated_interval": r"\p{L}{2,3}+|\d{2}?|x{0,2}?y",
    "stacked": r"(?:ab)+?|a{2}{2}|(?>b+)c|[ab]*+c|z{,2}!",
    "lookbehind": r"(?<=\w)-(?=\w)|(?<!\s)\.(?!\d)",
    "posix": r"[[:alpha:]]+|[[:digit:]]+|[[:space:]]+|[^[:alnum:][:space:]]",
    "posix_more": r"[[:upper:]][[:lower:]]*|[[:^ascii:]]+|[[:xdigit:]]{2}|[[:blank:]]+|[[:cntrl:]]+",
    "posix_punct": r"[[:punct:]]+",
    "word": r"\w+|\W",
    "not_word_class": r"[\W\d]+|[^\W\d]+",
    "not_space_class": r"[^\S\n]+|[\S]+|\n",
    "hex": r"\h+|\H",
    "boundary": r"\b\w|\B\w+",
    "line_ends": r"^.|.$|\A\n|\n\z",
    "dot_all": r"(?m:a.b)|a.c",
    "option_first": r"(?i)abc|é",
    "names": r"\p{Letter}+|\p{Decimal_Number}|\p{^Alphabetic}",
    "scripts": r"\p{Han}+|\p{Hiragana}+|\p{Katakana}+|\p{Hangul}+|\p{Cyrillic}+|\p{Arabic}+|\P{Latin}",
    "emoji": r"\p{Emoji_Presentation}+|\p{Extended_Pictographic}\x{200d}?",
    "escapes": r"\t|\x{e9}|\u00e8|\x41|\052|\-|\/|é|\v|\f|\e|\a",
    "newlines": r"\R+|[^\r\n]+",
    "set_operations": r"[a-z&&[^aeiou]]+|[\p{L}&&[^a-z]&&[^A-Z]]+|[^a-z&&[b-d]]",
    "nested_negated": r"[x[^a-z]]+|[^[^a-m]]+",
    "empty_matches": r"x*",
    "literal_braces": r"a{|b}|c{d}|{,}",
    "comment": r"a(?#what)b+",
}

WORDS = ("the of and to a in is it that was for on are with as his they at be this from have or by one had not but what "
         "all were when we there can an your which their said if do will each about how up out them then she many some "
         "naïve café über größe señor façade Ελληνικά λόγος привет мир добро שלום مرحبا नमस्ते दुनिया สวัสดี "
         "你好 世界 北京 大学 こんにちは カタカナ 日本語 안녕하세요 한국어 Tiếng Việt İstanbul ΟΔΟΣ ǅ ﬁn ½ ² Ⅷ №").split()


def training_text(seed=1):
    rng = random.Random(seed)
    lines = []
    for _ in range(600):
        line = " ".join(rng.choice(WORDS) for _ in range(rng.randint(2, 12)))
        lines.append(line + rng.choice([".", "!", "?", ",", " 123", " 45.6", "\n", " - ", "'s", "..."]))
    return lines


ALPHABETS = [
    "abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "0123456789", " ", "    \n\t\r",
    "\u00a0\u1680\u2000\u2003\u2009\u200a\u2028\u2029\u202f\u205f\u3000\x85\x0b\x0c\u180e\u200b\ufeff",
    ".,;:!?'\"()[]{}<>/\\|@#$%^&*_+-=~`", "…—–“”‘’«»、。！？；：・「」‿", "éèêëàâäùûüôöîïçñßæœøåÉÈÇŁłİıſẞ",
    "αβγδεζηθικλμνξοπρστυφχψωΣςΆ", "абвгдежзийклмнопрстуфхцчшщъыьэюяЁё", "אבגדהוזחטיכלמנסעפצקרשת", "ابتثجحخدذرزسشصضطظعغفقكلمنهوي",
    "अआइईउऊकखगघङचछजझञटठडढणतथदधनपफबभमयरलवशषसहािीुूेैोौ्ंः", "กขคงจฉชซญดตถทธนบปผพฟมยรลวสหอ่้๊๋ัิีึืุู",
    "的一是不了人我在有他这中大来上国个到说们為東京都龥㐀䶵", "あいうえおかきくけこさしすせそたちつてとがぎぐげご",
    "アイウエオカキクケコサシスセソｱｲｳｶﾞー", "가각간갇갈감갑값강개객한글각",
    "😀😁🎉👍🏽👩‍👩‍👧🇩🇪🇯🇵❤️✈☃", "\u0301\u0300\u0308\u0323\u0327\u0328\u20dd\u0488\u05b0\u064b\u093c\u0e38\u302a",
    "½¼²³¹Ⅷⅷ①㊿٣३๓", "ﬁﬂﬃ㎏㎥Åﷺｆｕｌｌ①", "€£¥₹₿+<=>^`|~¬±×÷∞≠", "\x00\x01\x07\x08\x1f\x7f\x80\x9f\xad\u200d\u200e\u2060\ufffd",
    "𝒜𝓑𝔘𝟘𐍈𠀀𠮷𪚥🀄", "ĠĊ▁▂Âł",
]
SNIPPETS = [
    "<s>", "</s>", "<unk>", "<pad>", "[CLS]", "[MASK]", " <mask> ", "<|user|>", "<|end|>", "<|endoftext|>", "<0x41>", "<0xE4>",
    "<a>", "<b> ", " word", "Word", "new word", "don't", "I'll we've they're", "'S 'ſ 'K", "do not", " n't", "1234567", "3.14",
    "http://x.y/z?q=1", "   ", "\n\n\n", "\r\n", "\t\t", "e\u0301", "\u1112\u1161\u11ab", "한글", "ab" * 20, "aaaa", "x" * 40, "▁▁",
    "▁ ▁", "##ing", "İI", "ΣΣς", "'re", "A.B.C.", "snake_case camelCase", "🤷🏽‍♀️", "नि", "กำ", "Ａ",
    "the of and to", "yesterday", "Yesterday", "YESTERDAY", "hello", "Hello", "…", "'", "\ufeffx", "</w>", "a</w>",
]


def make_texts(seed, n):
    rng = random.Random(seed)
    texts = ["", " ", "\n", "a", "hello world", "  leading", "trailing  ", "\x00", "é", "e\u0301", "▁", "<s>", "<s><s>",
             " <s> ", "x<s>y", "<s>\n\n</s>"]
    while len(texts) < n:
        parts = []
        for _ in range(rng.randint(1, 12)):
            kind = rng.random()
            if kind < 0.3:
                parts.append(rng.choice(SNIPPETS))
            elif kind < 0.5:
                parts.append(rng.choice(WORDS))
            else:
                alphabet = rng.choice(ALPHABETS)
                parts.append("".join(rng.choice(alphabet) for _ in range(rng.randint(1, 6))))
            if rng.random() < 0.4:
                parts.append(" ")
        texts.append("".join(parts))
    return texts


def byte_alphabet():
    return sorted(pre_tokenizers.ByteLevel.alphabet())


def train_bpe(pre, normalizer=None, size=800, specials=("<unk>", "<s>", "</s>"), alphabet=None, **options):
    t = Tokenizer(models.BPE(**options))
    t.pre_tokenizer = pre
    if normalizer:
        t.normalizer = normalizer
    t.train_from_iterator(training_text(), trainers.BpeTrainer(
        vocab_size=size, special_tokens=list(specials), show_progress=False,
        initial_alphabet=alphabet if alphabet is not None else byte_alphabet()))
    return t


def byte_level_bpe(pattern=None, **options):
    """A byte-level BPE as most models have it."""
    pre = (pre_tokenizers.ByteLevel(add_prefix_space=False) if pattern is None else pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(pattern), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]))
    t = train_bpe(pre, **options)
    t.decoder = decoders.ByteLevel()
    return t


def spm_vocab():
    """A trained vocabulary in SentencePiece's manner, with byte tokens: as (vocab, merges)."""
    trained = json.loads(train_bpe(pre_tokenizers.Metaspace(), size=900, specials=(), alphabet=[]).to_str())["model"]
    vocab = {"<unk>": 0, "<s>": 1, "</s>": 2}
    for i in range(256):
        vocab[f"<0x{i:02X}>"] = len(vocab)
    for token in trained["vocab"]:
        if token not in ("好", "世", "к"):  # some characters fall back to bytes
            vocab.setdefault(token, len(vocab))
    merges = [tuple(m) for m in trained["merges"] if all(p in vocab for p in m) and "".join(m) in vocab]
    for run in ("▁▁", "▁▁▁▁", "aa", "aaaa"):
        vocab.setdefault(run, len(vocab))
        merges.append((run[:len(run) // 2], run[len(run) // 2:]))
    return vocab, merges


def spm_bpe(normalizer, pre=None, decoder=None, fuse_unk=True, byte_fallback=True):
    vocab, merges = spm_vocab()
    t = Tokenizer(models.BPE(vocab, merges, unk_token="<unk>", fuse_unk=fuse_unk, byte_fallback=byte_fallback))
    if normalizer:
        t.normalizer = normalizer
    if pre:
        t.pre_tokenizer = pre
    t.decoder = decoder or decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
                                              decoders.Strip(" ", 1, 0)])
    t.add_special_tokens(["<s>", "</s>"])
    return t


def unigram(byte_fallback=False):
    t = Tokenizer(models.Unigram())
    t.pre_tokenizer = pre_tokenizers.Metaspace()
    t.train_from_iterator(training_text(), trainers.UnigramTrainer(
        vocab_size=400, special_tokens=["<unk>", "<s>", "</s>"], unk_token="<unk>", show_progress=False))
    model = json.loads(t.to_str())["model"]
    vocab = [tuple(v) for v in model["vocab"]]
    if byte_fallback:
        vocab += [(f"<0x{i:02X}>", 0.0) for i in range(256)]
    return vocab


def visible():
    """A model that shows every byte of every piece and where pieces end."""
    vocab = {}
    for c in byte_alphabet():
        vocab[c] = len(vocab)
        vocab[c + "</w>"] = len(vocab)
    return Tokenizer(models.BPE(vocab, [], end_of_word_suffix="</w>"))


def show_pieces(pre):
    t = visible()
    t.pre_tokenizer = pre_tokenizers.Sequence([pre, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    return t


def show_normalized(normalizer):
    t = visible()
    t.normalizer = normalizer
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return t


def charsmap(pairs):
    """A SentencePiece charsmap: a double-array trie as darts-clone lays it out, built the slow and simple way."""
    texts, offset_of = b"", {}
    for _, to in pairs:
        if to not in offset_of:
            offset_of[to] = len(texts)
            texts += to.encode() + b"\0"
    trie = {}
    for key, to in pairs:
        node = trie
        for byte in key.encode():
            node = node.setdefault(byte, {})
        node[-1] = offset_of[to]
    units = {0: 0}
    taken, used_offsets = {0}, set()

    def place(node, at):
        labels = sorted(0 if label == -1 else label for label in node)
        base = 1
        while (base in used_offsets or any((base ^ label) in taken for label in labels)
               or (at ^ base) >= 1 << 21):
            base += 1
        used_offsets.add(base)
        units[at] = units.get(at, 0) | (at ^ base) << 10 | (1 << 8 if -1 in node else 0)
        for label in labels:
            taken.add(base ^ label)
        for label, child in node.items():
            if label == -1:
                units[base] = 1 << 31 | child
            else:
                units[base ^ label] = label
        for label, child in node.items():
            if label != -1:
                place(child, base ^ label)

    place(trie, 0)
    array = [units.get(i, 0) for i in range(max(units) + 256)]
    blob = struct.pack("<I", 4 * len(array)) + struct.pack(f"<{len(array)}I", *array) + texts
    return base64.b64encode(blob).decode()


def with_json(tokenizer, **changes):
    o = json.loads(tokenizer.to_str())
    for path, value in changes.items():
        node = o
        *parents, last = path.split("__")
        for p in parents:
            node = node[p]
        if value is ...:
            node.pop(last, None)
        else:
            node[last] = value
    return json.dumps(o, ensure_ascii=False)


def bpe_cases():
    yield "bpe_gpt2", byte_level_bpe()
    for name in ("llama3", "qwen2", "o200k"):
        yield f"bpe_{name}", byte_level_bpe(PATTERNS[name], normalizer=normalizers.NFC() if name == "qwen2" else None)
    t = byte_level_bpe()
    yield "bpe_ignore_merges", with_json(t, model__ignore_merges=True)
    yield "bpe_merges_as_strings", with_json(t, model__merges=[" ".join(m) for m in json.loads(t.to_str())["model"]["merges"]])
    yield "bpe_without_type", with_json(t, model__type=...)
    # A token that merging its characters would not give: only ignore_merges may take it whole.
    o = json.loads(t.to_str())
    o["model"]["vocab"]["helloworld"] = len(o["model"]["vocab"])
    o["model"]["vocab"]["Ġworldly"] = len(o["model"]["vocab"])
    yield "bpe_unreachable_token", json.dumps(o)
    o["model"]["ignore_merges"] = True
    yield "bpe_unreachable_token_ignore_merges", json.dumps(o)
    # Of equal merges the last counts.
    o = json.loads(t.to_str())
    o["model"]["merges"] += o["model"]["merges"][:40][::-1]
    yield "bpe_repeated_merges", json.dumps(o)
    t = train_bpe(pre_tokenizers.ByteLevel(add_prefix_space=True), size=600)
    t.decoder = decoders.ByteLevel()
    t.post_processor = processors.ByteLevel(trim_offsets=True)
    yield "bpe_prefix_space", t
    t = train_bpe(pre_tokenizers.WhitespaceSplit(), specials=("<unk>",), alphabet=[], unk_token="<unk>",
                  end_of_word_suffix="</w>")
    t.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()])
    t.decoder = decoders.BPEDecoder("</w>")
    yield "bpe_word_suffix", t
    t = train_bpe(pre_tokenizers.Whitespace(), specials=("[UNK]",), alphabet=[], unk_token="[UNK]",
                  continuing_subword_prefix="##")
    t.decoder = decoders.WordPiece("##", cleanup=True)
    yield "bpe_subword_prefix", t
    yield "bpe_unk_not_fused", train_bpe(pre_tokenizers.Whitespace(), size=300, specials=("<unk>",), alphabet=[],
                                         unk_token="<unk>")
    yield "bpe_no_unk", train_bpe(pre_tokenizers.Whitespace(), size=300, specials=("<unk>",), alphabet=[])
    t = Tokenizer(models.BPE({c: i for i, c in enumerate(byte_alphabet())}, []))
    t.normalizer = normalizers.ByteLevel()
    t.pre_tokenizer = pre_tokenizers.Split(Regex(r"Ġ?[A-Za-z]+"), "isolated")
    t.decoder = decoders.ByteLevel()
    yield "bpe_byte_level_normalizer", t


def spm_cases():
    legacy = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    yield "spm_legacy", spm_bpe(legacy)
    yield "spm_unk_not_fused", spm_bpe(legacy, fuse_unk=False, byte_fallback=False)
    yield "spm_unk_fused", spm_bpe(legacy, fuse_unk=True, byte_fallback=False)
    metaspace = decoders.Sequence([decoders.Metaspace(), decoders.ByteFallback(), decoders.Fuse()])
    for scheme in ("first", "always", "never"):
        for split in (False, True):
            yield f"spm_metaspace_{scheme}_{'split' if split else 'whole'}", spm_bpe(
                None, pre_tokenizers.Metaspace("▁", scheme, split),
                decoders.Metaspace("▁", scheme, split) if split else metaspace)
    yield "spm_strip_metaspace_first", spm_bpe(normalizers.Strip(left=True, right=True),
                                               pre_tokenizers.Metaspace("▁", "first", False))
    gemma = spm_bpe(normalizers.Replace(" ", "▁"), pre_tokenizers.Split(" ", "merged_with_previous"),
                    decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]))
    for n in (2, 3, 5):
        gemma.add_tokens([AddedToken("\n" * n, normalized=False)])
    gemma.add_tokens([AddedToken("▁" * 3, normalized=False), AddedToken("<b>", normalized=False)])
    yield "spm_gemma", gemma
    o = json.loads(spm_bpe(legacy).to_str())
    for i in range(0x80, 0x100):
        del o["model"]["vocab"][f"<0x{i:02X}>"]
    yield "spm_half_of_the_bytes", json.dumps(o)
    # Merges of byte tokens: nothing may be cut.
    vocab, merges = spm_vocab()
    vocab["<0xF0><0x9F>"] = len(vocab)
    merges.append(("<0xF0>", "<0x9F>"))
    t = Tokenizer(models.BPE(vocab, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    t.normalizer = legacy
    yield "spm_merged_bytes", t


def unigram_cases():
    vocab = unigram()
    t = Tokenizer(models.Unigram(vocab, 0))
    t.pre_tokenizer = pre_tokenizers.Metaspace()
    t.decoder = decoders.Metaspace()
    t.post_processor = processors.TemplateProcessing(single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 2)])
    t.add_special_tokens(["<s>", "</s>"])
    yield "unigram", t
    pairs = [("ﬁ", "fi"), ("½", "1/2"), ("Å", "Å"), ("\u3000", " "), ("\u200b", ""), ("Ａ", "A"), ("\t", " "), ("\n", " "),
             ("é", "é"), ("e\u0301", "é"), ("㎏", "kg"), ("ſ", "s"), ("İ", "i̇"), ("…", "...")]
    t.normalizer = normalizers.Sequence([normalizers.Precompiled(base64.b64decode(charsmap(pairs))),
                                         normalizers.Replace(Regex(" {2,}"), " ")])
    yield "unigram_t5", t
    t = Tokenizer(models.Unigram(unigram(byte_fallback=True), 0, True))
    t.normalizer = normalizers.Sequence([normalizers.Nmt(), normalizers.NFKC()])
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    t.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()])
    yield "unigram_byte_fallback", t
    t = Tokenizer(models.Unigram([("<unk>", 0.0), ("a", -1.0), ("b", -1.0), ("ab", -2.0), ("ba", -2.0), ("aba", -3.0),
                                  ("é", -1.5), ("xy", -1.0), (" ", -1.0)], 0))
    yield "unigram_ties", t


def word_cases():
    t = Tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=20))
    t.normalizer = normalizers.BertNormalizer()
    t.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    t.train_from_iterator(training_text(), trainers.WordPieceTrainer(
        vocab_size=500, special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"], show_progress=False))
    t.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    t.decoder = decoders.WordPiece()
    yield "wordpiece_bert", t
    t = Tokenizer(models.WordLevel({w: i for i, w in enumerate(["[UNK]"] + sorted(set(WORDS)))}, unk_token="[UNK]"))
    t.pre_tokenizer = pre_tokenizers.Whitespace()
    t.post_processor = processors.RobertaProcessing(("the", 5), ("of", 6), trim_offsets=False)
    yield "wordlevel", t
    t = Tokenizer(models.WordLevel({w: i for i, w in enumerate(["<pad>", "<unk>", "|", "'"] + list("abcdefgHELO '"[:11]))},
                                   unk_token="<unk>"))
    t.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    t.decoder = decoders.CTC()
    yield "wordlevel_ctc", t


def added_token_cases():
    t = byte_level_bpe()
    t.add_special_tokens(["<|endoftext|>", AddedToken("<mask>", lstrip=True, special=True),
                          AddedToken("<pad>", rstrip=True, special=True)])
    t.add_tokens([AddedToken("<a>", lstrip=True, rstrip=True), AddedToken("word", single_word=True), "new word",
                  AddedToken("\n\n", normalized=False), AddedToken("<|user|>", normalized=False), "<|user", "é",
                  AddedToken("İI", single_word=True)])
    yield "added_tokens", t
    t = byte_level_bpe(normalizer=normalizers.Sequence([normalizers.NFD(), normalizers.Lowercase(), normalizers.StripAccents()]))
    t.add_special_tokens([AddedToken("<S>", normalized=True, special=True), "<MASK>"])
    t.add_tokens([AddedToken("Yesterday", normalized=True), AddedToken("Hello", normalized=False),
                  AddedToken("Größe", normalized=True, single_word=True, rstrip=True)])
    yield "added_tokens_normalized", t
    t = spm_bpe(normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]))
    t.add_tokens([AddedToken("<|user|>", normalized=True), AddedToken("hello", normalized=True, lstrip=True)])
    t.add_special_tokens([AddedToken("<|end|>", rstrip=True)])
    t.post_processor = processors.Sequence([
        processors.ByteLevel(), processors.TemplateProcessing(
            single="<s>:0 $A:0 </s>:0", pair="<s> $A $B:1", special_tokens=[("<s>", 1), ("</s>", 2)])])
    yield "added_tokens_spm", t


def piece_cases():
    for name, pattern in PATTERNS.items():
        yield f"pattern_{name}", show_pieces(pre_tokenizers.Split(Regex(pattern), "isolated"))
    for behavior in ("removed", "isolated", "merged_with_previous", "merged_with_next", "contiguous"):
        for invert in (False, True):
            yield f"split_{behavior}{'_inverted' if invert else ''}", show_pieces(
                pre_tokenizers.Split(Regex(r"[\s\d]|x+"), behavior, invert))
        yield f"split_literal_{behavior}", show_pieces(pre_tokenizers.Split("a.", behavior))
        yield f"punctuation_{behavior}", show_pieces(pre_tokenizers.Punctuation(behavior))
    for individual in (False, True):
        yield f"digits_{individual}", show_pieces(pre_tokenizers.Digits(individual))
    yield "whitespace", show_pieces(pre_tokenizers.Whitespace())
    yield "whitespace_split", show_pieces(pre_tokenizers.WhitespaceSplit())
    yield "bert", show_pieces(pre_tokenizers.BertPreTokenizer())
    yield "delimiter", show_pieces(pre_tokenizers.CharDelimiterSplit("é"))
    yield "fixed_length", show_pieces(pre_tokenizers.FixedLength(3))
    yield "metaspace_always", show_pieces(pre_tokenizers.Metaspace())
    yield "metaspace_first", show_pieces(pre_tokenizers.Metaspace("_", "first"))
    yield "sequence", show_pieces(pre_tokenizers.Sequence([
        pre_tokenizers.Digits(True), pre_tokenizers.Sequence([pre_tokenizers.Punctuation(), pre_tokenizers.Metaspace("▁", "first")]),
        pre_tokenizers.Split(Regex(PATTERNS["deepseek3"]), "isolated")]))


def normalizer_cases():
    n = normalizers
    for name, normalizer in {
            "nfc": n.NFC(), "nfd": n.NFD(), "nfkc": n.NFKC(), "nfkd": n.NFKD(), "lowercase": n.Lowercase(),
            "strip": n.Strip(), "strip_left": n.Strip(right=False), "strip_right": n.Strip(left=False),
            "strip_accents": n.StripAccents(), "nmt": n.Nmt(), "prepend": n.Prepend("▁x"), "replace": n.Replace("a", "bb"),
            "replace_regex": n.Replace(Regex(r"\s+|x*y"), "_"), "byte_level": n.ByteLevel(), "bert": n.BertNormalizer(),
            "bert_cased": n.BertNormalizer(lowercase=False), "bert_accents": n.BertNormalizer(lowercase=False, strip_accents=True),
            "bert_little": n.BertNormalizer(clean_text=False, handle_chinese_chars=False),
            "sequence": n.Sequence([n.NFD(), n.StripAccents(), n.Lowercase(), n.Replace(" ", "▁"), n.NFKC()])}.items():
        yield f"normalizer_{name}", show_normalized(normalizer)
    # Which character a text begins with decides whether Metaspace's "first" applies.
    for name, normalizer in {"strip": n.Strip(), "replace": n.Replace(Regex(r"\s+"), "-"), "prepend": n.Prepend("é"),
                             "nfd": n.NFD(), "accents": n.Sequence([n.NFD(), n.StripAccents()]), "nmt": n.Nmt(),
                             "lower": n.Lowercase()}.items():
        t = show_pieces(pre_tokenizers.Metaspace("▁", "first"))
        t.normalizer = normalizer
        t.add_special_tokens(["<s>"])
        yield f"normalizer_{name}_metaspace_first", t


def decoder_cases():
    vocab, merges = spm_vocab()
    for name, decoder in {
            "none": None, "fuse": decoders.Fuse(), "strip_both": decoders.Strip("a", 1, 2), "replace_regex": decoders.Sequence([
                decoders.Fuse(), decoders.Replace(Regex(r"▁+"), "_")]),
            "replace_word": decoders.Replace("th", "þ"), "metaspace_never": decoders.Metaspace("▁", "never"),
            "bpe": decoders.BPEDecoder("a"), "wordpiece": decoders.WordPiece("▁", cleanup=True),
            "fuse_strip": decoders.Sequence([decoders.ByteFallback(), decoders.Fuse(), decoders.Strip("▁", 1, 1)]),
            "byte_fallback": decoders.ByteFallback(), "byte_level": decoders.ByteLevel(),
            "ctc": decoders.CTC("a", "▁", True), "ctc_plain": decoders.CTC("t", "▁", False)}.items():
        t = Tokenizer(models.BPE(vocab, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
        t.normalizer = normalizers.Replace(" ", "▁")
        if decoder:
            t.decoder = decoder
        yield f"decoder_{name}", t


def cases():
    for group in (bpe_cases, spm_cases, unigram_cases, word_cases, added_token_cases, piece_cases, normalizer_cases, decoder_cases):
        for name, tokenizer in group():
            yield name, tokenizer if isinstance(tokenizer, str) else tokenizer.to_str()


def main():
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    n = 0
    for name, text in cases():
        (out / f"{name}.json").write_text(text, encoding="utf-8")
        n += 1
    texts = make_texts(int(sys.argv[2]) if len(sys.argv) > 2 else 1, 400)
    (out / "texts.json").write_text(json.dumps(texts), encoding="utf-8")
    print(f"{n} tokenizers, {len(texts)} texts")


if __name__ == "__main__":
    main()
