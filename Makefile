# Every target needs only python3 (3.10 or newer, with venv) and make: the first one to run
# creates .venv and installs the project with the versions that constraints.txt pins.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help install demo test check bench bench-compare format clean

help:
	@echo "make demo    train an agent on CartPole with and without replay, and draw both"
	@echo "make test    run the whole test suite"
	@echo "make check   ruff (lint and format) and mypy"
	@echo "make bench   measure beside the peers (an environment of its own), write docs/benchmarks.md"
	@echo "make bench-compare BASE=old.json   what has changed since an earlier docs/benchmarks.json"
	@echo "make format  let ruff mend what it can"
	@echo "make clean   remove .venv, runs and caches"

install: $(READY)

$(READY): pyproject.toml constraints.txt
	@echo "Installing into $(VENV) (a minute or two the first time)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
		|| { echo "recollect needs Python 3.10 or newer; use make PYTHON=python3.12, say"; exit 1; }
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	@touch $(READY)

CARTPOLE := $(BIN)/recollect train dqn --env CartPole-v1 --seed 1 --overwrite

demo: $(READY)
	@mkdir -p runs/demo
	@echo "Training without replay beside it; its progress: runs/demo/without-replay.txt"
	$(CARTPOLE) --replay off --run-dir runs/demo/without-replay >runs/demo/without-replay.txt & \
		without=$$!; \
		$(CARTPOLE) --replay on --run-dir runs/demo/with-replay && wait $$without
	$(BIN)/recollect compare runs/demo/with-replay runs/demo/without-replay --out runs/demo/replay.png
	@echo
	@$(BIN)/recollect eval runs/demo/with-replay
	@echo "replay on and off, in one picture: runs/demo/replay.png"
	@echo "the two runs: runs/demo/with-replay, runs/demo/without-replay"

test: $(READY)
	$(BIN)/python -m pytest --numprocesses 2

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: .venv-bench/ready
	.venv-bench/bin/python -W ignore -m benchmarks

bench-compare: .venv-bench/ready
	@test -n "$(BASE)" || { echo "make bench-compare BASE=old.json [NEW=new.json]"; exit 1; }
	@.venv-bench/bin/python -m benchmarks.compare $(BASE) $(NEW)

.venv-bench/ready: pyproject.toml benchmarks/requirements.txt
	@echo "Installing the peers into .venv-bench (a few minutes the first time)"
	@$(PYTHON) -m venv .venv-bench
	@.venv-bench/bin/python -m pip install --quiet --requirement benchmarks/requirements.txt --editable .
	@touch .venv-bench/ready

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) .venv-bench runs .pytest_cache .mypy_cache .ruff_cache .hypothesis
