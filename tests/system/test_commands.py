"""explain, inspect, bench, tokenize, detokenize, template: what they answer."""
import json
import struct

import jinja2.sandbox
import pytest
import tokenizers


def answer(result, status=0):
    assert result.returncode == status, result.stderr
    assert result.stdout.count("\n") == 1
    return json.loads(result.stdout)


# ---- explain ----

A100 = {"name": "A100", "compute_capability": "8.0", "driver_cuda": "12.10", "sms": 108, "shared_memory": 166912,
        "memory": 85899345920, "image": {"cuda": "12.3", "sass": ["8.0", "8.6", "8.9", "9.0"], "ptx": "8.0"}}


def facts_file(tmp_path, isa, gpus=()):
    path = tmp_path / "facts.json"
    path.write_text(json.dumps({"cpu": {"isa": isa}, "gpus": list(gpus)}))
    return path


def test_explain_the_machine(verbatim):
    a = answer(verbatim("explain", "--json"))
    assert set(a["facts"]) >= {"cpu", "gpus"} and a["device"] == "cpu"
    assert a["facts"]["cpu"]["threads"] >= 1 and a["facts"]["cpu"]["memory"] > 1 << 20
    text = verbatim("explain").stdout
    assert a["facts"]["cpu"]["name"] in text and "device cpu" in text


def test_explain_a_model(verbatim, demo):
    a = answer(verbatim("explain", demo, "--json"))
    config = json.loads((demo / "config.json").read_text())
    attention = [row for row in a["layers"] if row["kind"] == "attention"]
    assert {row["use"] for row in attention} >= {"prefill", "decode"}
    for row in attention:
        assert row["layers"] == f"0-{config['num_hidden_layers'] - 1}" and row["backend"]
        assert row["request"]["heads"] == config["num_attention_heads"]
    for row in a["layers"]:
        assert {"layers", "kind", "request", "use", "backend", "refused"} <= set(row)
        assert all(set(r) == {"backend", "reason"} for r in row["refused"])
    assert a["memory"]["weights"] > 0 and a["memory"]["kv_per_token"] > 0 and a["memory"]["longest_context"] > 0
    text = verbatim("explain", demo).stdout
    for row in attention:
        assert row["backend"] in text


def test_explain_for_another_machine(verbatim, demo, tmp_path):
    facts = facts_file(tmp_path, [], [A100])
    on_gpu = answer(verbatim("explain", demo, "--facts", facts, "--json"))
    assert on_gpu["device"] == "cuda:0" and on_gpu["device_why"] == "machine code for 8.0"
    assert all(row["backend"] in ("sm80", "cuda", "copy") for row in on_gpu["layers"])
    runs = {(row["use"], row["run"]) for row in on_gpu["layers"] if row["kind"] == "attention"}
    assert runs == {("prefill", "eager"), ("decode", "graph"), ("decode", "eager"), ("verify", "graph"), ("verify", "eager")}
    a = answer(verbatim("explain", demo, "--facts", facts, "--device", "cpu", "--json"))
    assert a["device"] == "cpu" and a["facts"]["cpu"]["isa"] == []
    assert all(row["backend"] in ("ref", "copy") for row in a["layers"])
    linear = next(row for row in a["layers"] if row["kind"] == "linear")
    assert {r["backend"] for r in linear["refused"]} >= {"avx2", "avx512"}
    gpu = a["facts"]["gpus"][0]
    assert {k: gpu[k] for k in A100} == A100
    assert gpu["kernels"]["portable"] == {"runs": True, "reason": "machine code for 8.0"}
    assert gpu["kernels"]["hopper"]["runs"] is False
    text = verbatim("explain", demo, "--facts", facts, "--device", "cpu").stdout
    assert "A100" in text and "not avx2:" in text


def test_explain_where_nothing_serves(verbatim, demo, tmp_path):
    args = ["explain", demo, "--facts", facts_file(tmp_path, []), "--attention", "avx512"]
    a = answer(verbatim(*args, "--json"), status=1)
    rows = [row for row in a["layers"] if row["kind"] == "attention"]
    assert rows and all(row["backend"] is None for row in rows)
    assert "AVX-512" in next(r["reason"] for r in rows[0]["refused"] if r["backend"] == "avx512")
    result = verbatim(*args)
    assert result.returncode == 1
    assert "NOTHING SERVES" in result.stdout and "AVX-512" in result.stdout
    assert result.stderr.startswith("verbatim: error: ")


@pytest.mark.parametrize("key, bad", [("compute_capability", "8.x"), ("driver_cuda", "12.x"), ("driver_cuda", "")])
def test_explain_quotes_a_malformed_version(verbatim, tmp_path, key, bad):
    result = verbatim("explain", "--facts", facts_file(tmp_path, [], [A100 | {key: bad}]))
    assert result.returncode == 1 and result.stdout == ""
    assert f'{key}: "{bad}"' in result.stderr


# ---- inspect ----

def test_inspect(verbatim, demo):
    a = answer(verbatim("inspect", demo, "--json"))
    assert a["config"] == json.loads((demo / "config.json").read_text())
    with open(demo / "model.safetensors", "rb") as f:
        (size,) = struct.unpack("<Q", f.read(8))
        header = json.loads(f.read(size))
    header.pop("__metadata__", None)
    assert {t["name"]: t["shape"] for t in a["tensors"]} == {n: t["shape"] for n, t in header.items()}
    for t in a["tensors"]:
        begin, end = header[t["name"]]["data_offsets"]
        assert t["bytes"] == end - begin and t["dtype"] == header[t["name"]]["dtype"].lower()
    assert a["bytes"] == sum(t["bytes"] for t in a["tensors"])
    text = verbatim("inspect", demo).stdout
    assert all(name in text for name in header) and f"{a['parameters']} parameters" in text


def test_inspect_without_weights(verbatim, demo, tmp_path):
    (tmp_path / "config.json").write_bytes((demo / "config.json").read_bytes())
    a = answer(verbatim("inspect", tmp_path, "--json"))
    assert a["tensors"] == [] and a["bytes"] == 0 and a["config"]["model_type"] == "llama"


# ---- bench ----

def test_bench_model(verbatim, demo):
    args = ["bench", demo, "--prompt-tokens", 20, "--decode-tokens", 4, "--repeat", 2, "--batch", "1,3", "--depth", 16]
    a = answer(verbatim(*args, "--json"))
    assert a["model"] == str(demo) and a["device"] == "cpu"
    assert [row["batch"] for row in a["results"]] == [1, 3]
    for row in a["results"]:
        for key in ("prefill_tok_s", "decode_tok_s", "first_token_s"):
            assert 0 < row[key]["min"] <= row[key]["median"] <= row[key]["max"]
        limit = row["limit"]
        # Six layers: four projections of attention, three of the inner layer; for one token alone what is behind the
        # last layer's attention, and the head. Then each token with each in its sight, keys and values of 8 heads of 32.
        qkv, rest = 256 * (256 + 2 * 64), 256 * 256 + 3 * 256 * 512
        flops = 2 * (20 * (6 * qkv + 5 * rest) + rest + 256 * 3072) + 2 * 2 * 6 * (20 * 21 / 2) * 8 * 32
        assert limit["flops_per_prompt"] == flops
        assert "profile" not in row
        assert limit["prefill_tok_s"] == pytest.approx(20 * limit["matrix_gflop_s"] * 1e9 / flops)
        assert limit["prefill_fraction"] == pytest.approx(row["prefill_tok_s"]["median"] / limit["prefill_tok_s"])
        rows_s = limit["memory_read_gb_s"] * 1e9 / limit["bytes_per_step"] * row["batch"]
        assert limit["decode_tok_s"] == pytest.approx(rows_s)
        assert limit["decode_fraction"] > 0
    # The median of the repeats' own fractions: of a single one, that fraction.
    row, = answer(verbatim("bench", demo, "--prompt-tokens", 20, "--decode-tokens", 4, "--repeat", 1, "--json"))["results"]
    assert row["limit"]["decode_fraction"] == pytest.approx(row["decode_tok_s"]["median"] / row["limit"]["decode_tok_s"])
    text = verbatim(*args).stdout
    assert "median" in text and "minimum" in text and "maximum" in text and "%" in text


def test_bench_profile(verbatim, demo):
    args = ["bench", demo, "--prompt-tokens", 40, "--prefill-chunk", 16, "--decode-tokens", 4, "--repeat", 1, "--batch", 2, "--depth", 16,
            "--temperature", 0.8, "--top-p", 0.9, "--logprobs", 0, "--profile"]
    row, = answer(verbatim(*args, "--json"))["results"]
    qkv, rest = 256 * (256 + 2 * 64), 256 * 256 + 3 * 256 * 512
    for way, steps, tokens in ("prefill", 3, 40), ("decode", 4, 8):
        p = row["profile"][way]
        kind = {k["kind"]: k for k in p["kinds"]}
        assert p["steps"] == steps and set(kind) >= {"linear", "attention", "norm", "rope", "glu", "embed", "sample", "waiting", "other"}
        assert sum(k["share"] for k in kind.values()) == pytest.approx(1, abs=0.01)
        assert sum(k["ms"] for k in kind.values()) == pytest.approx(p["step_ms"], rel=0.01)
        head = (rest + 256 * 3072) * (1 if way == "prefill" else 8)
        assert kind["linear"]["flops"] * steps == pytest.approx(2 * (tokens * (6 * qkv + 5 * rest) + head))
        # Steps of 16, 16 and 8 tokens; two sequences behind a depth of 16. Each reads its keys and values once, 2 heads of 32.
        keys = 16 + 32 + 40 if way == "prefill" else 2 * (17 + 18 + 19 + 20)
        assert kind["attention"]["bytes"] * steps == pytest.approx(6 * keys * 2 * 64 * 2)
    text = verbatim(*args).stdout
    assert "prefill: 3 steps" in text and "decode, batch 2: 4 steps" in text and "attention" in text and "waiting" in text
    assert "--profile is for plain decoding" in verbatim("bench", demo, "--speculate", "ngram", "--profile").stderr


REPEATS = "The fox ran to the red house. The fox ran to the red house. The fox ran to"


@pytest.mark.parametrize("how, source", [
    (["draft", "--draft-model", "models/demo/draft"], "bench_prompts.txt"),
    (["draft", "--draft-model", "models/demo/draft", "--draft-tokens", 3, "--batch", "1,3"], "bench_prompts.txt"),
    (["ngram", "--prompt", REPEATS, "--draft-tokens", 4], "text"),
    (["ngram", "--prompt-tokens", 30, "--temperature", 1.5], "random tokens"),
])
def test_bench_speculation(verbatim, root, sanitized, how, source):
    repeat = 1 if sanitized else 3
    args = ["bench", "demo", "--speculate", *how, "--decode-tokens", 40, "--repeat", repeat, "--threads", 1]
    a = answer(verbatim(*args, "--json", cwd=root))
    assert a["speculation"]["method"] == how[0] and a["speculation"]["prompts"] == source
    assert [r["batch"] for r in a["results"]] == ([1, 3] if "--batch" in how else [1])
    for r in a["results"]:
        for key in "plain_tok_s", "guessing_tok_s", "ratio":
            assert 0 < r[key]["min"] <= r[key]["median"] <= r[key]["max"]
        assert r["repeat"] == repeat and r["decode_tokens"] == 40 and r["first_ratio"] > 0
        assert 0 <= r["accepted"] <= r["proposed"] and 1 <= r["tokens_per_step"] <= 9
        positions = r["positions"]
        assert sum(p["proposed"] for p in positions) == r["proposed"]
        assert sum(p["accepted"] for p in positions) == r["accepted"]
        for before, after in zip(positions, positions[1:]):
            assert after["proposed"] <= before["proposed"] and after["accepted"] <= before["accepted"]
        # A fixed number of guesses: counted, not timed. Stories are guessed well, and what repeats itself is found.
        if "--draft-tokens" in how:
            assert r["proposed"] > 6 * repeat * r["batch"] and r["accepted"] > 3 * repeat * r["batch"]
            assert r["tokens_per_step"] > 1.2
    assert "tokens a step" in verbatim(*args, cwd=root).stdout


def test_bench_prompts(verbatim, demo, tmp_path):
    """A file, standard input, a folder without prompts of its own."""
    text = tmp_path / "text"
    text.write_text(REPEATS)
    args = ["--speculate", "ngram", "--decode-tokens", 8, "--repeat", 1, "--json"]
    one = answer(verbatim("bench", demo, "--prompt-file", text, *args))["results"][0]
    two = answer(verbatim("bench", demo, "--prompt-file", "-", *args, stdin=REPEATS))["results"][0]
    assert one["prompt_tokens"] == two["prompt_tokens"] > 15
    for name in "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json":
        (tmp_path / name).write_bytes((demo / name).read_bytes())
    three = answer(verbatim("bench", tmp_path, *args))
    assert three["speculation"]["prompts"] == "random tokens" and three["results"][0]["prompt_tokens"] == 512


def test_bench_limits(verbatim):
    a = answer(verbatim("bench", "limits", "--threads", 1, "--json"))
    assert a["device"] == "cpu" and a["threads"] == 1
    assert 1e-4 < a["memory_read_tb_s"] < 100
    assert set(a["matrix_tflop_s"]) - {"int8"} == {"f32", "bf16", "f16"}  # int8: where there are such products
    assert "GB/s" in verbatim("bench", "limits").stdout


KERNEL_KEYS = {"backend", "time_us", "bytes", "flops", "tb_s", "tflop_s", "limit_fraction"}


@pytest.mark.parametrize("dtype", ["bf16", "f16", "f32"])
def test_bench_linear(verbatim, dtype):
    a = answer(verbatim("bench", "linear", "--m", 3, "--n", 100, "--k", 77, "--dtype", dtype, "--repeat", 2, "--json"))
    assert KERNEL_KEYS <= set(a)
    element = 4 if dtype == "f32" else 2
    assert a["flops"] == 2 * 3 * 100 * 77
    # Weights as they are packed: rows and columns filled up.
    least = (100 * 77 + 3 * 77) * element + 3 * 100 * 4
    assert least <= a["bytes"] < 1.4 * least
    assert a["tflop_s"] == pytest.approx(a["flops"] / a["time_us"] / 1e6)
    assert 0 < a["limit_fraction"]


def test_bench_attention(verbatim):
    shape = ["--batch", 2, "--q-len", 3, "--kv-len", 50, "--heads", 4, "--kv-heads", 2, "--head-dim", 16,
             "--v-head-dim", 8, "--page-size", 16, "--repeat", 2]
    a = answer(verbatim("bench", "attention", *shape, "--json"))
    assert KERNEL_KEYS <= set(a)
    assert a["flops"] == 2 * 2 * (48 + 49 + 50) * 4 * (16 + 8)
    assert a["bytes"] == 2 * (50 * 2 * (16 + 8) + 3 * 4 * (16 + 8)) * 2
    windowed = answer(verbatim("bench", "attention", *shape, "--window", 10, "--json"))
    assert windowed["flops"] == 2 * 2 * 3 * 10 * 4 * (16 + 8)
    assert windowed["bytes"] == 2 * (12 * 2 * (16 + 8) + 3 * 4 * (16 + 8)) * 2
    forced = answer(verbatim("bench", "attention", *shape, "--attention", "ref", "--json"))
    assert forced["backend"] == "ref"
    assert "kernel" in verbatim("bench", "attention", *shape).stdout


@pytest.mark.parametrize("args, status, word", [
    (["attention", "--q-len", 5, "--kv-len", 4], 2, "--q-len"),
    (["attention", "--heads", 5, "--kv-heads", 2], 2, "heads"),
    (["attention", "--kv-len", "1G"], 1, "not enough memory"),
    (["linear", "--m", "16M", "--n", "16M", "--k", "16M"], 1, "not enough memory"),
    (["attention", "--attention", "nonesuch"], 2, "nonesuch"),
    (["demo", "--prompt", "Once"], 2, "--speculate"),
    (["demo", "--speculate", "ngram", "--prompt", "Once", "--prompt-file", "x"], 2, "two prompts"),
    (["demo", "--speculate", "ngram", "--prompt", "Once", "--prompt-tokens", 5], 2, "two prompts"),
    (["demo", "--speculate", "ngram", "--depth", 5], 2, "--depth"),
    (["demo", "--speculate", "ngram", "--prompt-file", "/nonesuch"], 1, "/nonesuch"),
    (["demo", "--speculate", "ngram", "--prompt", "Once", "--decode-tokens", 1], 2, "--decode-tokens"),
    (["demo", "--speculate", "ngram", "--batch", 4, "--max-batch", 2], 2, "--max-batch"),
    (["demo", "--speculate", "draft"], 2, "--draft-model"),
])
def test_bench_refuses(verbatim, args, status, word):
    result = verbatim("bench", *args)
    assert result.returncode == status and word in result.stderr


# ---- text ----

TEXTS = ["Hello world", "", " two  spaces ", "Zoë said: “naïve café” — 日本語 🦊", "a\nb\tc", "x" * 500, "1234567890"]


@pytest.fixture(scope="module")
def oracle(demo):
    return tokenizers.Tokenizer.from_file(str(demo / "tokenizer.json"))


@pytest.mark.parametrize("text", TEXTS)
def test_tokenize(verbatim, demo, oracle, text):
    ids = oracle.encode(text).ids
    assert answer(verbatim("tokenize", demo, stdin=text)) == ids
    assert answer(verbatim("tokenize", demo, text)) == ids
    assert answer(verbatim("tokenize", demo, text, "--json")) == {"ids": ids}
    bare = oracle.encode(text, add_special_tokens=False).ids
    assert answer(verbatim("tokenize", demo, text, "--add-special", "off")) == bare
    if bare:
        back = verbatim("detokenize", demo, json.dumps(bare))
        assert back.stdout == oracle.decode(bare, skip_special_tokens=False)


def test_special_tokens(verbatim, demo, oracle):
    special = next(t for t in json.loads((demo / "tokenizer.json").read_text())["added_tokens"] if t["special"])
    text = f"a{special['content']}b"
    assert special["id"] in answer(verbatim("tokenize", demo, text, "--add-special", "off"))
    plain = answer(verbatim("tokenize", demo, text, "--add-special", "off", "--parse-special", "off"))
    assert special["id"] not in plain
    ids = oracle.encode(text).ids
    assert verbatim("detokenize", demo, json.dumps(ids), "--skip-special", "on").stdout == oracle.decode(ids)
    assert verbatim("detokenize", demo, stdin=json.dumps(ids)).stdout == oracle.decode(ids, skip_special_tokens=False)


def test_detokenize_refuses(verbatim, demo):
    result = verbatim("detokenize", demo, "1,999999")
    assert result.returncode == 2 and "999999" in result.stderr


MESSAGES = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi <there> & \"you\""},
            {"role": "assistant", "content": "Hello!"}, {"role": "user", "content": "Bye\n"}]


@pytest.mark.parametrize("prompt", ["on", "off"])
def test_template(verbatim, demo, tmp_path, prompt):
    config = json.loads((demo / "tokenizer_config.json").read_text())
    jinja = jinja2.sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True,
                                                         extensions=["jinja2.ext.loopcontrols"])
    want = jinja.from_string(config["chat_template"]).render(
        messages=MESSAGES, add_generation_prompt=prompt == "on", bos_token=config.get("bos_token"),
        eos_token=config.get("eos_token"))
    (tmp_path / "m.json").write_text(json.dumps(MESSAGES))
    args = ["template", demo, "--add-generation-prompt", prompt]
    assert verbatim(*args, "--messages", tmp_path / "m.json").stdout == want
    assert verbatim(*args, stdin=json.dumps(MESSAGES)).stdout == want
    assert verbatim(*args, stdin=json.dumps({"messages": MESSAGES})).stdout == want
    assert answer(verbatim(*args, "--json", stdin=json.dumps(MESSAGES))) == {"text": want}


@pytest.mark.parametrize("text", ["", "3", "[", '{"message": []}'])
def test_template_refuses(verbatim, demo, text):
    result = verbatim("template", demo, stdin=text)
    assert result.returncode in (1, 2) and result.stdout == ""
    assert result.stderr.startswith("verbatim: error: ") and result.stderr.count("\n") == 1


def test_template_names_the_file(verbatim, demo, tmp_path):
    (tmp_path / "m.json").write_text('[{"role": "user",}]')
    result = verbatim("template", demo, "--messages", tmp_path / "m.json")
    assert result.returncode == 1
    assert result.stderr.startswith(f"verbatim: error: {tmp_path}/m.json: not valid JSON: chat, line 1 column 18: ")
    assert "standard input: not valid JSON" in verbatim("template", demo, stdin="[").stderr
