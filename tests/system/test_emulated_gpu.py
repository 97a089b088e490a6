"""Models on a GPU whose kernels are the reference's (tests/fake_cuda/emulate.c): the bits of the CPU with --cpu-isa scalar, whatever
the host does: graphs, pages, chunks, guesses, other requests. Its queue works as late as it may."""
import json

import pytest

GPU = "Emulated,9.0,132,232448,4294967296"
IDS = ",".join(str((i * 37 + 11) % 97) for i in range(75))
GOLDEN = ["--prompt-ids", IDS, "--ignore-eos", "--max-tokens", 12]
SAMPLED = ["--temperature", "0.9", "--seed", 7]
MODELS = {
    "demo": ["demo", "Once upon a time, in a small house by the sea,", "--max-tokens", 12],
    "sampled": ["tests/golden/llama-3-gqa3", *GOLDEN, *SAMPLED, "--top-p", "0.95", "--top-k", 20],
    "penalties": ["tests/golden/llama-3-gqa3", *GOLDEN, *SAMPLED, "--repetition-penalty", "1.3", "--frequency-penalty", "0.2"],
    "windows and softcaps": ["tests/golden/gemma2-window7", *GOLDEN],
    "two ropes": ["tests/golden/gemma3-pattern3", *GOLDEN],
    "long rope": ["tests/golden/phi3-longrope-long", *GOLDEN],
    "biases": ["tests/golden/qwen2-untied-gqa7", *GOLDEN],
    "f32": ["tests/golden/llama-3-gqa3", *GOLDEN, "--dtype", "f32"],
}
WAYS = [[], ["--graph", "off"], ["--prefill-chunk", 7, "--page-size", 16], ["--speculate", "ngram", "--draft-tokens", 3]]


@pytest.fixture
def on_gpu(verbatim, build):
    if json.loads(verbatim("explain", "--json", env={"LD_LIBRARY_PATH": str(build / "tests/fake_cuda")}).stdout) \
            ["facts"]["gpus"][0]["image"] is False:
        pytest.skip("the program was built without nvcc")
    env = {"LD_LIBRARY_PATH": str(build / "tests/fake_cuda/emulated"), "FAKE_CUDA_GPUS": GPU}
    return lambda command, *args: verbatim(command, *args, "--device", "cuda", env=env)


def bits(result, device):
    assert result.returncode == 0, result.stderr
    a = json.loads(result.stdout, parse_float=str)
    assert a["device"] == device
    return a["ids"], a["logprobs"], a.get("prompt_logprobs")


@pytest.mark.parametrize("name", MODELS)
def test_bits(verbatim, on_gpu, root, name):
    args = [root / a if str(a).startswith("tests/") else a for a in MODELS[name]]
    args += ["--json", "--logprobs", 3, "--prompt-logprobs", 2]
    want = bits(verbatim("run", *args, "--device", "cpu", "--cpu-isa", "scalar"), "cpu")
    assert len(want[0]) > 4
    for way in WAYS:
        assert bits(on_gpu("run", *args, *way), "cuda:0") == want, way


def test_many_requests(verbatim, on_gpu, root, tmp_path):
    requests = tmp_path / "requests.jsonl"
    lines = [{"id": str(i), "prompt_ids": [(i * 7 + j) % 97 for j in range(3 + 5 * i)], "max_tokens": 5 + i, "logprobs": 1,
              "ignore_eos": True, "temperature": 0.8 * (i % 2), "seed": i} for i in range(8)]
    requests.write_text("".join(json.dumps(line) + "\n" for line in lines))

    def answers(run, *args):
        result = run("batch", root / "tests/golden/llama-3-gqa3", "--input", requests, *args)
        assert result.returncode == 0, result.stderr
        rows = [json.loads(line, parse_float=str) for line in result.stdout.splitlines()]
        return {r["id"]: (r["ids"], r["logprobs"]) for r in rows}

    want = answers(verbatim, "--device", "cpu", "--cpu-isa", "scalar")
    assert len(want) == 8
    for way in ([], ["--graph", "off"], ["--max-batch", 3], ["--speculate", "ngram"]):
        assert answers(on_gpu, *way) == want, way


@pytest.mark.parametrize("model", ["llama-3-gqa3", "mistral-window7"])
def test_prove(on_gpu, root, cases, model):
    result = on_gpu("prove", root / "tests/golden" / model, "--cases", cases, "--json")
    assert result.returncode == 0, result.stderr
    a = json.loads(result.stdout)
    assert a["cases"] >= cases and a["differences"] == 0


@pytest.mark.parametrize("guesses", ["auto", "3"])
@pytest.mark.parametrize("method", ["ngram", "draft"])
def test_speculation_benchmark(on_gpu, root, sanitized, method, guesses):
    """Turns with and without guesses, which are compared; steps that guess nothing run ahead like others."""
    if sanitized and (method, guesses) != ("ngram", "3"):
        pytest.skip("takes a minute each with sanitizers: one of them is enough there")
    draft = ["--draft-model", root / "models/demo/draft"] if method == "draft" else []
    result = on_gpu("bench", "demo", "--speculate", method, *draft, "--draft-tokens", guesses, "--prompt", "one two one two one two",
                    "--decode-tokens", 20, "--repeat", 1, "--batch", "1,3", "--context", 128, "--json")
    assert result.returncode == 0, result.stderr
    rows = json.loads(result.stdout)["results"]
    assert len(rows) == 2 and all(row["guessing_tok_s"]["median"] > 0 for row in rows)
    assert guesses == "auto" or method == "ngram" or all(row["proposed"] > 0 for row in rows)


def test_memory_that_does_not_suffice(verbatim, on_gpu, build, root):
    """The GPU's memory is what counts, and the message says what to do."""
    env = {"LD_LIBRARY_PATH": str(build / "tests/fake_cuda/emulated"), "FAKE_CUDA_GPUS": "Tiny,9.0,132,232448,1090519040"}
    result = verbatim("run", "demo", "Once", "--max-tokens", 1, "--device", "cuda", "--context", 2048, "--kv-memory", "1G", env=env)
    assert result.returncode == 1
    assert result.stderr.startswith("verbatim: error: ") and result.stderr.count("\n") == 1, result.stderr


def test_graphs_are_measured_before_the_cache(verbatim, on_gpu, build, root):
    """The memory of graphs is taken from the cache, not from what is kept free; where one sequence does not fit any more, its
    context is shortened, and where it was asked for, that is an error."""
    def bench(graph_bytes, *args):
        env = {"LD_LIBRARY_PATH": str(build / "tests/fake_cuda/emulated"), "FAKE_CUDA_GRAPH_BYTES": str(graph_bytes),
               "FAKE_CUDA_GPUS": "Small,9.0,132,232448,1342177280"}
        return verbatim("bench", "demo", "--device", "cuda", "--prompt-tokens", 8, "--decode-tokens", 2, "--repeat", 1,
                        "--json", *args, env=env)

    def memory(*args):
        result = bench(*args)
        assert result.returncode == 0, result.stderr
        return json.loads(result.stdout)["gpu_memory"]

    m = memory(0)
    parts = ["driver", "weights", "buffers", "graphs", "draft", "kv", "free"]
    assert sum(m[k] for k in parts) == m["total"] == 1342177280
    assert m["graphs"] == 0 and m["weights"] > 7 << 20 and m["kv"] > 0
    m = memory(100_000, "--batch", "1,2,3")
    assert m["graphs"] > 10 << 20 and sum(m[k] for k in parts) == m["total"]
    # 1000 sequences of 2048 tokens do not fit: whatever the graphs take, the same is kept free.
    for graph_bytes in (0, 200_000):
        m = memory(graph_bytes, "--context", 2048, "--max-batch", 1000, "--prefill-chunk", 1)
        assert abs(m["free"] - m["total"] // 32) < 64 << 20, m
    nodes = memory(1000)["graphs"] // 1000
    m = memory(0, "--context", 2048)
    # 12 caches, each rounded up to 2 MiB.
    least = m["total"] // 32 + 12 * (2 << 20) + m["kv"] // 2
    too_much = (m["free"] + m["kv"] - least) // nodes
    env = {"LD_LIBRARY_PATH": str(build / "tests/fake_cuda/emulated"), "FAKE_CUDA_GRAPH_BYTES": str(too_much),
           "FAKE_CUDA_GPUS": "Small,9.0,132,232448,1342177280"}
    result = verbatim("run", "demo", "Once", "--device", "cuda", "--max-tokens", 2, "--json", env=env)
    assert result.returncode == 0 and "warning: context lowered to 1024 tokens" in result.stderr, result.stderr
    result = bench(too_much, "--context", 2048)
    assert result.returncode == 1 and "for the KV cache: a sequence of 2048 tokens" in result.stderr, result.stderr


@pytest.mark.parametrize("call", ["cuMemAddressReserve", "cuMemCreate", "cuMemMap", "cuMemSetAccess", "cuGraphUpload", "cuMemAlloc", "cuMemHostAlloc", "cuModuleGetFunction", "cuLaunchKernelEx", "cuGraphLaunch",
                                  "cuStreamBeginCapture", "cuGraphInstantiateWithFlags", "cuMemcpyHtoDAsync",
                                  "cuStreamSynchronize", "cuEventCreate"])
def test_calls_that_fail(verbatim, on_gpu, build, root, call):
    """Whichever call fails, and goes on failing: one line that names it, and an end."""
    env = {"LD_LIBRARY_PATH": str(build / "tests/fake_cuda/emulated"), "FAKE_CUDA_GPUS": GPU, "FAKE_CUDA_FAIL": f"{call} 999"}
    result = verbatim("run", root / "tests/golden/llama-3-gqa3", *GOLDEN, "--device", "cuda", env=env)
    if result.returncode == 0:
        pytest.skip(f"the program does not use {call}")
    assert result.returncode in (1, 70), result.stderr
    assert call in result.stderr and result.stderr.count("\n") == 1, result.stderr


def test_gives_way_to_the_cpu(verbatim, on_gpu, build, root):
    """Left to choose, a GPU that does not load the kernels gives way, and that is said; asked for by name, it is an error."""
    env = {"LD_LIBRARY_PATH": str(build / "tests/fake_cuda/emulated"), "FAKE_CUDA_GPUS": GPU,
           "FAKE_CUDA_FAIL": "cuModuleLoadDataEx 209"}
    command = ["run", root / "tests/golden/llama-3-gqa3", *GOLDEN, "--json"]
    result = verbatim(*command, env=env)
    assert result.returncode == 0 and json.loads(result.stdout)["device"] == "cpu"
    assert result.stderr.startswith("verbatim: warning: running on the CPU: cuda:0: ") and "NO_BINARY_FOR_GPU" in result.stderr
    assert verbatim(*command, "--device", "cuda", env=env).returncode == 1


def test_explain_rows(on_gpu, root):
    """Attention has a row for each way of running; decode and verify steps run as graphs and, beyond the largest, eagerly."""
    def ways(*args):
        result = on_gpu("explain", "demo", "--json", *args)
        assert result.returncode == 0, result.stderr
        return [(r["use"], r["run"], r["request"]["max_q_len"], r["backend"]) for r in json.loads(result.stdout)["layers"]
                if r["kind"] == "attention"]

    guessing = ["--speculate", "ngram", "--draft-tokens", 4, "--prefill-chunk", 100, "--max-batch", 3]
    assert ways(*guessing) == [
        ("prefill", "eager", 115, "sm80"), ("decode", "graph", 1, "sm80"), ("decode", "eager", 1, "sm80"),
        ("verify", "graph", 5, "sm80"), ("verify", "eager", 5, "sm80")]
    assert ways(*guessing, "--graph", "off", "--dtype", "f32") == [
        ("prefill", "eager", 115, "simt"), ("decode", "eager", 1, "simt"), ("verify", "eager", 5, "simt")]


@pytest.mark.parametrize("graph,how", [("on", "as graphs"), ("off", "eagerly")])
@pytest.mark.parametrize("args,says", [
    (["--page-size", 4], ["pages of 4", "sm80 pages must have 8 tokens or more", "--page-size 64"]),
    (["--dtype", "f32"], ["f32, 8/2 heads of 32", "tensor cores take bf16 or f16", "--dtype bf16"])])
def test_attention_that_nothing_serves(on_gpu, graph, how, args, says):
    """Guessing is refused before weights are read, in both modes, with layer, condition, what there is, and what helps."""
    result = on_gpu("run", "demo", "Once", "--speculate", "ngram", "--draft-tokens", 4, "--graph", graph, "--attention", "sm80", *args)
    assert result.returncode == 1
    for words in [*says, "layer 0 on Emulated", f"steps of 1 to 5 tokens a sequence {how}", "--attention auto", "--device cpu"]:
        assert words in result.stderr, result.stderr


def test_quantised_checkpoints(verbatim, on_gpu, root):
    """They become the compute type: FP8 gives what the CPU gives, which multiplies the same numbers."""
    ask = ("--prompt-ids", "1,5,9,20", "--max-tokens", 8, "--ignore-eos", "--logprobs", 3, "--json")

    def answer(result):
        assert result.returncode == 0, result.stderr
        return json.loads(result.stdout)

    fp8 = root / "tests/quantized/fp8-block"
    ours, cpu = answer(on_gpu("run", fp8, *ask)), answer(verbatim("run", fp8, *ask, "--device", "cpu", "--cpu-isa", "scalar"))
    assert ours["device"] == "cuda:0" and ours["weight_format"] == cpu["weight_format"] == "fp8, as bf16"
    assert (ours["ids"], ours["logprobs"]) == (cpu["ids"], cpu["logprobs"])
    gptq = answer(on_gpu("run", root / "tests/quantized/gptq-asym-act-g64", *ask))
    assert gptq["weight_format"] == "gptq, 4 bits, as bf16" and len(gptq["ids"]) == 8


def test_quantize_is_for_the_cpu(verbatim, on_gpu, build, demo):
    result = on_gpu("run", demo, "Once", "--max-tokens", 1, "--quantize", "q8")
    assert result.returncode == 1 and "cannot use --quantize on a GPU" in result.stderr
    env = {"LD_LIBRARY_PATH": str(build / "tests/fake_cuda/emulated"), "FAKE_CUDA_GPUS": "Emulated,9.0,132,232448,4294967296"}
    result = verbatim("run", demo, "Once", "--max-tokens", 1, "--quantize", "q8", "--json", env=env)
    assert result.returncode == 0, result.stderr
    a = json.loads(result.stdout)
    assert a["device"] == "cpu" and a["weight_format"] == "q8"
