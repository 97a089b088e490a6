"""bench/cpu_peers.py with peers that only print, and bench/plots.py on figures that are kept."""
import json
import re
import shutil
import subprocess
import sys
import xml.dom.minidom

import pytest

sys.path.insert(0, str(__import__("pathlib").Path(__file__).resolve().parents[2] / "bench"))
import cpu_peers  # noqa: E402
import plots  # noqa: E402

# What llama-bench -o json and llama-batched-bench print, shortened; log lines come before.
BENCH = '''ggml: loaded CPU
[
  {"build_commit": "abc", "model_type": "llama 1B BF16", "n_threads": 2, "n_prompt": 512, "n_gen": 0, "avg_ts": %s, "test": "pp512"}
]'''
BATCHED = '''main: n_kv_max = 640
|    PP |     TG |    B |   N_KV |   T_PP s | S_PP t/s |   T_TG s | S_TG t/s |      T s |    S t/s |
|-------|--------|------|--------|----------|----------|----------|----------|----------|----------|
|     8 |     32 |    4 |    160 |    0.300 |   106.67 |    2.000 |    64.00 |    2.300 |    69.57 |
'''


def test_reading():
    assert cpu_peers.read_peer(BENCH % 183.5) == (183.5, {"build_commit": "abc", "model_type": "llama 1B BF16", "n_threads": 2,
                                                          "type_k": None, "test": "pp512"})
    assert cpu_peers.read_peer_batched(BATCHED, 4) == 64.0
    with pytest.raises(ValueError):
        cpu_peers.read_peer_batched(BATCHED, 16)


def test_a_peer_that_only_prints(build, root, demo, tmp_path):
    peer, batched = tmp_path / "llama-bench", tmp_path / "llama-batched-bench"
    peer.write_text(f"#!/bin/sh\necho \"$@\" >> {tmp_path}/calls\ncat <<'END'\n{BENCH % 20.0}\nEND\n")
    batched.write_text(f"#!/bin/sh\ncat <<'END'\n{BATCHED}\nEND\n")
    for f in peer, batched:
        f.chmod(0o755)
    model = tmp_path / "model"
    model.mkdir()
    for name in "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json":
        shutil.copy(demo / name, model)
    for kind in "bf16", "q8_0":
        (model / f"peer-{kind}.gguf").write_text("what is there is not written again")
    out = tmp_path / "out.json"
    result = subprocess.run([sys.executable, root / "bench/cpu_peers.py", model, "--program", build / "verbatim", "--peer", peer, "--peer-batched",
                             batched, "--types", "bf16,q8_0,q4_k_m", "--repeat", "2", "--prompt", "32", "--decode", "4", "--depth", "16",
                             "--batch", "4", "--out", out], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "q4_k_m: left out" in result.stderr
    answer = json.loads(out.read_text())
    assert [(r["type"], r["kind"]) for r in answer["rows"]] == [(t, k) for t in ("bf16", "q8_0")
                                                              for k in ("prefill", "decode", "decode", "batch")]
    for r in answer["rows"]:
        assert r["peer_tok_s"] == (64 if r["kind"] == "batch" else 20) and len(r["verbatim_runs"]) == 2
        assert r["ratio"] == pytest.approx(r["verbatim_tok_s"] / r["peer_tok_s"])
        assert 0 < r["verbatim_limits"][0]["of_limit"]
    calls = (tmp_path / "calls").read_text().splitlines()
    assert sum("-p 32 -n 0" in c for c in calls) == 4 and sum("-d 16" in c for c in calls) == 4


def test_gguf(root, tmp_path):
    """Every tensor of a small checkpoint, in GGUF's order of rows."""
    gguf, numpy = pytest.importorskip("gguf"), pytest.importorskip("numpy")
    shape = tmp_path / "shape"
    shape.mkdir()
    config = json.loads((root / "bench/shapes/llama-3.2-1b/config.json").read_text())
    config |= {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16,
               "intermediate_size": 96, "vocab_size": 320}
    (shape / "config.json").write_text(json.dumps(config))
    subprocess.run([sys.executable, root / "bench/random_checkpoint.py", shape, tmp_path / "ck"], check=True, capture_output=True)
    for quantised in False, True:
        path = tmp_path / f"{quantised}.gguf"
        cpu_peers.write_gguf(tmp_path / "ck", path, quantised)
        tensors = {t.name: t for t in gguf.GGUFReader(path).tensors}
        assert len(tensors) == 2 + 2 * 9
        assert tensors["blk.1.ffn_down.weight"].tensor_type.name == ("Q8_0" if quantised else "BF16")
        for name, shape_, bits in cpu_peers.open_safetensors(tmp_path / "ck"):
            want = (bits.astype(numpy.uint32) << 16).view(numpy.float32).reshape(shape_)
            t = tensors[cpu_peers.gguf_name(name)]
            assert list(t.shape)[::-1] == shape_
            got = gguf.quants.dequantize(t.data, t.tensor_type).reshape(shape_)
            if "q_proj" in name or "k_proj" in name: # row 2 i of a head is its row i, row 2 i + 1 its row i + 8
                heads = got.reshape(-1, 16, 64)
                got = numpy.concatenate([heads[:, 0::2], heads[:, 1::2]], axis=1).reshape(shape_)
            assert numpy.abs(got - want).max() <= (numpy.abs(want).max() / 127 if quantised else 0)


def test_plots_are_those_of_the_results(root):
    assert subprocess.run([sys.executable, root / "bench/plots.py", "--check"], capture_output=True, text=True).stdout == ""


def test_a_plot(root):
    results = json.loads((root / "bench/results/cpu_scaling.json").read_text())
    drawn = plots.plots(results)
    assert set(drawn) == {"cpu_batch.svg", "cpu_depth.svg", "cpu_threads.svg"}
    for svg in drawn.values():
        xml.dom.minidom.parseString(svg)
        weights = {p["weights"] for p in results["points"]}
        assert svg.count("<polyline") == 2 * len(weights) and "allowed" in svg
        for y in re.findall(r'cy="([0-9.]+)"', svg):
            assert 44 <= float(y) <= 400 - 52
    assert plots.nice_ceiling(131) == 150 and plots.nice_ceiling(9.3) == 10 and plots.nice_ceiling(1.0) == 1
