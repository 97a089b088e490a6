"""An installed verbatim serves programs that know pkg-config and the public headers only."""
import os
import subprocess

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


PROGRAM = """
#include <verbatim/engine.h>
#include <stdio.h>
int main(void) { puts(vb_status_name(VB_EFORMAT)); return 0; }
"""


@pytest.mark.parametrize("static", [False, True])
def test_program_against_installed_library(prefix, sanitized, tmp_path, static):
    if sanitized:
        pytest.skip("a library with sanitizers links into programs with sanitizers only")
    dest, pc = prefix
    (tmp_path / "p.c").write_text(PROGRAM)
    if static:
        (archive,) = dest.rglob("libverbatim.a")
        libs = [str(archive), *subprocess.run(
            ["pkg-config", "--libs", "jansson", "libpcre2-8", "libutf8proc"], capture_output=True, text=True,
            check=True).stdout.split(), "-lm", "-lpthread"]
    else:
        libs = flags(prefix, "--libs")
    subprocess.run(["cc", "-std=c11", "-Wall", "-Werror", tmp_path / "p.c", "-o", tmp_path / "p",
                    *flags(prefix, "--cflags"), *libs], check=True)
    env = dict(os.environ, LD_LIBRARY_PATH=str(next(dest.rglob("libverbatim.so")).parent))
    out = subprocess.run([tmp_path / "p"], env=env, capture_output=True, text=True)
    assert out.stdout == "VB_EFORMAT\n", out.stderr


def test_every_public_header_is_installed(prefix, root):
    dest, _ = prefix
    (folder,) = [p for p in dest.rglob("verbatim") if p.parent.name == "include"]
    assert sorted(p.name for p in folder.iterdir()) == sorted(p.name for p in (root / "include/verbatim").iterdir())
