"""What build/kcheck --bench answers."""
import json
import subprocess

import pytest


def bench(build, *args):
    result = subprocess.run([build / "kcheck", "--op=softcap", "--bench", *args], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_bench_of_one_row(build):
    """The reference is left out with the rest: there is no ratio to it, but all else is there."""
    rows = json.loads(subprocess.run([build / "kcheck", "--op=softcap", "--json"], capture_output=True, text=True).stdout)["rows"]
    fast = [r["row"] for r in rows if r["row"] != "ref" and r["state"] == "ok"]
    if not fast:
        pytest.skip("this machine runs the reference alone")
    results = json.loads(bench(build, f"--row={fast[0]}", "--json"))["bench"]["results"]
    assert results and all(r["kernel"] == fast[0] and r["median_us"] > 0 and "speed_over_ref" not in r for r in results)
    text = bench(build, f"--row={fast[0]}")
    assert "% of limit" in text and "nan" not in text and "x ref" not in text
    results = json.loads(bench(build, "--json"))["bench"]["results"]
    assert {r["kernel"] for r in results} >= {"ref", fast[0]} and all(r["speed_over_ref"] > 0 for r in results)
