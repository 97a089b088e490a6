"""An installed verbatim serves programs that know pkg-config and the public headers only."""
import json
import os
import subprocess
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def prefix(build, tmp_path_factory):
    dest = tmp_path_factory.mktemp("dest")
    subprocess.run(["meson", "install", "-C", build, "--no-rebuild", "--quiet", "--destdir", dest], check=True)
    (pc,) = dest.rglob("verbatim.pc")
    return dest, pc


def flags(prefix, *ask):
    dest, pc = prefix
    env = dict(os.environ, PKG_CONFIG_SYSROOT_DIR=str(dest),
               PKG_CONFIG_PATH=f"{pc.parent}:{os.environ.get('PKG_CONFIG_PATH', '')}")
    out = subprocess.run(["pkg-config", *ask, "verbatim"], env=env, capture_output=True, text=True)
    assert out.returncode == 0, out.stderr
    return out.stdout.split()


EXAMPLES = sorted(p.stem for p in (Path(__file__).resolve().parents[2] / "examples").glob("*.c"))
# How those that are run here are called, and a word that they print; the others are compiled and linked.
CALLS = {"attend": ([], "ok")}


@pytest.mark.parametrize("static", [False, True])
@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_against_installed_library(prefix, root, sanitized, tmp_path, name, static):
    if sanitized:
        pytest.skip("a library with sanitizers links into programs with sanitizers only")
    dest, pc = prefix
    if static:
        (archive,) = dest.rglob("libverbatim.a")
        libs = [str(archive), *subprocess.run(
            ["pkg-config", "--libs", "jansson", "libpcre2-8", "libutf8proc"], capture_output=True, text=True,
            check=True).stdout.split(), "-lm", "-lpthread"]
    else:
        libs = flags(prefix, "--libs")
    subprocess.run(["cc", "-std=c11", "-Wall", "-Wextra", "-Werror", root / "examples" / f"{name}.c", "-o",
                    tmp_path / name, *flags(prefix, "--cflags"), *libs, "-lm"], check=True)
    env = dict(os.environ, LD_LIBRARY_PATH=str(next(dest.rglob("libverbatim.so")).parent))
    if name not in CALLS:
        return
    args, word = CALLS[name]
    out = subprocess.run([tmp_path / name, *[str(root / a) for a in args]], env=env, capture_output=True, text=True,
                         cwd=tmp_path)
    assert out.returncode == 0, out.stderr
    assert word in out.stdout


def test_installed_program_finds_its_model(prefix, tmp_path):
    dest, _ = prefix
    (program,) = [p for p in dest.rglob("verbatim") if p.parent.name == "bin"]
    out = subprocess.run([program, "run", "--json", "--max-tokens", "3"], input="Once upon a time", capture_output=True,
                         text=True, cwd=tmp_path)
    assert out.returncode == 0, out.stderr
    answer = json.loads(out.stdout)
    assert len(answer["ids"]) == 3 and answer["model"].startswith(str(dest))


def test_every_public_header_is_installed(prefix, root):
    dest, _ = prefix
    (folder,) = [p for p in dest.rglob("verbatim") if p.parent.name == "include"]
    assert sorted(p.name for p in folder.iterdir()) == sorted(p.name for p in (root / "include/verbatim").iterdir())
