#!/usr/bin/env python3
"""Runs the meson tests and the system tests of one build directory; the last line is "N passed, N failed".

Exits 0 only where something passed and nothing failed. A test that was skipped is neither; skips are listed before
the last line with their number.
"""
import argparse
import json
import os
import subprocess
import sys
import xml.etree.ElementTree as xml

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def remove(path):
    if os.path.exists(path):
        os.remove(path)


def run_meson(build):
    """Results of `meson test`, from its log: one JSON object a line. -> passed, failed names, skipped names"""
    log = os.path.join(build, "meson-logs", "testlog.json")
    remove(log)
    status = subprocess.run(["meson", "test", "-C", build, "--no-rebuild", "--print-errorlogs",
                             "--timeout-multiplier", "4"], cwd=ROOT).returncode
    passed, failed, skipped = 0, [], []
    if os.path.exists(log):
        for line in open(log, encoding="utf-8"):
            test = json.loads(line)
            if test["result"] in ("OK", "EXPECTEDFAIL"):
                passed += 1
            elif test["result"] == "SKIP":
                skipped.append(test["name"])
            else:
                failed.append(test["name"])
    if not passed and not failed or status and not failed:
        failed.append(f"meson test itself (exit status {status})")
    return passed, failed, skipped


def run_pytest(build):
    report = os.path.join(build, "pytest.xml")
    remove(report)
    env = dict(os.environ, VERBATIM_BUILD=build)
    status = subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/system",
                             f"--junit-xml={report}"], cwd=ROOT, env=env).returncode
    passed, failed, skipped = 0, [], []
    if os.path.exists(report):
        for case in xml.parse(report).iter("testcase"):
            name = case.get("classname", "") + "::" + case.get("name", "")
            if case.find("failure") is not None or case.find("error") is not None:
                failed.append(name)
            elif case.find("skipped") is not None:
                skipped.append(name)
            else:
                passed += 1
    if not passed and not failed or status and not failed:
        failed.append(f"pytest itself (exit status {status})")
    return passed, failed, skipped


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", default="build", help="build directory")
    build = os.path.abspath(parser.parse_args().build)
    passed, failed, skipped = 0, [], []
    for run in (run_meson, run_pytest):
        p, f, s = run(build)
        passed, failed, skipped = passed + p, failed + f, skipped + s
    sys.stdout.flush()
    if skipped:
        print(f"skipped ({len(skipped)}): {', '.join(skipped)}")
    for name in failed:
        print(f"FAILED {name}")
    print(f"{passed} passed, {len(failed)} failed", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
