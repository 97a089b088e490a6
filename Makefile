# The two commands of the README, and a few more, in front of Meson. `make help` lists them.
BUILD ?= build
MESON_OPTIONS ?= -Dwerror=false
PREFIX ?= /usr/local
# For prove and soak; every run has a seed of its own, which it prints, unless one is given.
MODEL ?= models/demo
CASES ?= 2000
SECONDS ?= 600
SEED ?= $(shell date +%s)
VENV := .venv
# On a terminal, one line tells how far the build is: with nvcc there it takes minutes.
QUIET := $(shell [ -t 2 ] || echo --quiet)
PYTHON ?= $(VENV)/bin/python

.DEFAULT_GOAL := all
.PHONY: all demo test prove soak install clean help setup setup-test

all: setup $(BUILD)/build.ninja
	@ninja -C $(BUILD) $(QUIET)

$(BUILD)/build.ninja:
	@meson setup $(BUILD) $(MESON_OPTIONS) --prefix $(PREFIX) >$(BUILD).log 2>&1 || { cat $(BUILD).log; exit 1; }
	@rm -f $(BUILD).log

demo: setup $(BUILD)/build.ninja
	@ninja -C $(BUILD) $(QUIET) verbatim
	@echo '$$ verbatim run demo --chat "Tell me a story about a fox." --temperature 0.7 --seed 1'
	@$(BUILD)/verbatim run demo --chat "Tell me a story about a fox." --temperature 0.7 --seed 1

setup:
	@tools/setup.sh build

setup-test:
	@tools/setup.sh test $(PYTHON)

test: setup-test $(BUILD)/build.ninja
	@ninja -C $(BUILD) $(QUIET)
	@$(PYTHON) tests/run_tests.py --build $(BUILD)

prove: all
	$(BUILD)/verbatim prove $(MODEL) --cases $(CASES) --seed $(SEED)

soak: all
	$(BUILD)/tests/soak/soak $(MODEL) $(SECONDS) $(SEED)

install: all
	@meson install -C $(BUILD) --no-rebuild

clean:
	rm -rf build build-*

help:
	@echo 'make          build the program, the library and the kernel harness into build/'
	@echo 'make demo     build, then let the demo model tell a story'
	@echo 'make test     build, then run every test; the last line is "N passed, N failed"'
	@echo 'make prove    random requests in random schedules, compared bit for bit (MODEL=models/demo CASES=2000 SEED=)'
	@echo 'make soak     random requests for a while: pages, memory, answers (MODEL=models/demo SECONDS=600 SEED=)'
	@echo 'make install  install program, library, headers and demo model (PREFIX=/usr/local, DESTDIR=)'
	@echo 'make clean    remove build directories'
