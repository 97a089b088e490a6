#!/bin/sh
# Installs what a fresh Debian 12 or Ubuntu 24.04 lacks for building (and, with "test", for testing) verbatim.
# With "test" and without a CUDA toolkit, nvcc comes from PyPI, so that the GPU kernels are compiled and tested for what can be
# tested without a GPU; where it cannot be had, they are left out.
# Does nothing, quickly, where all is there. usage: tools/setup.sh build | test [PYTHON]
set -eu
cd "$(dirname "$0")/.."
what=${1:-build}
python=${2:-.venv/bin/python}

# What is there is found by asking for the thing itself, not for a package: it may come from elsewhere.
missing=
need_command() { command -v "$1" >/dev/null 2>&1 || missing="$missing $2"; }
need_command gcc gcc
need_command ld binutils
need_command meson meson
need_command ninja ninja-build
[ -e /usr/include/stdio.h ] || missing="$missing libc6-dev"
if command -v pkg-config >/dev/null 2>&1; then
	pkg-config --exists 'jansson >= 2.14' || missing="$missing libjansson-dev"
	pkg-config --exists 'libpcre2-8 >= 10.42' || missing="$missing libpcre2-dev"
	pkg-config --exists libutf8proc || missing="$missing libutf8proc-dev"
	pkg-config --exists 'cmocka >= 1.1.5' || missing="$missing libcmocka-dev"
	pkg-config --exists 'libxxhash >= 0.8' || missing="$missing libxxhash-dev"
else
	missing="$missing pkg-config libjansson-dev libpcre2-dev libutf8proc-dev libxxhash-dev libcmocka-dev"
fi
# Other CPUs are emulated: a kernel must not use what it does not declare.
[ "$what" != test ] || need_command qemu-x86_64 qemu-user
# Test-only Python packages live in .venv; the copy of requirements.txt in it says what it holds.
make_venv=
if [ "$what" = test ] && [ "$python" = .venv/bin/python ] &&
	! cmp -s tests/requirements.txt .venv/requirements.txt; then
	make_venv=yes
	python3 -c 'import ensurepip, venv' 2>/dev/null || missing="$missing python3-venv"
fi

make_nvcc=
if [ "$what" = test ] && [ "$python" = .venv/bin/python ] && ! command -v nvcc >/dev/null 2>&1 &&
	! [ -x /usr/local/cuda/bin/nvcc ]; then
	need_command g++ g++
	cmp -s kernels/cuda/requirements.txt .venv/nvcc-requirements.txt || make_nvcc=yes
fi

if [ -n "$missing" ]; then
	echo "setup: missing, and installed now with apt-get:$missing" >&2
	if ! command -v apt-get >/dev/null 2>&1; then
		echo "setup: error: no apt-get on this system: install the equivalents of:$missing" >&2
		exit 1
	fi
	as_root=
	if [ "$(id -u)" != 0 ]; then
		if ! command -v sudo >/dev/null 2>&1; then
			echo "setup: error: not root and no sudo: run as root: apt-get install$missing" >&2
			exit 1
		fi
		as_root=sudo
	fi
	export DEBIAN_FRONTEND=noninteractive
	# shellcheck disable=SC2086 # $missing is a list of words
	if ! $as_root apt-get -qq update ||
		! $as_root apt-get -qq install -y --no-install-recommends $missing >/dev/null; then
		echo "setup: error: apt-get failed, see above: install by hand:$missing" >&2
		exit 1
	fi
fi

if [ -n "$make_venv" ]; then
	echo "setup: installing the tests' Python packages into .venv" >&2
	if ! python3 -m venv .venv ||
		! .venv/bin/python -m pip --quiet --disable-pip-version-check install -r tests/requirements.txt; then
		echo "setup: error: pip failed, see above: mend the network, or name a Python that has" \
			"tests/requirements.txt: make test PYTHON=..." >&2
		exit 1
	fi
	cp tests/requirements.txt .venv/requirements.txt
fi

# Meson looks for .venv/cuda/bin/nvcc; a build that was set up without one is set up anew.
if [ -n "$make_nvcc" ]; then
	echo "setup: installing nvcc into .venv" >&2
	if .venv/bin/python -m pip --quiet --disable-pip-version-check install -r kernels/cuda/requirements.txt; then
		ln -sfn "$(.venv/bin/python -c 'import nvidia; print(list(nvidia.__path__)[0])')/cu13" .venv/cuda
		cp kernels/cuda/requirements.txt .venv/nvcc-requirements.txt
		touch kernels/cuda/meson.build
	else
		echo "setup: no nvcc, see above: the GPU kernels are not compiled" >&2
	fi
fi
