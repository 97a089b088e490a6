"""The law, seen from outside: the answer's bits do not depend on threads, on chunks, or on pages."""
import itertools
import json

import pytest

SCHEDULES = list(itertools.product((1, 2), (1, 7, 64), (1, 16, 64)))  # threads, prefill chunk, page size


def log_probs(verbatim, args, threads, chunk, page):
    """The ids and the text of all log-probabilities: 9 digits, so equal text is equal bits."""
    result = verbatim("run", *args, "--json", "--logprobs", 3, "--prompt-logprobs", 3, "--threads", threads,
                      "--prefill-chunk", chunk, "--page-size", page)
    assert result.returncode == 0, result.stderr
    a = json.loads(result.stdout, parse_float=str)
    return a["ids"], a["logprobs"], a["prompt_logprobs"]


PROMPT = "Once upon a time, in a small house by the sea, there lived a quiet boy. One day he went to the forest. " * 2
IDS = ",".join(str((i * 37 + 11) % 97) for i in range(75))
GOLDEN = ["--prompt-ids", IDS, "--ignore-eos", "--max-tokens", 12]

MODELS = {
    "demo, greedy": ["demo", PROMPT, "--max-tokens", 16],
    "demo, sampled": ["demo", PROMPT, "--max-tokens", 16, "--temperature", "0.9", "--top-p", "0.95", "--seed", 7],
    "windows and softcaps": ["tests/golden/gemma2-window7", *GOLDEN],
    "window": ["tests/golden/mistral-window7", *GOLDEN],
    "biases": ["tests/golden/qwen2-untied-gqa7", *GOLDEN],
    "f32": ["demo", PROMPT, "--max-tokens", 8, "--dtype", "f32"],
}


@pytest.mark.parametrize("name", MODELS)
def test_schedules(verbatim, root, name):
    args = [root / a if str(a).startswith("tests/") else a for a in MODELS[name]]
    want = log_probs(verbatim, args, *SCHEDULES[0])
    assert len(want[0]) > 4
    for schedule in SCHEDULES[1:]:
        assert log_probs(verbatim, args, *schedule) == want, f"threads, chunk, page = {schedule}"


REPEATING = "one two three one two three one two three one two"


@pytest.mark.parametrize("guess", [["ngram"], ["ngram", "--draft-tokens", 2], ["ngram", "--draft-tokens", 7], ["draft"],
                                   ["draft", "--draft-tokens", 1], ["draft", "--draft-tokens", 5]])
@pytest.mark.parametrize("sampling", [[], ["--temperature", "0.8", "--seed", 5]])
def test_speculation(verbatim, root, guess, sampling):
    """Guesses change how fast tokens come, not which: greedy or sampled, with every bit of the log-probabilities."""
    draft = ["--draft-model", root / "models/demo/draft"] if guess[0] == "draft" else []
    for prompt in (PROMPT, REPEATING):
        args = ["demo", prompt, "--max-tokens", 40, "--logprobs", 3, "--json", *sampling]
        want = json.loads(verbatim("run", *args).stdout, parse_float=str)
        result = verbatim("run", *args, "--speculate", *guess, *draft)
        assert result.returncode == 0, result.stderr
        got = json.loads(result.stdout, parse_float=str)
        assert got["ids"] == want["ids"] and got["logprobs"] == want["logprobs"] and got["text"] == want["text"]
        assert got["speculation"]["method"] == guess[0]
        assert 0 <= got["speculation"]["accepted"] <= got["speculation"]["proposed"]


def test_speculation_guesses_something(verbatim, root):
    args = ["demo", PROMPT, "--max-tokens", 60, "--ignore-eos", "--json", "--speculate", "draft", "--draft-tokens", 3]
    a = json.loads(verbatim("run", *args, "--draft-model", root / "models/demo/draft").stdout)
    assert a["speculation"]["accepted"] > 0
    assert a["speculation"]["steps"] < 60


@pytest.mark.parametrize("isa", ["scalar", "avx2", "avx512"])
def test_instruction_sets(verbatim, isa):
    """Each level keeps the law; levels may differ from each other in the last bits, not more."""
    facts = json.loads(verbatim("explain", "--json").stdout)["facts"]["cpu"]["isa"]
    if isa != "scalar" and not any(name.startswith(isa) for name in facts):
        pytest.skip(f"this CPU has no {isa}")
    args = ["demo", PROMPT, "--max-tokens", 8, "--cpu-isa", isa]
    assert log_probs(verbatim, args, 2, 7, 16) == log_probs(verbatim, args, 1, 64, 64)
    # In f32 nothing is rounded but sums: orders of summation differ by a few units of the last of 24 bits.
    exact = log_probs(verbatim, [*args, "--dtype", "f32"], 1, 64, 64)
    best = log_probs(verbatim, [*args[:-2], "--dtype", "f32"], 1, 64, 64)
    assert exact[0] == best[0]
    for a, b in zip(exact[2][1:], best[2][1:]):
        assert float(a["logprob"]) == pytest.approx(float(b["logprob"]), abs=1e-4)
