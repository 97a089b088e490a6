"""docs/API.md against the program: every option and every key of an answer is told, and its C programs do what it says."""
import json
import os
import re
import subprocess

import pytest

COMMANDS = ["run", "batch", "prove", "explain", "bench", "bench attention", "bench linear", "bench limits", "tokenize", "detokenize",
            "template", "quantize", "inspect"]


@pytest.fixture(scope="module")
def api(root):
    return (root / "docs/API.md").read_text()


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_told(verbatim, api, command):
    help_text = verbatim(*command.split(), "--help-all").stdout
    options = re.findall(r"^ +(?:-\w, )?(--[a-z-]+)", help_text, re.M)
    assert "--json" in options and "--config" in options
    assert [o for o in options if not re.search(o + r"\b(?!-)", api)] == []


def section(api, title):
    """Of the commands, up to the next title."""
    return re.search(rf"^### {title}.*?(?=^###? |\Z)", api[api.index("## The commands"):], re.M | re.S).group()


def keys(answer, passed_over):
    if isinstance(answer, dict):
        for key, value in answer.items():
            yield key
            if key not in passed_over:
                yield from keys(value, passed_over)
    elif isinstance(answer, list):
        for value in answer:
            yield from keys(value, passed_over)


BENCH = ["--prompt-tokens", 8, "--decode-tokens", 3, "--repeat", 1]
ANSWERS = [
    ("run", ["run", "models/demo", "Once", "--max-tokens", 2, "--logprobs", 1, "--prompt-logprobs", 0]),
    ("explain", ["explain", "models/demo"]),
    ("quantize", ["quantize", "models/demo", "OUT", "--to", "q4"]),
    ("inspect", ["inspect", "models/demo"]),
    ("prove", ["prove", "models/demo", "--cases", 4]),
    ("bench", ["bench", "models/demo", *BENCH]),
    ("bench", ["bench", "models/demo", *BENCH, "--profile"]),
    ("bench", ["bench", "models/demo", "--speculate", "ngram", "--decode-tokens", 8, "--repeat", 1]),
    ("bench", ["bench", "linear", "--m", 4, "--n", 32, "--k", 32, "--repeat", 1]),
    ("bench", ["bench", "attention", "--kv-len", 64, "--repeat", 1]),
    ("bench", ["bench", "limits"]),
    ("tokenize", ["tokenize", "models/demo", "Once"]),
    ("tokenize", ["detokenize", "models/demo", "1,2"]),
]


@pytest.mark.parametrize("title, command", ANSWERS)
def test_every_key_is_told(verbatim, root, api, tmp_path, title, command):
    command = [tmp_path / "out" if word == "OUT" else word for word in command]
    result = verbatim(*command, "--json", cwd=root)
    assert result.returncode == 0, result.stderr
    found = set(keys(json.loads(result.stdout), {"config", "min", "median", "max"}))
    told = section(api, title)
    assert [k for k in found if f'"{k}"' not in told and f"`{k}`" not in told] == []


def test_every_key_of_a_batch_is_told(verbatim, api, root):
    requests = re.search(r"```json\n(.*?)```", section(api, "batch"), re.S).group(1)
    result = verbatim("batch", "models/demo", "--input", "-", stdin=requests, cwd=root)
    assert result.returncode == 1
    answers = {a["id"]: a for a in map(json.loads, result.stdout.splitlines())}
    told = section(api, "batch")
    assert json.dumps(answers["c"]).replace("standard input", "FILE") in told
    assert f'"text": {json.dumps(answers["a"]["text"])}' in told and f'"ids": {answers["a"]["ids"]}' in told


# The programs of the document, and what they print.
PROGRAMS = {
    "one": (["\n16 tokens, length\n"]),
    "many": (["The little fox ->", "One day, a king ->", "In the garden ->"]),
    "tokens": (["3064 833 826 258 488 Once upon a time\n"]),
    "attention": ([": 0 0.5 1\n"]),
}


def test_programs_are_these(api):
    assert re.findall(r"```c\n/\* (\w+)\.c \*/", api) == list(PROGRAMS)


@pytest.mark.parametrize("name", PROGRAMS)
def test_program(api, root, build, sanitized, tmp_path, name):
    if sanitized:
        pytest.skip("a library with sanitizers links into programs with sanitizers only")
    source, program = tmp_path / f"{name}.c", tmp_path / name
    source.write_text(re.search(rf"```c\n(/\* {name}\.c \*/.*?)```", api, re.S).group(1))
    subprocess.run(["cc", "-std=c11", "-Wall", "-Wextra", "-Werror", "-I", root / "include", source, "-o", program,
                    f"-L{build}", "-lverbatim"], check=True)
    out = subprocess.run([program], capture_output=True, text=True, cwd=root, env=dict(os.environ, LD_LIBRARY_PATH=str(build)))
    assert out.returncode == 0, out.stderr
    for words in PROGRAMS[name]:
        assert words in out.stdout
