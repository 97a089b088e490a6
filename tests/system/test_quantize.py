"""quantize, --quantize and quantised checkpoints, as a user meets them."""

import json
import pathlib
import re
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "quantized"
def answer(done):
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


RUN = ("--max-tokens", "12", "--json", "--logprobs", "2", "--prompt-logprobs", "0")


@pytest.fixture(scope="module", params=["q8", "q4"])
def folder(request, verbatim, demo, tmp_path_factory):
    out = tmp_path_factory.mktemp("quantized") / request.param
    a = answer(verbatim("quantize", demo, out, "--to", request.param, "--json"))
    return request.param, out, a


def test_folder(folder, demo):
    to, out, a = folder
    assert a["to"] == to and a["parameters"] == 4132096
    assert a["bits_per_weight"] == pytest.approx(8.5 if to == "q8" else 5.28, abs=0.01)
    assert (a["q8"], a["q6"], a["q4"]) == ((43, 0, 0) if to == "q8" else (6, 3, 34))
    assert a["bytes"] == (out / "model.safetensors").stat().st_size
    config = json.loads((out / "config.json").read_text())
    assert config["quantization_config"]["quant_method"] == "verbatim"
    assert config["quantization_config"]["version"] == (1 if to == "q8" else 2)
    assert config["hidden_size"] == 256
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        assert (out / name).read_bytes() == (pathlib.Path(demo) / name).read_bytes()


def test_same_bits(folder, verbatim, demo):
    """The folder is what --quantize makes while loading."""
    to, out, _ = folder
    for more in ((), ("--threads", "1"), ("--cpu-isa", "scalar")):
        written = answer(verbatim("run", out, "Once upon a time", *RUN, *more))
        loaded = answer(verbatim("run", demo, "Once upon a time", *RUN, "--quantize", to, *more))
        assert written["weight_format"] == loaded["weight_format"] == to
        for key in ("ids", "logprobs", "prompt_logprobs"):
            assert written[key] == loaded[key]


def tensors(path):
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    return {name: (t, data[start + t["data_offsets"][0]:start + t["data_offsets"][1]])
            for name, t in header.items() if name != "__metadata__"}


def test_written_before(verbatim, demo, tmp_path):
    """Folders of version 1 have q8 where q6 is now: which form a matrix has, its tensors show."""
    for to in "q8", "q4":
        answer(verbatim("quantize", demo, tmp_path / to, "--to", to, "--json"))
    eight, mixed = (tensors(tmp_path / to / "model.safetensors") for to in ("q8", "q4"))
    for name in [n.removesuffix(".q6") for n in mixed if n.endswith(".q6")]:
        del mixed[f"{name}.q6"]
        mixed.update({f"{name}.{part}": eight[f"{name}.{part}"] for part in ("q8", "scale")})
    header, at = {}, 0
    for name, (t, data) in mixed.items():
        header[name] = {**t, "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path = tmp_path / "q4"
    (path / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + b"".join(d for _, d in mixed.values()))
    config = json.loads((path / "config.json").read_text())
    config["quantization_config"]["version"] = 1
    (path / "config.json").write_text(json.dumps(config))
    explained = answer(verbatim("explain", path, "--json"))
    assert explained["weight_format"] == "q4"
    shapes = {row["request"]["shape"] for row in explained["layers"] if row["kind"] == "linear"}
    assert any("q8" in s for s in shapes) and not any("q6" in s for s in shapes), shapes
    assert answer(verbatim("prove", path, "--cases", "5", "--json"))["differences"] == 0
    config["quantization_config"]["version"] = 3
    (path / "config.json").write_text(json.dumps(config))
    assert "version" in refused(verbatim, "explain", path, status=1)


def test_near_the_original(folder, verbatim, demo):
    _, out, _ = folder
    prompt = ("Once upon a time, there was a shy hen named Tilly.", "--max-tokens", "1", "--json", "--prompt-logprobs", "0")
    plain = answer(verbatim("run", demo, *prompt))["prompt_logprobs"][1:]
    ours = answer(verbatim("run", out, *prompt))["prompt_logprobs"][1:]
    assert plain != ours
    assert sum(abs(p["logprob"] - q["logprob"]) for p, q in zip(plain, ours)) / len(plain) < 0.1


def test_proven(folder, verbatim, cases):
    _, out, _ = folder
    assert answer(verbatim("prove", out, "--cases", cases, "--json"))["differences"] == 0


def test_said(folder, verbatim):
    to, out, _ = folder
    assert answer(verbatim("explain", out, "--json"))["weight_format"] == to
    inspected = answer(verbatim("inspect", out, "--json"))
    assert inspected["weight_format"] == to and inspected["parameters"] == 4132096
    assert f"weights {to}" in verbatim("run", out, "Hello", "--max-tokens", "1", "--log-level", "info").stderr


@pytest.mark.parametrize("name", sorted(p.name for p in GOLDEN.glob("*/")))
def test_checkpoints(verbatim, name):
    a = answer(verbatim("run", GOLDEN / name, "--prompt-ids", "1,5,9", "--max-tokens", "4", "--ignore-eos", "--json"))
    assert len(a["ids"]) == 4
    assert a["weight_format"].startswith(("awq", "gptq", "compressed-tensors", "fp8"))


def test_fp8_blocks_under_another_name(verbatim, tmp_path):
    """What compressed-tensors calls a strategy "block" holds the numbers that fp8 calls weight_scale_inv."""
    args = ("--prompt-ids", "1,5,9,100", "--max-tokens", "4", "--ignore-eos", "--json", "--logprobs", "1", "--prompt-logprobs", "0")
    want = answer(verbatim("run", GOLDEN / "fp8-block", *args))
    source = tmp_path / "ct"
    shutil.copytree(GOLDEN / "fp8-block", source)
    config = json.loads((source / "config.json").read_text())
    weights = {"num_bits": 8, "type": "float", "strategy": "block", "block_structure": [128, 128], "group_size": None}
    config["quantization_config"] = {"quant_method": "compressed-tensors", "format": "float-quantized",
                                     "quantization_status": "compressed",
                                     "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights}}}
    data = (source / "model.safetensors").read_bytes()
    end = 8 + int.from_bytes(data[:8], "little")
    header = data[8:end].replace(b"weight_scale_inv", b"weight_scale")
    assert header != data[8:end]
    (source / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + data[end:])
    (source / "config.json").write_text(json.dumps(config))
    got = answer(verbatim("run", source, *args))
    for key in ("ids", "logprobs", "prompt_logprobs"):
        assert got[key] == want[key]
    for wrong in [128], [128, 0], "128x128", None:
        weights["block_structure"] = wrong
        (source / "config.json").write_text(json.dumps(config))
        assert "block_structure" in refused(verbatim, "run", source, *args, status=1)


def test_fp8_to_q8(verbatim):
    """FP8 is numbers: they can be quantised."""
    a = answer(verbatim("run", GOLDEN / "fp8-block", "--prompt-ids", "1,5,9", "--max-tokens", "2", "--quantize", "q8", "--json"))
    assert a["weight_format"] == "q8"


def refused(verbatim, *arguments, status=2):
    done = verbatim(*arguments)
    assert done.returncode == status and not done.stdout
    assert re.fullmatch(r"verbatim: error: .+: .+: .+\n", done.stderr)
    return done.stderr


def test_refusals(folder, verbatim, demo, tmp_path):
    _, out, _ = folder
    assert "nothing is overwritten" in refused(verbatim, "quantize", demo, out, "--to", "q8")
    assert "--to" in refused(verbatim, "quantize", demo, tmp_path / "a")
    assert "q3" in refused(verbatim, "quantize", demo, tmp_path / "a", "--to", "q3")
    assert "stored quantised" in refused(verbatim, "quantize", out, tmp_path / "a", "--to", "q8")
    assert "stored quantised" in refused(verbatim, "run", out, "Hello", "--quantize", "q8")
    assert "stored quantised" in refused(verbatim, "run", GOLDEN / "awq-g64", "--prompt-ids", "1", "--quantize", "q4")
    assert "No such file" in refused(verbatim, "quantize", demo, tmp_path / "no" / "a", "--to", "q8", status=1)
    assert "--quantize" in refused(verbatim, "run", demo, "Hello", "--quantize", "q5")
    assert not any(tmp_path.iterdir())


def test_bad_weights(verbatim, demo, tmp_path):
    """A NaN cannot be quantised; nothing is left behind."""
    source = tmp_path / "nan"
    shutil.copytree(demo, source, ignore=shutil.ignore_patterns("draft"))
    path = source / "model.safetensors"
    data = bytearray(path.read_bytes())
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    at = start + header["model.layers.3.mlp.up_proj.weight"]["data_offsets"][0]
    data[at + 2 * 256 * 5:at + 2 * 256 * 5 + 2] = b"\xc0\x7f"
    path.write_bytes(data)
    assert "model.layers.3.mlp.up_proj.weight\": row 5" in refused(
        verbatim, "quantize", source, tmp_path / "out", "--to", "q4", status=1)
    assert not (tmp_path / "out").exists()
    assert "row 5" in refused(verbatim, "run", source, "Hello", "--quantize", "q8", status=1)


def test_full_disk(build, demo, tmp_path):
    """A file that may not grow so large stands for the disk."""
    command = f"trap '' XFSZ; ulimit -f 1000; exec '{build}/verbatim' quantize '{demo}' '{tmp_path}/out' --to q8"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert done.returncode == 1 and "cannot write" in done.stderr
    assert not (tmp_path / "out").exists()


def test_refused_configuration(verbatim, tmp_path):
    source = tmp_path / "gemv"
    shutil.copytree(GOLDEN / "awq-g64", source)
    config = json.loads((source / "config.json").read_text())
    config["quantization_config"]["version"] = "gemv"
    (source / "config.json").write_text(json.dumps(config))
    message = refused(verbatim, "run", source, "--prompt-ids", "1", status=1)
    assert '"version": "gemv"' in message and "served: gemm" in message
