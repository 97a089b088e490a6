"""The command line itself: help, options, errors, exit codes, streams."""
import json
import os
import pty
import re
import signal
import subprocess

import pytest

from waiting import LIMIT_S, wait_until_it_catches, wait_until_it_computed

COMMANDS = ["run", "explain", "bench", "bench attention", "bench linear", "bench limits", "tokenize", "detokenize",
            "template", "inspect", "batch", "prove"]
LATER = ["chat", "serve"]


def check_error(result, status, *words):
    """One line on stderr that says what, where and what to do; nothing on stdout."""
    assert result.returncode == status, result.stderr
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("verbatim: error: ")
    for word in words:
        assert word in lines[0]


# ---- Help ----

@pytest.mark.parametrize("args", [[], ["help"], ["--help"], ["-h"]])
def test_short_help(verbatim, args):
    result = verbatim(*args)
    assert result.returncode == 0 and result.stderr == ""
    assert len(result.stdout.splitlines()) < 25
    for command in COMMANDS:
        assert f"  {command} " in result.stdout
    for command in LATER:
        assert not re.search(rf"^  {command}\b", result.stdout, re.M)


def test_version(verbatim):
    assert re.fullmatch(r"verbatim \d+\.\d+\.\d+\n", verbatim("--version").stdout)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command(verbatim, command):
    short, all_ = verbatim(*command.split(), "--help"), verbatim(*command.split(), "--help-all")
    for result in (short, all_):
        assert result.returncode == 0 and result.stderr == ""
        assert result.stdout.startswith(f"Usage: verbatim {command}")
        assert max(map(len, result.stdout.splitlines())) <= 80
    assert len(short.stdout.splitlines()) < 60
    options = lambda text: set(re.findall(r"^ +(?:-h, )?(--[a-z-]+)", text, re.M))
    assert options(short.stdout) < options(all_.stdout)
    assert "--config" in options(all_.stdout)
    assert verbatim("help", *command.split()).stdout == short.stdout


# ---- Wrong usage: status 2 ----

@pytest.mark.parametrize("command", LATER)
def test_not_in_this_version(verbatim, command):
    check_error(verbatim(command), 2, "not in this version", command)


@pytest.mark.parametrize("args, near", [
    (["rnu"], "did you mean run?"),
    (["inspekt"], "did you mean inspect?"),
    (["run", "--temprature", "1"], "--temperature?"),
    (["run", "--max-token", "1"], "--max-tokens?"),
    (["run", "--max-token=1"], "--max-tokens?"),
    (["run", "--thread", "1"], "--threads?"),
    (["run", "--max_tokens", "1"], "--max-tokens?"),
    (["bench", "--repeats", "1"], "--repeat?"),
    (["bench", "linear", "--kk", "1"], "--k?"),
    (["tokenize", "demo", "--no-such-thing"], "--help-all"),
    (["run", "-x"], "--help"),
])
def test_nearest_name(verbatim, args, near):
    check_error(verbatim(*args), 2, "unknown", near)


@pytest.mark.parametrize("args, words", [
    (["run", "--threads", "0"], ["--threads 0", "1 to 4096"]),
    (["run", "--threads", "two"], ["--threads two"]),
    (["run", "--top-p", "1.5"], ["--top-p 1.5", "0 to 1"]),
    (["run", "--top-p", "nan"], ["--top-p nan"]),
    (["run", "--temperature", "-1"], ["--temperature -1"]),
    (["run", "--seed", "-1"], ["--seed -1"]),
    (["run", "--seed", "18446744073709551616"], ["--seed"]),
    (["run", "--kv-memory", "1.5X"], ["--kv-memory 1.5X", "512M"]),
    (["run", "--max-tokens", "99999G"], ["--max-tokens"]),
    (["run", "--cpu-isa", "avx1"], ["--cpu-isa avx1", "auto|scalar|avx2|avx512|amx"]),
    (["run", "--prefix-cache", "maybe"], ["--prefix-cache maybe", "on or off"]),
    (["run", "--draft-tokens", "many"], ["--draft-tokens many", "auto"]),
    (["run", "--stop", ""], ["--stop"]),
    (["run", "--max-tokens"], ["value missing", "--max-tokens N"]),
    (["run", "--json=yes"], ["takes no value", "--json"]),
    (["run", "a", "b", "c"], ["one argument too many", "'c'"]),
    (["bench", "--batch", "1,x"], ["--batch 1,x"]),
    (["tokenize"], ["argument missing", "MODEL"]),
    (["run", "demo", "x", "--prompt-ids", "1"], ["two prompts"]),
    (["run", "demo", "--chat", "--prompt-ids", "1"], ["--chat"]),
    (["run", "demo", "x", "--system", "y"], ["--system", "--chat"]),
    (["run", "demo", "--prompt-ids", "1,b"], ["not a token id: --prompt-ids, 'b'"]),
    (["run", "demo", "--prompt-ids", ""], ["no token ids: --prompt-ids"]),
    (["detokenize", "demo", "1,b"], ["not a token id: IDS, 'b'"]),
    (["run", "demo", "x", "--device", "tpu"], ["--device", "tpu"]),
    (["run", "demo", "x", "--page-size", "3"], ["--page-size", "power of two"]),
    (["run", "demo", "--prompt-ids", "1,99999999"], ["out of range", "99999999"]),
])
def test_wrong_usage(verbatim, args, words):
    check_error(verbatim(*args), 2, *words)


# ---- What is not there or broken: status 1 ----

@pytest.mark.parametrize("args, words", [
    (["run", "/nonexistent/model", "x"], ["no such model folder: /nonexistent/model: "]),
    (["run", "no-such-model", "x"], ["no such model folder: no-such-model: "]),
    (["run", "Once upon a time"], ["no such model folder: Once upon a time: ", "or demo; a prompt comes behind it"]),
    (["run", "/", "x"], ["no config.json: /: give a Hugging Face model folder"]),
    (["inspect", "/"], ["no config.json: /: give a Hugging Face model folder"]),
    (["inspect", "/nonexistent/model"], ["/nonexistent/model"]),
    (["run", "demo", "x", "--kv-memory", "1"], ["not enough memory", "are there: raise --kv-memory"]),
    (["run", "demo", "x", "--context", "2048", "--kv-memory", "1M"], ["lower --context (", "would fit) or raise --kv-memory"]),
    (["tokenize", "/nonexistent/model", "x"], ["/nonexistent/model"]),
    (["run", "demo", "--prompt-ids", "@/nonexistent"], ["/nonexistent", "No such file"]),
    (["explain", "--facts", "/nonexistent"], ["/nonexistent", "No such file"]),
    (["template", "demo", "--messages", "/nonexistent"], ["/nonexistent", "No such file"]),
    (["run", "demo", "x", "--context", "8", "--prompt-ids", "1"], ["two prompts"]),
])
def test_missing(verbatim, args, words):
    result = verbatim(*args)
    check_error(result, 2 if "two prompts" in result.stderr else 1, *words)


def test_broken_model(verbatim, demo, tmp_path):
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        (tmp_path / name).write_bytes((demo / name).read_bytes())
    check_error(verbatim("run", tmp_path, "x"), 1, "safetensors")
    whole = (demo / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[:100000])
    check_error(verbatim("run", tmp_path, "x"), 1, "model.safetensors", "fetch it again")
    (tmp_path / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 8264192\n")
    check_error(verbatim("run", tmp_path, "x"), 1, "model.safetensors", "git lfs pull")
    (tmp_path / "model.safetensors").write_bytes(b"<!DOCTYPE html>" + bytes(200))
    check_error(verbatim("run", tmp_path, "x"), 1, "model.safetensors", "no safetensors file")
    (tmp_path / "model.safetensors").write_bytes(whole)
    (tmp_path / "config.json").write_text('{"model_type": "llama", ')
    check_error(verbatim("run", tmp_path, "x"), 1, "config.json", "line 1")
    config = json.loads((demo / "config.json").read_text()) | {"model_type": "nonesuch", "architectures": ["Nonesuch"]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    check_error(verbatim("run", tmp_path, "x"), 1, "nonesuch")


def test_prompt_longer_than_context(verbatim):
    check_error(verbatim("run", "demo", "one two three four", "--context", 2), 1, "prompt too long", "--context")


# ---- --config ----

def test_config_file(verbatim, tmp_path):
    config = tmp_path / "verbatim.conf"
    config.write_text('# comment\nmax-tokens = 3\n\n  json=on\nignore-eos = on\nrepeat = 7\n')
    result = verbatim("run", "demo", "Once", "--config", config)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["usage"]["completion_tokens"] == 3
    # As some editors write it.
    config.write_bytes(b"\xef\xbb\xbfmax-tokens = 3\r\njson = on\r\n")
    assert json.loads(verbatim("run", "demo", "Once", "--config", config).stdout)["usage"]["completion_tokens"] == 3
    # The command line wins, wherever it stands.
    result = verbatim("run", "demo", "Once", "--max-tokens", 2, "--config", config)
    assert json.loads(result.stdout)["usage"]["completion_tokens"] == 2


@pytest.mark.parametrize("text, words", [
    ("max-token = 3\n", ["line 1", "max-token", "did you mean max-tokens?"]),
    ("\nmax-tokens\n", ["line 2", "name = value"]),
    ("max-tokens = many\n", ["line 1", "--max-tokens many"]),
    ("json = yes\n", ["line 1", "on or off"]),
    ("config = other\n", ["line 1", "config"]),
])
def test_bad_config_file(verbatim, tmp_path, text, words):
    (tmp_path / "c").write_text(text)
    check_error(verbatim("run", "demo", "x", "--config", tmp_path / "c"), 2, *words)


def test_missing_config_file(verbatim):
    check_error(verbatim("run", "demo", "x", "--config", "/nonexistent"), 2, "--config", "/nonexistent")


# ---- Streams ----

def run_on_terminal(program, env):
    """What the program writes when stdout and stderr are a terminal."""
    main, other = pty.openpty()
    full = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "TERM")}
    process = subprocess.Popen([str(p) for p in program], stdin=subprocess.DEVNULL, stdout=other, stderr=other,
                               env=dict(full, **env))
    os.close(other)
    text = b""
    while True:
        try:
            block = os.read(main, 65536)
        except OSError:
            break
        if not block:
            break
        text += block
    os.close(main)
    process.wait()
    return text.decode()


def test_colour(build, verbatim):
    program = [build / "verbatim", "explain"]
    assert "\033[" in run_on_terminal(program, {"TERM": "xterm"})
    assert "\033[" not in run_on_terminal(program, {"TERM": "xterm", "NO_COLOR": "1"})
    assert "\033[" not in run_on_terminal(program, {"TERM": "dumb"})
    assert "\033[" not in verbatim("explain", env={"TERM": "xterm"}).stdout
    wrong = [build / "verbatim", "rnu"]
    assert "\033[" in run_on_terminal(wrong, {"TERM": "xterm"})
    assert run_on_terminal(wrong, {"NO_COLOR": "1"}).startswith("verbatim: error: ")


def test_answers_and_statistics_apart(verbatim):
    result = verbatim("run", "demo", "Once upon a time", "--max-tokens", 8)
    assert result.returncode == 0
    assert "tok/s" in result.stderr and "tok/s" not in result.stdout
    assert result.stdout.strip()
    quiet = verbatim("run", "demo", "Once upon a time", "--max-tokens", 8, "--log-level", "error")
    assert quiet.stderr == "" and quiet.stdout == result.stdout
    told = verbatim("run", "demo", "Once upon a time", "--max-tokens", 8, "--log-level", "info")
    assert "models/demo: llama, bf16, weights bf16, on cpu" in told.stderr.splitlines()[0] and told.stdout == result.stdout
    as_json = verbatim("run", "demo", "Once upon a time", "--max-tokens", 8, "--json")
    assert as_json.stderr == ""


def test_prompt_from_stdin(verbatim):
    args = ["--max-tokens", 8, "--json"]
    want = json.loads(verbatim("run", "demo", "Once upon a time", *args).stdout)
    for more in ([], ["-"]):
        got = json.loads(verbatim("run", "demo", *more, *args, stdin="Once upon a time").stdout)
        assert got["prompt_ids"] == want["prompt_ids"] and got["ids"] == want["ids"]
    bare = json.loads(verbatim("run", *args, stdin="Once upon a time").stdout)
    assert bare["ids"] == want["ids"]


def test_full_disk(build):
    with open("/dev/full", "w") as full:
        result = subprocess.run([build / "verbatim", "run", "demo", "Once", "--max-tokens", "4"], stdout=full,
                                stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
    assert result.returncode == 1
    assert result.stderr.startswith("verbatim: error: cannot write: standard output: ")
    assert result.stderr.count("\n") == 1


def test_closed_output(build):
    result = subprocess.run(["sh", "-c", 'exec "$0" run demo Once --max-tokens 4 >&-', build / "verbatim"], stdin=subprocess.DEVNULL,
                            stderr=subprocess.PIPE, text=True)
    assert result.returncode == 1
    assert result.stderr == "verbatim: error: cannot write: standard output: it is closed\n"


@pytest.mark.parametrize("args", [["--help"], ["run", "demo", "Once", "--ignore-eos", "--max-tokens", "1000"],
                                  ["inspect", "demo"], ["inspect", "demo", "--json"]])
def test_reader_that_goes_away(build, args):
    """Quietly: no message, and no more work than needed to notice."""
    read, write = os.pipe()
    os.close(read)
    result = subprocess.run([build / "verbatim", *args], stdout=write, stderr=subprocess.PIPE,
                            stdin=subprocess.DEVNULL, text=True, timeout=LIMIT_S)
    os.close(write)
    assert result.returncode == 1
    assert result.stderr == ""


# Slow on purpose, so that there is something to interrupt.
SLOW = ["--ignore-eos", "--max-tokens", "1900", "--cpu-isa", "scalar", "--threads", "1"]


def test_interrupt_while_streaming(build):
    process = subprocess.Popen([build / "verbatim", "run", "demo", "Once upon a time", *SLOW], stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    first = os.read(process.stdout.fileno(), 1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 130
    assert first + out
    assert b"cancelled" in err and b"error" not in err


def interrupt_with_json(build, seconds):
    """Once it has computed for so many seconds."""
    process = subprocess.Popen([build / "verbatim", "run", "demo", "Once upon a time", "--json", *SLOW],
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    wait_until_it_catches(process)
    wait_until_it_computed(process, seconds)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 130, err
    answer = json.loads(out) if out else None
    assert answer is None or answer["finish_reason"] == "cancelled"
    return answer


def test_interrupt_with_json(build):
    """The answer so far."""
    assert 0 < len(interrupt_with_json(build, 4)["ids"]) < 1900


def test_interrupt_while_loading(build):
    """There may be no answer, or an empty one."""
    for seconds in (0, 0, 0.02, 0.05, 0.1):
        interrupt_with_json(build, seconds)


def test_interrupt_before_a_model_is_open(build):
    process = subprocess.Popen([build / "verbatim", "run", "demo"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE)
    wait_until_it_catches(process)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=LIMIT_S)[0] == b""
    assert process.returncode == 130
