"""verbatim batch and verbatim prove: many requests at once, each as if it were alone."""
import json
import signal
import subprocess

import pytest

from waiting import LIMIT_S

REQUESTS = [
    {"id": "story", "prompt": "Once upon a time", "max_tokens": 30, "logprobs": 2},
    {"id": "ids", "prompt_ids": [3064, 833, 826], "max_tokens": 12, "logprobs": 0, "ignore_eos": True},
    {"id": 7, "prompt": "The cat", "max_tokens": 20, "temperature": 0.9, "seed": 4, "top_p": 0.9, "logprobs": 1},
    {"id": None, "prompt": "The cat", "max_tokens": 20, "temperature": 0.9, "seed": 5, "top_k": 40, "logprobs": 1},
    {"prompt": "One day, one day, one day,", "max_tokens": 25, "repetition_penalty": 1.2, "logprobs": 1},
    {"id": "stop", "prompt": "Once upon a time", "max_tokens": 60, "stop": ["."], "logprobs": 0},
    {"id": "same beginning", "prompt": "Once upon a time, there lived", "max_tokens": 9, "logprobs": 1,
     "prompt_logprobs": 1},
    {"id": "short", "prompt": "Hello", "max_tokens": 1, "logprobs": 0},
]


def lines(result):
    return [json.loads(line, parse_float=str) for line in result.stdout.splitlines()]


def run_batch(verbatim, requests, *args):
    text = "".join(json.dumps(r) + "\n" for r in requests)
    result = verbatim("batch", "demo", "--input", "-", *args, stdin=text)
    assert result.returncode == 0, result.stderr
    return lines(result)


def alone(verbatim, request):
    args = []
    for key, value in request.items():
        if key in ("id", "prompt"):
            continue
        option = "--" + key.replace("_", "-")
        if key == "stop":
            args += [x for s in value for x in (option, s)]
        elif key == "prompt_ids":
            args += [option, ",".join(map(str, value))]
        else:
            args += [option] if value is True else [option, value]
    result = verbatim("run", "demo", *([request["prompt"]] if "prompt" in request else []), *args, "--json")
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout, parse_float=str)


SAME = ("prompt_ids", "ids", "text", "finish_reason", "logprobs", "prompt_logprobs")


def test_each_as_if_alone(verbatim):
    answers = run_batch(verbatim, REQUESTS)
    assert len(answers) == len(REQUESTS)
    for number, request in enumerate(REQUESTS, 1):
        name = request.get("id", number)
        (answer,) = [a for a in answers if a["id"] == name]
        want = alone(verbatim, request)
        assert {k: answer.get(k) for k in SAME} == {k: want.get(k) for k in SAME}, request


@pytest.mark.parametrize("args", [["--max-batch", 1], ["--max-batch", 3, "--prefill-chunk", 5], ["--threads", 1],
                                  ["--page-size", 8, "--prefix-cache", "off"], ["--speculate", "ngram"],
                                  ["--max-batch", 8, "--context", 128, "--kv-memory", "400k"]])
def test_schedules_do_not_matter(verbatim, args):
    by_id = lambda answers: {json.dumps(a["id"]): {k: a.get(k) for k in SAME} for a in answers}
    want = by_id(run_batch(verbatim, REQUESTS))
    assert by_id(run_batch(verbatim, list(reversed(REQUESTS[:4] + REQUESTS[5:])), *args)) == {
        k: v for k, v in want.items() if k != "5"}


def test_first_to_end_is_first(verbatim):
    answers = run_batch(verbatim, [{"id": "long", "prompt": "Once", "max_tokens": 200, "ignore_eos": True},
                                   {"id": "short", "prompt": "Once", "max_tokens": 2}])
    assert [a["id"] for a in answers] == ["short", "long"]


def test_wrong_lines_are_answered_and_the_rest_goes_on(verbatim, tmp_path):
    bad = ["{", "[]", '{"id": "no prompt"}', '{"id": "two", "prompt": "a", "prompt_ids": [1]}',
           '{"id": "type", "prompt": 3}', '{"id": "range", "prompt": "a", "top_p": 2}',
           '{"id": "token", "prompt_ids": [1, 99999999]}', '{"id": "stop", "prompt": "a", "stop": [1]}']
    (tmp_path / "in.jsonl").write_text("\n\n".join(bad + ['{"id": "good", "prompt": "Once", "max_tokens": 3}']))
    result = verbatim("batch", "demo", "--input", tmp_path / "in.jsonl")
    assert result.returncode == 1
    answers = lines(result)
    assert len(answers) == len(bad) + 1
    for answer in answers:
        if answer["id"] == "good":
            assert len(answer["ids"]) == 3
        else:
            assert answer["finish_reason"] == "error" and answer["error"]


WRONG = [
    ('{"prompt": "x",}', "not valid JSON: FILE, line 3 column 16: string or '}' expected near '}'"),
    ('{"prompt": "x"', "not valid JSON: FILE, line 3 column 14: '}' expected near end of file: it is cut short"),
    ("null", "not valid JSON: FILE, line 3 column 4: '[' or '{' expected near 'null'"),
    ("[1]", "not a request: FILE, line 3: expected a JSON object"),
    ('{"prompt": 3}', 'wrong type: FILE, line 3: key "prompt": expected a string, found integer'),
    ('{"prompt_ids": 3}', 'wrong type: FILE, line 3: key "prompt_ids": expected an array of integers, found integer'),
    ('{"prompt_ids": [1, -1]}', "not a token id: FILE, line 3: prompt_ids[1]: give a whole number from 0 on"),
    ('{"chat": "hi"}', 'wrong type: FILE, line 3: key "chat": expected an array of messages, found string'),
    ('{"prompt": "x", "max_tokens": 1.5}', 'wrong type: FILE, line 3: key "max_tokens": expected an integer, found number'),
    ('{"prompt": "x", "stop": 3}', 'wrong type: FILE, line 3: key "stop": expected a string, or an array of strings'),
    ("[" * 200, "JSON nested deeper than 128: FILE, line 3 column 129: flatten it"),
]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("wrong, says", WRONG)
def test_one_position_of_what_is_wrong(verbatim, tmp_path, wrong, says, end):
    """The file's, as an editor counts."""
    path = tmp_path / "requests.jsonl"
    path.write_bytes(end.join(['{"prompt": "Once", "max_tokens": 1}', "", wrong, ""]).encode())
    result = verbatim("batch", "demo", "--input", path)
    assert result.returncode == 1
    answer = next(a for a in lines(result) if a["finish_reason"] == "error")
    assert answer == {"id": 3, "line": 3, "finish_reason": "error", "error": says.replace("FILE", str(path))}


def test_a_byte_order_mark_is_no_request(verbatim):
    for end in ("\n", "\r\n", ""):
        result = verbatim("batch", "demo", "--input", "-", stdin="\ufeff" + '{"prompt": "Once", "max_tokens": 1}' + end)
        assert result.returncode == 0 and lines(result)[0]["text"] == " upon"


def test_an_enormous_line(verbatim):
    """It is refused with its numbers; the next one is answered."""
    text = json.dumps({"id": "huge", "prompt": "a " * 1_000_000}) + "\n" + '{"prompt": "Once", "max_tokens": 1}'
    result = verbatim("batch", "demo", "--input", "-", stdin=text)
    assert result.returncode == 1
    huge, good = lines(result)
    assert huge["id"] == "huge" and huge["error"].startswith("prompt too long: 1000002 tokens, the context holds 2048")
    assert good["text"] == " upon"


def test_a_full_disk_is_said_once(build):
    text = '{"prompt": "Once", "max_tokens": 1}\n' * 3
    with open("/dev/full", "w") as full:
        result = subprocess.run([build / "verbatim", "batch", "demo", "--input", "-"], input=text, stdout=full,
                                stderr=subprocess.PIPE, text=True)
    assert result.returncode == 1
    assert result.stderr == "verbatim: error: cannot write: standard output: No space left on device\n"


def test_unknown_keys_are_said_once(verbatim):
    requests = [{"prompt": "Once", "max_token": 3, "max_tokens": 2}] * 3 + [{"prompt": "Once", "label": 1, "max_tokens": 2}]
    text = "".join(json.dumps(r) + "\n" for r in requests)
    result = verbatim("batch", "demo", "--input", "-", stdin=text)
    assert result.returncode == 0 and len(lines(result)) == 4
    assert result.stderr == ('verbatim: warning: unknown key: standard input, line 1: "max_token" is passed over: did you mean "max_tokens"?\n')
    assert verbatim("batch", "demo", "--input", "-", stdin=text.splitlines()[3]).stderr == (
        'verbatim: warning: unknown key: standard input, line 1: "label" is passed over\n')
    assert "did you mean" not in verbatim("batch", "demo", "--input", "-", stdin=json.dumps({"x" * 1000: 1})).stderr


def test_no_requests(verbatim):
    for text in ("", "\n\n"):
        result = verbatim("batch", "demo", "--input", "-", stdin=text)
        assert result.returncode == 0 and result.stdout == ""
        assert result.stderr == "verbatim: warning: no requests: standard input: give a JSON object a line\n"


def test_wrong_usage(verbatim):
    result = verbatim("batch", "demo")
    assert result.returncode == 2 and "--input" in result.stderr
    result = verbatim("batch", "demo", "--input", "/nonexistent")
    assert result.returncode == 1 and "/nonexistent" in result.stderr


def test_interrupt(build):
    request = {"prompt": "Once", "max_tokens": 1900, "ignore_eos": True}
    process = subprocess.Popen([build / "verbatim", "batch", "demo", "--input", "-", "--cpu-isa", "scalar",
                                "--threads", "1"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)
    process.stdin.write(json.dumps({"prompt": "Once", "max_tokens": 1}) + "\n" + json.dumps(request) + "\n")
    process.stdin.close()
    assert process.stdout.readline()  # the short one has ended, the long one runs
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=LIMIT_S) == 130


# ---- prove ----

def test_prove(verbatim, cases):
    result = verbatim("prove", "demo", "--cases", cases, "--seed", 3, "--json")
    assert result.returncode == 0, result.stderr
    a = json.loads(result.stdout)
    assert a["cases"] == cases and a["differences"] == 0
    assert set(a["schedules"]) >= {"batch", "chunk", "page", "threads"}
    assert "equal bit for bit" in verbatim("prove", "demo", "--cases", 5).stdout
