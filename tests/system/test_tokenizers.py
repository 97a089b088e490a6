"""The tokeniser agrees with Hugging Face's tokenizers: ids and decoded text, component by component."""
import importlib.util
import struct
import subprocess
import unicodedata

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


def names(root_file=__file__):
    from pathlib import Path
    return [name for name, _ in load_cases_module(Path(root_file).resolve().parents[2]).cases()]


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


def compare(driver, t, requests):
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
        for answer, skip in ((plain, False), (skipped, True)):
            decoded = reference_decode(t, got, skip)
            if not decoded.startswith("! "):
                assert text_of(answer) == decoded, (text, got, skip)


@pytest.mark.parametrize("name", names())
def test_agrees(name, files, build, maker):
    path = files / f"{name}.json"
    t = tokenizers.Tokenizer.from_file(str(path))
    requests = []
    for seed in SEEDS:
        for i, text in enumerate(maker.make_texts(seed, TEXTS)):
            requests.append((text, (ADD_SPECIAL | PARSE_SPECIAL, PARSE_SPECIAL, 0)[i % 3]))
    compare(Driver(build, path), t, requests)


@pytest.mark.parametrize("name", [n for n in names() if not n.startswith(("pattern_", "normalizer_"))])
def test_decodes_any_ids(name, files, build, maker):
    """Ids that no encoding gives: broken UTF-8, specials in between, gaps."""
    import random
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


def every_code_point():
    """All that Unicode 14 (Python 3.11) or older assigns: later versions differ between libraries."""
    return [chr(c) for c in range(0x110000) if not 0xD800 <= c <= 0xDFFF
            and unicodedata.category(chr(c)) not in ("Cn", "Co")]


# What the reference's older Unicode tables or its own definitions make different, by component.
@pytest.mark.parametrize("name", [n for n in names() if n.startswith(("pattern_", "normalizer_")) or n in (
    "whitespace", "whitespace_split", "bert", "digits_True", "punctuation_isolated")])
def test_every_character(name, files, build, maker):
    path = files / f"{name}.json"
    t = tokenizers.Tokenizer.from_file(str(path))
    points = every_code_point()
    requests = []
    for i in range(0, len(points), 100):
        requests.append(("\n".join(f"a{c}b {c}." for c in points[i:i + 100]), PARSE_SPECIAL))
    compare(Driver(build, path), t, requests)
