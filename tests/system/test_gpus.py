"""What the program says of GPUs, on machines that have some: their driver is tests/fake_cuda."""
import json

import pytest

H100 = "NVIDIA H100,9.0,132,232448,85899345920"
T4 = "Tesla T4,7.5,40,65536,16106127360"
A10 = "NVIDIA A10,8.6,72,101376,24146608128"


@pytest.fixture
def explain(verbatim, build):
    def run(*args, gpus=(), driver=13000, fail=None, library="fake_cuda"):
        env = {"LD_LIBRARY_PATH": str(build / "tests" / library), "FAKE_CUDA_GPUS": "; ".join(gpus),
               "FAKE_CUDA_DRIVER": str(driver)}
        if fail:
            env["FAKE_CUDA_FAIL"] = fail
        result = verbatim("explain", "--json", *args, env=env)
        assert result.returncode == 0, result.stderr
        return json.loads(result.stdout)
    return run


def carries_kernels(facts):
    return facts["gpus"][0]["image"] is not False


def test_an_h100(explain):
    facts = explain(gpus=[H100])["facts"]
    assert facts["cuda_driver"] is True and "gpu_why" not in facts
    gpu, = facts["gpus"]
    assert gpu["name"] == "NVIDIA H100" and gpu["compute_capability"] == "9.0" and gpu["driver_cuda"] == "13.0"
    assert gpu["sms"] == 132 and gpu["shared_memory"] == 232448 and gpu["memory"] == 85899345920
    portable = gpu["kernels"]["portable"]
    if carries_kernels(facts):
        assert gpu["loaded"] is True and portable["runs"] is True
    else:
        assert gpu["loaded"] is None and portable == {"runs": False, "reason": "the program carries no GPU kernels"}
    assert gpu["kernels"]["hopper"]["runs"] is False


def test_several_gpus(explain):
    facts = explain(gpus=[T4, A10, H100])["facts"]
    assert [g["name"] for g in facts["gpus"]] == ["Tesla T4", "NVIDIA A10", "NVIDIA H100"]
    t4 = facts["gpus"][0]
    assert t4["loaded"] is None and t4["kernels"]["portable"]["runs"] is False
    if carries_kernels(facts):
        assert t4["kernels"]["portable"]["reason"] == "the image has no code for compute capability 7.5"
        assert facts["gpus"][1]["kernels"]["portable"]["runs"] is True


def test_an_old_driver(explain):
    facts = explain(gpus=[H100], driver=11080)["facts"]
    gpu, = facts["gpus"]
    assert gpu["driver_cuda"] == "11.8" and gpu["loaded"] is None and gpu["kernels"]["portable"]["runs"] is False
    if carries_kernels(facts):
        assert "the driver's CUDA 11.8 is older than the image's" in gpu["kernels"]["portable"]["reason"]


def test_an_image_that_does_not_load(explain):
    facts = explain(gpus=[H100], fail="cuModuleLoadDataEx 209")["facts"]
    gpu, = facts["gpus"]
    if carries_kernels(facts):
        assert gpu["loaded"] is False and "CUDA_ERROR_NO_BINARY_FOR_GPU" in gpu["why"]
        assert gpu["kernels"]["portable"] == {"runs": False, "reason": gpu["why"]}


@pytest.mark.parametrize("fail, says", [
    ("cuInit 100", "cuInit: CUDA_ERROR_NO_DEVICE"),
    ("cuInit 999", "cuInit: CUDA_ERROR_UNKNOWN"),
    ("cuDeviceGetCount 999", "cuDeviceGetCount: CUDA_ERROR_UNKNOWN"),
])
def test_no_gpus(explain, fail, says):
    a = explain(gpus=[H100], fail=fail)
    assert a["facts"]["cuda_driver"] is True and a["facts"]["gpus"] == [] and says in a["facts"]["gpu_why"]
    assert a["device"] == "cpu"


def test_a_driver_that_lacks_a_call(explain):
    a = explain(gpus=[H100], library="fake_cuda/lacking")
    assert a["facts"]["cuda_driver"] is False and a["facts"]["gpus"] == [] and a["device"] == "cpu"
    assert a["facts"]["gpu_why"] == ("the NVIDIA driver is too old: libcuda.so.1 lacks cuGraphInstantiateWithFlags: update "
                                     "the driver")


def test_a_driver_without_early_launches(explain):
    facts = explain(gpus=[H100], library="fake_cuda/plain")["facts"]
    assert facts["gpus"][0]["loaded"] is (True if carries_kernels(facts) else None)


def test_a_library_that_is_none(explain, tmp_path, build, verbatim):
    (tmp_path / "libcuda.so.1").write_text("not a library")
    result = verbatim("explain", "--json", env={"LD_LIBRARY_PATH": str(tmp_path)})
    facts = json.loads(result.stdout)["facts"]
    assert result.returncode == 0 and facts["cuda_driver"] is False and "libcuda.so.1" in facts["gpu_why"]


def test_the_cpu_alone_does_not_start_the_driver(verbatim, build, demo):
    """A driver that would hang or fail is nothing to who wants the CPU."""
    env = {"LD_LIBRARY_PATH": str(build / "tests/fake_cuda"), "FAKE_CUDA_GPUS": "not readable: the fake aborts"}
    result = verbatim("run", demo, "Once", "--max-tokens", "1", "--device", "cpu", env=env)
    assert result.returncode == 0, result.stderr
    assert verbatim("explain", env=env).returncode != 0


def test_explain_tells_of_gpus_whatever_the_device(explain):
    assert len(explain("--device", "cpu", gpus=[H100, A10])["facts"]["gpus"]) == 2
