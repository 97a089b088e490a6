"""What the system tests share: where the build is, and how the program is run."""
import json
import os
import subprocess
from pathlib import Path

import pytest

from waiting import LIMIT_S

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("VERBATIM_BUILD", ROOT / "build")).resolve()


@pytest.fixture(scope="session")
def root():
    return ROOT


@pytest.fixture(scope="session")
def build():
    return BUILD


@pytest.fixture(scope="session")
def sanitized():
    """Whether the build carries sanitizers: then foreign programs cannot link it without them."""
    options = subprocess.run(["meson", "introspect", "--buildoptions", str(BUILD)], capture_output=True, text=True,
                             check=True).stdout
    return next(o["value"] for o in json.loads(options) if o["name"] == "b_sanitize") != "none"


@pytest.fixture(scope="session")
def cases(sanitized):
    """For prove: its bits are compared without sanitizers; under them each case takes seconds, and addresses repeat."""
    return 4 if sanitized else 40


@pytest.fixture(scope="session")
def verbatim(build):
    """Runs the program: verbatim("run", ..., stdin="text") -> CompletedProcess with text output."""
    def run(*args, stdin=None, env=None, timeout=LIMIT_S, **more):
        full = dict(os.environ, **(env or {}))
        kwargs = {"input": stdin} if stdin is not None else {"stdin": subprocess.DEVNULL}
        return subprocess.run([str(build / "verbatim"), *map(str, args)], capture_output=True, text=True, env=full,
                              timeout=timeout, **kwargs, **more)
    return run


@pytest.fixture(scope="session")
def demo(root):
    return root / "models/demo"
