# Everything a person or the CI does with this repository. `make` alone lists it.

SHELL := /bin/bash
.DEFAULT_GOAL := help
BIN := .venv/bin
STREAM ?=
ARGS ?=
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps
LOCK = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
       --custom-compile-command "make lock" pyproject.toml
stream = $(if $(STREAM),--stream $(STREAM))

# The first Python that is at least 3.11; set PYTHON=... to choose another.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
    $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)

.PHONY: help install kafka kafka-stop demo test lint format bench bench-memory wheel-check readme-check lock freeze-schemas clean

help: ## list what there is (at once)
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | awk -F'\t' '{printf "  make %-15s %s\n", $$1, $$2}'
	@echo "  STREAM=embedded or STREAM=kafka chooses the stream for demo (default: embedded), test (default: both) and bench"

install: .venv/core.stamp ## the command casebridge in .venv (20 s)

kafka: .venv/core.stamp ## start a local Kafka (Java and Maven; 10 s, the first time 30 s); CLUSTER=3 starts three nodes
	@$(BIN)/python -m deploy.kafka start build/kafka --nodes $(or $(CLUSTER),1) --agencies adapters/demo/scenario.json

kafka-stop: .venv/core.stamp ## end the local Kafka; what it holds stays in build/kafka (at once)
	@$(BIN)/python -m deploy.kafka stop build/kafka

demo: .venv/core.stamp $(if $(filter kafka,$(STREAM)),kafka) ## play the whole demo case through seventeen agencies and the broker (under 2 min, installation included)
	@rm -rf build/demo && mkdir -p build
	@$(BIN)/casebridge demo --home build/demo --json build/demo.json $(stream) $(ARGS)

test: .venv/dev.stamp ## every test, on both streams (under 15 min; Kafka needs Java and Maven, the programs of others Go); ARGS="-k word" chooses
	@$(BIN)/python -m deploy.kafka missing
	@$(BIN)/python -m tests.interop.golang
	@CASEBRIDGE_TEST_STREAM=$(STREAM) $(BIN)/python -m pytest -q -n 2 --dist worksteal $(ARGS)

lint: .venv/dev.stamp ## style, types, import rules, sizes and documents (1 min)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet . || { $(BIN)/ruff format --check . ; echo "run: make format"; exit 1; }
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/python -m pytest -q -p no:cacheprovider tests/architecture

format: .venv/dev.stamp ## lay out the code (2 s)
	@$(BIN)/ruff check --fix-only --quiet . ; $(BIN)/ruff format .

bench: .venv/bench.stamp ## measure, compare and plot into build/bench (5 min)
	@mkdir -p build/bench
	@$(BIN)/python -m tests.bench --out build/bench $(stream) $(ARGS)
	@$(BIN)/python -m tests.bench.tlog --out build/bench

bench-memory: .venv/bench.stamp ## memory of broker and adapter over 100,000 events (15 min, 6 GB of disk meanwhile)
	@$(BIN)/python -m tests.bench.memory --out build/bench $(ARGS)

wheel-check: .venv/dev.stamp ## build the wheel, install it elsewhere, read its data from there (30 s)
	@$(BIN)/python -m tests.architecture.wheel_check

readme-check: .venv/dev.stamp ## run the commands that README.md shows (3 min)
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m tests.architecture.readme_check

lock: .venv/dev.stamp ## resolve the dependencies anew into requirements/ (10 s); UPGRADE=1 takes newer versions
	$(LOCK) $(if $(UPGRADE),--upgrade) -o requirements/core.txt
	$(LOCK) $(if $(UPGRADE),--upgrade) -c requirements/core.txt --extra build -o requirements/build.txt
	$(LOCK) $(if $(UPGRADE),--upgrade) -c requirements/build.txt --extra build --extra dev -o requirements/dev.txt
	$(LOCK) $(if $(UPGRADE),--upgrade) -c requirements/dev.txt --extra build --extra dev --extra bench -o requirements/bench.txt

freeze-schemas: .venv/dev.stamp ## release the new schemas: from then on their bytes never change (at once)
	@$(BIN)/python -m tests.architecture.released

clean: ## remove what was built, and the installation (at once)
	rm -rf build dist .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Installations. Each stamp is older than its lock only when something is to be installed.
.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "casebridge needs Python 3.11 or newer: install it, or set PYTHON=/path/to/python"; exit 1; }
	@echo "installing into .venv with $(PYTHON)"
	@$(PYTHON) -m venv .venv

.venv/core.stamp: requirements/core.txt requirements/build.txt pyproject.toml | .venv/bin/python
	@$(PIP) -r requirements/build.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

.venv/dev.stamp: requirements/dev.txt .venv/core.stamp
	@$(PIP) -r requirements/dev.txt
	@touch $@

.venv/bench.stamp: requirements/bench.txt .venv/dev.stamp
	@$(PIP) -r requirements/bench.txt
	@touch $@
