#!/usr/bin/env python3
"""What the build reads from the source tree is in git: a clone builds as this tree does. usage: check_tracked.py BUILD"""
import json
import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def lines(*command):
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()


def main():
    build = os.path.abspath(sys.argv[1])
    try:
        tracked = {os.path.join(ROOT, p) for p in lines("git", "ls-files")}
    except (OSError, subprocess.CalledProcessError):
        print("no git, or no git checkout: skipped")
        return 77
    used = set()
    for target in json.load(open(os.path.join(build, "meson-info", "intro-targets.json"), encoding="utf-8")):
        for part in target["target_sources"]:
            used.update(part.get("sources", []))
    used.update(json.load(open(os.path.join(build, "meson-info", "intro-buildsystem_files.json"), encoding="utf-8")))
    # Included headers, as the compiler saw them.
    for line in lines("ninja", "-C", build, "-t", "deps"):
        if line.startswith("    "):
            used.add(os.path.join(build, line.strip()))
    used = {os.path.normpath(p) for p in used}
    inside = {p for p in used if p.startswith(ROOT + os.sep) and not p.startswith(build + os.sep)}
    missing = sorted(os.path.relpath(p, ROOT) for p in inside - tracked)
    for path in missing:
        print(f"used by the build, but not in git: {path}")
    print(f"{len(inside)} files used, {len(missing)} not in git")
    return 1 if missing or not inside else 0


if __name__ == "__main__":
    sys.exit(main())
