"""verbatim run: what it answers, as text and as JSON."""
import json
import struct

import pytest

GREEDY = ["--max-tokens", 12]


def answer(verbatim, *args, **more):
    result = verbatim("run", *args, "--json", **more)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("\n") == 1
    return json.loads(result.stdout)


def test_shape(verbatim, demo):
    a = answer(verbatim, demo, "Once upon a time", "--max-tokens", 5, "--logprobs", 3, "--prompt-logprobs", 1)
    assert list(a) == ["model", "device", "dtype", "weight_format", "prompt_ids", "ids", "text", "finish_reason",
                       "logprobs", "prompt_logprobs", "attention", "speculation", "usage", "timing"]
    assert a["speculation"] == {"method": "none", "steps": 0, "proposed": 0, "accepted": 0}
    assert a["model"] == str(demo) and a["device"] == "cpu" and a["dtype"] == "bf16"
    assert a["finish_reason"] == "length" and len(a["ids"]) == 5
    assert a["usage"] == {"prompt_tokens": len(a["prompt_ids"]), "completion_tokens": 5, "cached_tokens": 0}
    assert set(a["timing"]) == {"load_s", "first_token_s", "prefill_tok_s", "decode_tok_s"}
    assert all(v > 0 for v in a["timing"].values())
    assert all(set(group) == {"layers", "backend"} for group in a["attention"])
    assert len(a["logprobs"]) == 5 and len(a["prompt_logprobs"]) == len(a["prompt_ids"])
    assert a["prompt_logprobs"][0] is None
    for id_, entry in zip(a["ids"] + a["prompt_ids"][1:], a["logprobs"] + a["prompt_logprobs"][1:]):
        assert entry["id"] == id_ and entry["logprob"] <= 0
    for entry in a["logprobs"]:
        assert len(entry["top"]) == 3
        assert entry["top"][0] == {"id": entry["id"], "logprob": entry["logprob"]}  # greedy
        tops = [t["logprob"] for t in entry["top"]]
        assert tops == sorted(tops, reverse=True)
    plain = answer(verbatim, demo, "Once upon a time", "--max-tokens", 5)
    assert "logprobs" not in plain and "prompt_logprobs" not in plain
    assert plain["ids"] == a["ids"]


def test_float32_survives(verbatim, demo):
    """Each number is the shortest that 9 significant digits make of a float32, so that its bits come back."""
    raw = verbatim("run", demo, "The cat", "--max-tokens", 20, "--logprobs", 5, "--json").stdout
    numbers = []
    json.loads(raw, parse_float=lambda text: numbers.append(text) or float(text))
    a = json.loads(raw)
    values = [t["logprob"] for entry in a["logprobs"] for t in entry["top"]]
    assert len(values) == 100
    for value in values:
        as_float32 = struct.unpack("f", struct.pack("f", value))[0]
        assert float(f"{as_float32:.9g}") == value


def test_text_is_streamed_whole(verbatim, demo):
    want = answer(verbatim, demo, "Once upon a time", *GREEDY)["text"]
    assert verbatim("run", demo, "Once upon a time", *GREEDY).stdout == want + "\n"


def test_logprobs_without_json(verbatim, demo):
    a = answer(verbatim, demo, "Once", "--max-tokens", 3, "--logprobs", 2)
    out = verbatim("run", demo, "Once", "--max-tokens", 3, "--logprobs", 2, "--prompt-logprobs", 0).stdout
    assert out.startswith(a["text"] + "\n")
    assert "\nprompt\n" in out and "\nanswer\n" in out
    for entry in a["logprobs"]:
        assert f"{entry['logprob']:.9g}" in out


def test_prompt_ids(verbatim, demo, tmp_path):
    want = answer(verbatim, demo, "Once upon a time", *GREEDY)
    ids = ",".join(map(str, want["prompt_ids"]))
    (tmp_path / "ids").write_text(json.dumps(want["prompt_ids"]))
    for given in (ids, f"@{tmp_path / 'ids'}", f"[{ids}]", ids.replace(",", ", ")):
        got = answer(verbatim, demo, "--prompt-ids", given, *GREEDY)
        assert got["prompt_ids"] == want["prompt_ids"] and got["ids"] == want["ids"]


def test_chat_is_the_template(verbatim, demo, tmp_path):
    messages = [{"role": "system", "content": "You are kind."}, {"role": "user", "content": "What is a fox?"}]
    (tmp_path / "m.json").write_text(json.dumps(messages))
    text = verbatim("template", demo, "--messages", tmp_path / "m.json").stdout
    ids = json.loads(verbatim("tokenize", demo, "--add-special", "off", text).stdout)
    a = answer(verbatim, demo, "--chat", "--system", "You are kind.", "What is a fox?", "--max-tokens", 40)
    assert a["prompt_ids"] == ids
    assert a["finish_reason"] == "stop" and a["text"]


def test_special_tokens_in_what_a_user_says_are_text(verbatim, demo):
    specials = json.loads((demo / "tokenizer.json").read_text())["added_tokens"]
    special = next(t for t in specials if t["special"])
    raw = answer(verbatim, demo, special["content"], "--max-tokens", 1)
    chat = answer(verbatim, demo, "--chat", special["content"], "--max-tokens", 1)
    without = answer(verbatim, demo, "--chat", "x", "--max-tokens", 1)
    assert raw["prompt_ids"].count(special["id"]) >= 1
    assert chat["prompt_ids"].count(special["id"]) == without["prompt_ids"].count(special["id"])


def test_stop(verbatim, demo):
    whole = answer(verbatim, demo, "Once upon a time", "--max-tokens", 40)["text"]
    stop = whole[20:24]
    a = answer(verbatim, demo, "Once upon a time", "--max-tokens", 40, "--stop", "never there", "--stop", stop)
    assert a["finish_reason"] == "stop"
    assert a["text"] == whole[:whole.index(stop)]
    shown = verbatim("run", demo, "Once upon a time", "--max-tokens", 40, "--stop", stop)
    assert shown.stdout == a["text"] + "\n"


def test_ignore_eos(verbatim, demo):
    ends = answer(verbatim, demo, "--chat", "What is a fox?", "--max-tokens", 100)
    assert ends["finish_reason"] == "stop"
    on = answer(verbatim, demo, "--chat", "What is a fox?", "--max-tokens", 100, "--ignore-eos")
    assert on["finish_reason"] == "length" and len(on["ids"]) == 100
    assert on["ids"][:len(ends["ids"])] == ends["ids"]


def test_context_clips(verbatim, demo):
    a = answer(verbatim, demo, "Once upon a time", "--context", 16, "--ignore-eos")
    assert a["finish_reason"] == "length"
    assert len(a["prompt_ids"]) + len(a["ids"]) == 16
    assert "--context" in verbatim("run", demo, "Once upon a time", "--context", 16, "--ignore-eos").stderr


def test_seeds(verbatim, demo):
    draw = lambda seed: answer(verbatim, demo, "Once upon a time", *GREEDY, "--temperature", 1, "--seed", seed)["ids"]
    assert draw(1) == draw(1)
    assert len({tuple(draw(seed)) for seed in range(5)}) > 1
    assert len(draw(2 ** 64 - 1)) == 12


def test_sampling_filters(verbatim, demo):
    greedy = answer(verbatim, demo, "Once upon a time", *GREEDY)["ids"]
    for only_one in (["--top-k", 1], ["--top-p", 0], ["--min-p", 1]):
        a = answer(verbatim, demo, "Once upon a time", *GREEDY, "--temperature", 2, "--seed", 3, *only_one)
        assert a["ids"] == greedy


def test_penalties_matter(verbatim, demo):
    plain = answer(verbatim, demo, "the the the the", "--max-tokens", 30)["ids"]
    for penalty in (["--repetition-penalty", 1.5], ["--presence-penalty", 5], ["--frequency-penalty", 5]):
        assert answer(verbatim, demo, "the the the the", "--max-tokens", 30, *penalty)["ids"] != plain


def test_random_weights(verbatim, demo, tmp_path):
    (tmp_path / "config.json").write_bytes((demo / "config.json").read_bytes())
    draw = lambda seed: answer(verbatim, tmp_path, "--prompt-ids", "1,2,3", "--random-weights", seed,
                               "--max-tokens", 8, "--ignore-eos", "--logprobs", 0)["logprobs"]
    assert draw(1) == draw(1)
    assert draw(1) != draw(2)


@pytest.mark.parametrize("isa", ["scalar", "avx2", "avx512", "auto"])
@pytest.mark.parametrize("kv", ["f32", "f16", "int8"])
def test_kv_dtypes(verbatim, demo, kv, isa):
    """Keys and values of a type of their own: nearly the same log-probabilities, and the same ones in any chunks."""
    how = ["--max-tokens", 8, "--logprobs", 0, "--prompt-logprobs", 0, "--cpu-isa", isa]
    text = "Once upon a time, there was a little dog. The dog was happy because the sun was warm and the grass was"
    plain = answer(verbatim, demo, text, *how)
    own = answer(verbatim, demo, text, *how, "--kv-dtype", kv)
    cut = answer(verbatim, demo, text, *how, "--kv-dtype", kv, "--prefill-chunk", 5, "--page-size", 4, "--threads", 2)
    assert own["logprobs"] == cut["logprobs"] and own["prompt_logprobs"] == cut["prompt_logprobs"]
    pairs = list(zip(plain["prompt_logprobs"][1:], own["prompt_logprobs"][1:]))
    assert any(a != b for a, b in pairs)
    assert all(abs(a["logprob"] - b["logprob"]) < 0.4 for a, b in pairs)


def test_kv_dtype_takes_its_bytes(verbatim, demo):
    """Two heads of 32, keys and values, in six layers; an int8 row has a float32 scale."""
    for kv, row in ("auto", 64), ("bf16", 64), ("f32", 128), ("int8", 32 + 4):
        a = json.loads(verbatim("explain", demo, "--kv-dtype", kv, "--json").stdout)
        assert a["memory"]["kv_per_token"] == 6 * 2 * 2 * row
        assert a["kv_dtype"] == ("bf16" if kv == "auto" else kv)
    wrong = verbatim("run", demo, "The cat", "--kv-dtype", "int4")
    assert wrong.returncode == 2 and "--kv-dtype" in wrong.stderr


@pytest.mark.parametrize("dtype", ["bf16", "f16", "f32"])
def test_dtypes(verbatim, demo, dtype):
    a = answer(verbatim, demo, "Once upon a time", "--max-tokens", 3, "--dtype", dtype, "--logprobs", 0)
    want = answer(verbatim, demo, "Once upon a time", "--max-tokens", 3, "--logprobs", 0)
    assert a["dtype"] == dtype
    assert a["logprobs"][0]["logprob"] == pytest.approx(want["logprobs"][0]["logprob"], abs=0.05)


def test_a_folder_without_a_tokeniser(verbatim, root):
    """Golden models have none: ids go in and out, and there is no text."""
    a = answer(verbatim, root / "tests/golden/qwen2-tied", "--prompt-ids", "1,2,3", "--max-tokens", 4, "--ignore-eos")
    assert len(a["ids"]) == 4 and a["text"] == ""
    result = verbatim("run", root / "tests/golden/qwen2-tied", "text")
    assert result.returncode == 1 and "tokenizer.json" in result.stderr
