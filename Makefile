# Everything a new user and CI need: Python 3.11 or newer with pip and venv, and make. Nothing else is installed by hand.
#
#   make demo            start everything, run the demo, print its execution trees   (KEEP=1: leave it running)
#   make test            what CI runs: ruff, mypy, import contracts, tests
#   make test-again      what failed in the last `make test`, one test at a time
#   make check           the same without the tests
#   make chaos           200 random faults under load: nothing acknowledged is lost   (ARGS="--faults 20 --seed 7")
#   make test-citus      the integration tests and the rolling upgrade against a Citus cluster of three workers   (needs Citus: make citus SOURCE=checkout)
#   make test-live       real frameworks run and told by `spantree up`   (installs them in .venv-live, once)
#   make wheel           dist/spantree-*.whl, for other environments: pip install "dist/spantree-....whl[run]"
#   make bench           all that README quotes: cost a span, growth, reads, in a service   (ARGS="--only growth")
#   make bench-pages     bytes and time to usable of the web pages, in the system's Chromium
#   make screenshots     docs/images/*.png, the pictures of README and docs   (ARGS="--all --into DIR": every page)
#
# PYTHON=/path/to/python3.12 chooses the interpreter, DATA=dir where the demo keeps its data, JOBS=1 runs tests one by one, ARGS="..." adds options.

SHELL := /bin/sh
VENV := .venv
LIVE := .venv-live
# Relative, and in quotes wherever it is used: the checkout's path may hold spaces.
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# The compiled hot path is built in the checkout; this says that it was, for this Python.
COMPILED := $(VENV)/.compiled
DATA ?= .spantree
ARGS ?=
SOURCE ?=
# Files of tests that run at the same time.
JOBS ?= 2
KEEP ?=
# Found when it is needed, not when this file is read: `make clean` needs none.
PYTHON ?= $(shell for name in python3.13 python3.12 python3.11 python3.14 python3 python; do \
    if command -v $$name >/dev/null 2>&1 && $$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
      command -v $$name; break; fi; done)

.PHONY: demo test test-again chaos citus test-citus test-live check bench bench-pages screenshots wheel install constraints clean help

help:
	@sed -n 's/^#   //p' Makefile

demo: install
	@"$(BIN)/spantree" demo --data "$(DATA)" $(if $(filter-out 0 no false,$(KEEP)),--keep) $(ARGS)

# In the order of their folders, chaos and e2e first: by default files of few tests come last, and these take longest, so
# that one process waited for the other.
test: check
	@"$(BIN)/python" -m pytest --numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder $(ARGS)

# Without a failed test to run again (a check failed, or nothing did) pytest ends with 5, which is no success.
test-again: check
	@"$(BIN)/python" -m pytest --last-failed --last-failed-no-failures none $(ARGS)

chaos: install
	@"$(BIN)/python" -m tests.chaos.random_faults $(ARGS)

# Apart from the rest: Citus is in few distributions, and its sources are nobody's to fetch here.
test-citus: install
	@"$(BIN)/python" -m tests.citus_cluster run "$(BIN)/python" -m pytest tests/integration tests/e2e/test_rolling_upgrade.py $(ARGS)

citus: install
	@test -n "$(SOURCE)" || { echo "which sources of Citus? make citus SOURCE=folder, a clone of citusdata/citus" >&2; exit 2; }
	@"$(BIN)/python" -m tests.citus_cluster build "$(SOURCE)"

# Apart from the rest: these frameworks pin what spantree does not.
test-live: install $(LIVE)/.installed
	@"$(BIN)/python" -m pytest tests/live $(ARGS)

$(LIVE)/.installed: tests/live/requirements.txt tests/live/constraints.txt
	@echo "installing the frameworks of the live tests into $(LIVE) (once; again when tests/live/*.txt change)"
	@"$(BIN)/python" -m venv --clear "$(LIVE)"
	@"$(LIVE)/bin/python" -m pip install --quiet --constraint tests/live/constraints.txt --requirement tests/live/requirements.txt
	@touch "$@"

check: install
	@echo "ruff check";   "$(BIN)/ruff" check .
	@echo "ruff format";  "$(BIN)/ruff" format --check .
	@echo "mypy";         "$(BIN)/python" -m mypy
	@echo "lint-imports"; "$(BIN)/lint-imports"

bench: install
	@"$(BIN)/python" -m benchmarks.bench $(ARGS)

bench-pages: install
	@"$(BIN)/python" -m benchmarks.pages $(ARGS)

screenshots: install
	@"$(BIN)/python" -m tests.screenshots $(ARGS)

# Without the compiled hot path, which would tie it to one Python and one machine; `pip install .` builds that.
wheel: install
	@SPANTREE_PURE_WHEEL=1 "$(BIN)/python" -m pip wheel --quiet --no-deps --wheel-dir dist .
	@ls dist/spantree-*.whl

install: $(INSTALLED) $(COMPILED)

# Without a compiler everything goes the Python way: one line says so, each time until there is one.
$(COMPILED): $(INSTALLED) $(wildcard exporter/native/*)
	@if "$(BIN)/python" exporter/native/build.py; then touch "$@"; fi

# Again only when the dependencies may have changed; the packages themselves are read from the checkout.
$(INSTALLED): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { \
	  echo "spantree needs Python 3.11 or newer, and none was found: install one, or name it: make PYTHON=/path/to/python3" >&2; \
	  exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "spantree needs Python 3.11 or newer, $(PYTHON) is older (or no Python): make PYTHON=/path/to/python3" >&2; \
	  exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "$(PYTHON) cannot make virtual environments: install its venv module (Debian, Ubuntu: apt install python3-venv)" >&2; \
	  exit 1; }
	@echo "installing into $(VENV) (once; again when pyproject.toml or constraints.txt changes)"
	@test -x "$(BIN)/python" && "$(BIN)/python" -m pip --version >/dev/null 2>&1 || "$(PYTHON)" -m venv --clear "$(VENV)"
	@"$(BIN)/python" -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	@touch "$(INSTALLED)"

# The newest versions, to be committed once `make test` passes with them.
constraints: install
	@"$(BIN)/python" -m pip install --quiet --upgrade --upgrade-strategy eager --editable ".[dev]"
	@sed -n '/^#/p' constraints.txt > constraints.new
	@"$(BIN)/python" -m pip freeze --exclude-editable >> constraints.new
	@mv constraints.new constraints.txt
	@touch "$(INSTALLED)"

clean:
	rm -f exporter/spantree_exporter/_hot_path.*
	rm -rf "$(VENV)" "$(LIVE)" .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
