#!/usr/bin/env python3
"""Runs the meson tests and the system tests of one build directory; the last line is "N passed, N failed".

Exits 0 only where something passed and nothing failed. A test that was skipped is neither; skips are listed before
the last line with their number. As many run at a time as there are CPUs, or as MESON_TESTTHREADS says. Several may run
in one build directory at once: what they write has the process's number in its name, and goes when it was read.
"""
import argparse
import json
import os
import subprocess
import sys
import xml.etree.ElementTree as xml

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def at_a_time():
    """As `meson test` counts."""
    return os.environ.get("MESON_TESTTHREADS") or str(len(os.sched_getaffinity(0)))


def remove(path):
    if os.path.exists(path):
        os.remove(path)


def run_meson(build):
    """Results of `meson test`, from its log: one JSON object a line. -> passed, failed names, skipped names"""
    name = f"testlog-{os.getpid()}"
    log = os.path.join(build, "meson-logs", name)
    status = subprocess.run(["meson", "test", "-C", build, "--no-rebuild", "--print-errorlogs", "--logbase", name,
                             "--timeout-multiplier", "4"], cwd=ROOT).returncode
    passed, failed, skipped = 0, [], []
    if os.path.exists(log + ".json"):
        with open(log + ".json", encoding="utf-8") as lines:
            for line in lines:
                test = json.loads(line)
                if test["result"] in ("OK", "EXPECTEDFAIL"):
                    passed += 1
                elif test["result"] == "SKIP":
                    skipped.append(test["name"])
                else:
                    failed.append(test["name"])
    for ending in (".json", ".junit.xml", ".txt"):
        remove(log + ending)
    if not passed and not failed or status and not failed:
        failed.append(f"meson test itself (exit status {status})")
    return passed, failed, skipped


def run_pytest(build, tests="tests/system"):
    report = os.path.join(build, f"pytest-{os.getpid()}.xml")
    env = dict(os.environ, VERBATIM_BUILD=build)
    status = subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", at_a_time(),
                             "--dist", "worksteal", tests, f"--junit-xml={report}"], cwd=ROOT, env=env).returncode
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
        remove(report)
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
