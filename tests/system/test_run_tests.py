"""What counts the tests: right also where two runs share a build directory."""
import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

PROJECT = """project('two', meson_version: '>=0.61')
sleep = find_program('sleep')
test('slow', sleep, args: ['1.5'])
test('quick', find_program('true'))
test('wrong', find_program('false'))
test('left out', find_program('sh'), args: ['-c', 'exit 77'])
"""

RUN = """import os, sys
sys.path.insert(0, sys.argv[1] + "/tests")
import run_tests
for passed, failed, skipped in (run_tests.run_meson(sys.argv[2]), run_tests.run_pytest(sys.argv[2], sys.argv[3])):
    print("came to:", passed, *failed, *skipped)
"""

PYTESTS = """import time, pytest
def test_slow():
    time.sleep(1.5)
def test_wrong():
    assert False
def test_left_out():
    pytest.skip("for a reason")
"""


def test_two_runs_in_one_directory(tmp_path):
    source, build, tests = tmp_path / "source", tmp_path / "build", tmp_path / "test_these.py"
    source.mkdir()
    (source / "meson.build").write_text(PROJECT)
    tests.write_text(PYTESTS)
    subprocess.run(["meson", "setup", str(build), str(source)], check=True, stdout=subprocess.DEVNULL)
    logs = set(os.listdir(build / "meson-logs"))
    runs = [subprocess.Popen([sys.executable, "-c", RUN, ROOT, str(build), str(tests)], stdout=subprocess.PIPE,
                             text=True) for _ in range(2)]
    for run in runs:
        lines = [line for line in run.communicate()[0].splitlines() if line.startswith("came to:")]
        assert lines[0] == "came to: 2 wrong left out", lines
        assert lines[1].startswith("came to: 1 ") and "test_wrong" in lines[1] and "test_left_out" in lines[1], lines
    assert set(os.listdir(build / "meson-logs")) == logs
    assert not [name for name in os.listdir(build) if name.startswith("pytest")]
