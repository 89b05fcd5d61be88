# Every target needs only python3 (3.10 or newer, with venv) and make: the first one to run
# creates .venv and installs the project with the versions that constraints.txt pins.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help install demo test check bench bench-compare conformance format clean

help:
	@echo "make demo    train an agent on CartPole with and without replay, and draw both"
	@echo "make test    run the whole test suite"
	@echo "make check   ruff (lint and format) and mypy"
	@echo "make bench   measure beside the peers (an environment of its own), write docs/benchmarks.md"
	@echo "make bench ONLY='bytes loop'   print some of it, and write nothing"
	@echo "make bench-compare BASE=old.json   what has changed since an earlier docs/benchmarks.json"
	@echo "make conformance   put us and the peers through the same cases, write docs/conformance.md"
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

bench: .venv-bench/ready .venv-reverb/ready
	.venv-bench/bin/python -W ignore -m benchmarks $(if $(ONLY),--only $(ONLY))

bench-compare: .venv-bench/ready
	@test -n "$(BASE)" || { echo "make bench-compare BASE=old.json [NEW=new.json]"; exit 1; }
	@.venv-bench/bin/python -m benchmarks.compare $(BASE) $(NEW)

.venv-bench/ready: pyproject.toml benchmarks/requirements.txt
	@echo "Installing the peers into .venv-bench (a few minutes the first time)"
	@$(PYTHON) -m venv .venv-bench
	@.venv-bench/bin/python -m pip install --quiet --requirement benchmarks/requirements.txt --editable .
	@touch .venv-bench/ready

CASES := -W ignore -m recollect.conformance
VERDICTS := runs/conformance

# TorchRL's compiled part wants another torch than the benchmarks, and Reverb another NumPy.
conformance: $(READY) .venv-bench/ready .venv-torchrl/ready .venv-reverb/ready
	@mkdir -p $(VERDICTS) && rm -f $(VERDICTS)/*
	$(BIN)/python $(CASES) recollect --json $(VERDICTS)/1-own.json
	.venv-bench/bin/python $(CASES) stable-baselines3 cpprb tianshou flashbax rlox \
		--json $(VERDICTS)/2-peers.json
	PYTHONPATH=src .venv-torchrl/bin/python $(CASES) torchrl --json $(VERDICTS)/3-torchrl.json
	if [ -e .venv-reverb/installed ]; then PYTHONPATH=src .venv-reverb/bin/python $(CASES) reverb \
		--json $(VERDICTS)/4-reverb.json 2>$(VERDICTS)/reverb.txt; fi
	$(BIN)/python $(CASES) $(VERDICTS)/*.json --page docs/conformance.md

.venv-torchrl/ready:
	@echo "Installing TorchRL into .venv-torchrl (several gigabytes, the first time)"
	@$(PYTHON) -m venv .venv-torchrl
	@.venv-torchrl/bin/python -m pip install --quiet torchrl==0.14.1 torch==2.14.1 numpy==2.4.6
	@touch .venv-torchrl/ready

.venv-reverb/ready:
	@echo "Installing Reverb into .venv-reverb (a few minutes the first time)"
	@$(PYTHON) -m venv .venv-reverb
	@.venv-reverb/bin/python -m pip install --quiet 'dm-reverb[tensorflow]==0.14.0' numpy==1.26.4 \
		&& touch .venv-reverb/installed || echo "Reverb does not install here; it is left out"
	@touch .venv-reverb/ready

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) .venv-bench .venv-torchrl .venv-reverb runs .pytest_cache .mypy_cache .ruff_cache .hypothesis
