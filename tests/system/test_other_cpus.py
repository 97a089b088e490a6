"""CPUs that are not at hand, emulated by qemu-user: a kernel that uses an instruction which it does not declare ends there, as would the
program's own code, and the rest gives the bits that --cpu-isa gives here. qemu knows no AVX-512."""
import json
import shutil
import subprocess

import pytest

QEMU = shutil.which("qemu-x86_64")
# qemu's name, and the instruction sets that it leaves: x86-64-v2 is the least that the program runs on.
CPUS = {"Nehalem": "scalar", "Haswell": "avx2"}
KERNELS = {"scalar": "ref", "avx2": "avx2"}
RUNS = {
    "bf16": ["--temperature", "0.8", "--top-p", "0.9", "--seed", "3"],
    "f32-int8-cache": ["--dtype", "f32", "--kv-dtype", "int8"],
    "q8": ["--quantize", "q8", "--top-k", "20", "--temperature", "1", "--seed", "5"],
    "q4-guessing": ["--quantize", "q4", "--speculate", "ngram", "--draft-tokens", "3"],
}


@pytest.fixture(scope="module")
def emulated(build, sanitized):
    if not QEMU:
        pytest.skip("no qemu-x86_64 here: apt-get install qemu-user")
    if sanitized:
        pytest.skip("qemu has no room for the sanitizer's shadow memory")

    def run(cpu, *args):
        return subprocess.run([QEMU, "-cpu", cpu, build / "verbatim", *args], capture_output=True, text=True, timeout=1800)
    return run


@pytest.mark.parametrize("what", RUNS)
@pytest.mark.parametrize("cpu", CPUS)
def test_runs_without_undeclared_instructions(emulated, verbatim, root, cpu, what):
    args = ["run", str(root / "models/demo"), "Once upon a time", "--max-tokens", "8", "--logprobs", "2", "--threads", "2", "--json",
            *RUNS[what]]
    there = emulated(cpu, *args)
    assert there.returncode == 0, there.stderr
    here = verbatim(*args, "--cpu-isa", CPUS[cpu])
    assert here.returncode == 0, here.stderr
    there, here = json.loads(there.stdout), json.loads(here.stdout)
    assert len(there["ids"]) == 8
    assert {layer["backend"] for layer in there["attention"]} == {KERNELS[CPUS[cpu]]}
    assert [there[key] for key in ("ids", "logprobs")] == [here[key] for key in ("ids", "logprobs")]
