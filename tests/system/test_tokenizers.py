"""The tokeniser agrees with Hugging Face's tokenizers: ids and decoded text, component by component."""
import importlib.util
import random
import struct
import subprocess
import unicodedata
from pathlib import Path

import pytest

tokenizers = pytest.importorskip("tokenizers")

SEEDS = (1, 2)
TEXTS = 400
ADD_SPECIAL, PARSE_SPECIAL = 1, 2


def load_cases_module(root):
    spec = importlib.util.spec_from_file_location("make_cases", root / "tools/tokenizers/make_cases.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

NAMES = [name for name, _ in load_cases_module(Path(__file__).resolve().parents[2]).cases()]


@pytest.fixture(scope="session")
def maker(root):
    return load_cases_module(root)


@pytest.fixture(scope="session")
def files(maker, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizers")
    for name, text in maker.cases():
        (folder / f"{name}.json").write_text(text, encoding="utf-8")
    return folder


class Driver:
    """Sends records to tests/tools/tokenize_driver.c and reads its answers."""

    def __init__(self, build, path):
        self.command = [str(build / "tests" / "tokenize_driver"), str(path)]

    def ask(self, records):
        data = b"".join(op.encode() + bytes([flags]) + struct.pack("<I", len(body)) + body for op, flags, body in records)
        run = subprocess.run(self.command, input=data, capture_output=True)
        assert run.returncode == 0, run.stdout[-500:].decode("utf-8", "replace") + run.stderr[-2000:].decode("utf-8", "replace")
        lines = run.stdout.decode("utf-8").split("\n")[:-1]
        answers, at = [], 0
        for op, _, _ in records:
            n = 3 if op == "e" else 2
            answers.append(lines[at:at + n])
            at += n
        assert at == len(lines)
        return answers


def text_of(line):
    return line if line.startswith("!") else bytes.fromhex(line).decode("utf-8")


def reference_encode(t, text, flags):
    t.encode_special_tokens = not flags & PARSE_SPECIAL
    try:
        return t.encode(text, add_special_tokens=bool(flags & ADD_SPECIAL)).ids
    except Exception as error:  # tokenizers raises plain Exception
        return f"! {error}"


def reference_decode(t, ids, skip):
    try:
        return t.decode(ids, skip_special_tokens=skip)
    except BaseException as error:  # a panic of the reference is no Exception
        return f"! {error}"


def compare(driver, t, requests, decode=True):
    """`requests`: (text, flags). Refusals must agree, too; their words need not."""
    answers = driver.ask([("e", flags, text.encode()) for text, flags in requests])
    for (text, flags), (ids, plain, skipped) in zip(requests, answers):
        want = reference_encode(t, text, flags)
        if isinstance(want, str):
            assert ids.startswith("!"), (text, flags, want, ids)
            continue
        assert not ids.startswith("!"), (text, flags, ids)
        got = [int(i) for i in ids.split()]
        assert got == want, (text, flags)
        if not decode:
            continue
        for answer, skip in ((plain, False), (skipped, True)):
            decoded = reference_decode(t, got, skip)
            if not decoded.startswith("! "):
                assert text_of(answer) == decoded, (text, got, skip)


@pytest.mark.parametrize("name", NAMES)
def test_agrees(name, files, build, maker):
    path = files / f"{name}.json"
    t = tokenizers.Tokenizer.from_file(str(path))
    requests = []
    for seed in SEEDS:
        for i, text in enumerate(maker.make_texts(seed, TEXTS)):
            requests.append((text, (ADD_SPECIAL | PARSE_SPECIAL, PARSE_SPECIAL, 0)[i % 3]))
    compare(Driver(build, path), t, requests)


@pytest.mark.parametrize("name", [n for n in NAMES if not n.startswith(("pattern_", "normalizer_"))])
def test_decodes_any_ids(name, files, build, maker):
    """Ids that no encoding gives: broken UTF-8, specials in between, gaps."""
    path = files / f"{name}.json"
    t = tokenizers.Tokenizer.from_file(str(path))
    rng = random.Random(7)
    size = max(t.get_vocab().values()) + 1
    lists = [[]] + [[rng.randrange(size) for _ in range(rng.randint(1, 12))] for _ in range(300)]
    answers = Driver(build, path).ask([("d", 0, struct.pack(f"<{len(ids)}i", *ids)) for ids in lists])
    for ids, (plain, skipped) in zip(lists, answers):
        for answer, skip in ((plain, False), (skipped, True)):
            want = reference_decode(t, ids, skip)
            if not want.startswith("! "):
                assert text_of(answer) == want, (ids, skip)


# What Unicode 15.0 added. PCRE2 10.42 knows 14.0, as Python 3.11 does; Python 3.12 knows these too.
UNICODE_15 = ((0xCF3, 0xCF3), (0xECE, 0xECE), (0x10EFD, 0x10EFF), (0x1123F, 0x11241), (0x11B00, 0x11B09), (0x11F00, 0x11F59),
              (0x1342F, 0x1342F), (0x13439, 0x13455), (0x1B132, 0x1B132), (0x1B155, 0x1B155), (0x1D2C0, 0x1D2D3),
              (0x1DF25, 0x1DF2A), (0x1E030, 0x1E08F), (0x1E4D0, 0x1E4F9), (0x1F6DC, 0x1F6DC), (0x1F774, 0x1F776),
              (0x1F77B, 0x1F77F), (0x1F7D9, 0x1F7D9), (0x1FA75, 0x1FA77), (0x1FA87, 0x1FA88), (0x1FAAD, 0x1FAAF),
              (0x1FABB, 0x1FABD), (0x1FABF, 0x1FABF), (0x1FACE, 0x1FACF), (0x1FADA, 0x1FADB), (0x1FAE8, 0x1FAE8),
              (0x1FAF7, 0x1FAF8), (0x31350, 0x323AF))


def code_points(since_unicode_3):
    """Characters to try one by one, without the midst of the large uniform blocks. Where the reference keeps tables of
    its own, older than ours, only those whose category has been the same since Unicode 3.2."""
    blocks = ((0x3500, 0x4D00), (0x4F00, 0x9F00), (0xAC50, 0xD700), (0xD800, 0xDFFF), (0x17100, 0x18C00), (0x20100, 0x2F700),
              (0x30100, 0x31300))
    if unicodedata.unidata_version > "15.0.0":
        pytest.skip(f"Python's Unicode {unicodedata.unidata_version} has characters that PCRE2 10.42 does not know")
    if unicodedata.unidata_version == "15.0.0":
        blocks += UNICODE_15
    points = []
    for c in range(0x110000):
        category = unicodedata.category(chr(c))
        old = unicodedata.ucd_3_2_0.category(chr(c))
        if category in ("Cn", "Co") or any(low <= c <= high for low, high in blocks) or (since_unicode_3 and old != category):
            continue
        points.append(chr(c))
    return points


# True: the reference's tables (of unicode-normalization-alignments and unicode_categories) are older than ours.
EVERY_CHARACTER = {
    "normalizer_nfc": False, "normalizer_nfd": True, "normalizer_nfkc": True, "normalizer_lowercase": False,
    "normalizer_strip_accents": True, "normalizer_nmt": False, "normalizer_bert": True, "whitespace": False, "bert": True,
    "digits_True": False, "pattern_word": False, "pattern_posix_more": False, "pattern_boundary": False,
    "pattern_gpt2": False, "pattern_o200k": False, "pattern_kimi": False,
}


@pytest.mark.parametrize("name", EVERY_CHARACTER)
def test_every_character(name, files, build):
    path = files / f"{name}.json"
    t = tokenizers.Tokenizer.from_file(str(path))
    points = code_points(EVERY_CHARACTER[name])
    compare(Driver(build, path), t, [("\n".join(f"a{c}b {c}." for c in points[i:i + 100]), PARSE_SPECIAL)
                                     for i in range(0, len(points), 100)], decode=False)
