# One command for each job; `make help` lists them. Needs Python 3.11+, pip and make, nothing else.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CONFIG ?= configs/paper.yaml
KILLS ?= 500
TEST_WORKERS ?= 2

PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check
PIP_COMPILE := CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/pip-compile --quiet --generate-hashes \
	--strip-extras --allow-unsafe --no-emit-index-url --no-emit-find-links --no-emit-trusted-host

# Stamps: a change of what is on the right of a rule rebuilds what is on its left.
LOCKED := $(VENV)/.locked
INSTALLED := $(VENV)/.installed
DEVELOPMENT := $(VENV)/.development

.PHONY: help run test check bench crash format build audit lock hooks clean

help:  ## List the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

run: $(INSTALLED)  ## Start the market maker on the paper exchange (CONFIG=configs/paper.yaml)
	@exec $(BIN)/market-maker run --config $(CONFIG)

test: check  ## Every check and every test; the same as .ci/run
	$(BIN)/python -m pytest -n $(TEST_WORKERS) --dist worksteal

check: $(DEVELOPMENT)  ## Format, lint, types, imports
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(DEVELOPMENT)  ## Measure speed, latency, recovery and memory
	$(BIN)/python -m tests.bench

crash: $(DEVELOPMENT)  ## Kill real processes at random instants, KILLS times
	KILLS=$(KILLS) $(BIN)/python -m pytest tests/e2e -m crash_hunt --timeout=0 -s

format: $(DEVELOPMENT)  ## Rewrite the code in the one format
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

build: $(DEVELOPMENT)  ## Build the wheel and the source archive into dist/
	$(BIN)/python -m build --no-isolation

audit: $(DEVELOPMENT)  ## Lint, types, known vulnerabilities, secrets (AUDIT_OFFLINE=1 without network)
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python scripts/audit.py

lock: $(DEVELOPMENT)  ## Resolve the dependencies anew (UPGRADE=1 takes the newest)
	$(PIP_COMPILE) $(if $(UPGRADE),--upgrade) --extra postgresql --extra build \
		--output-file requirements.lock pyproject.toml
	$(PIP_COMPILE) $(if $(UPGRADE),--upgrade) --extra postgresql --extra build --extra dev \
		--constraint requirements.lock --output-file requirements-dev.lock pyproject.toml

hooks: $(DEVELOPMENT)  ## Run the fast checks before each commit
	$(BIN)/pre-commit install

clean:  ## Remove everything that was made, except var/
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	rm -rf .coverage .coverage.* htmlcov
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(LOCKED): requirements.lock
	@echo "Preparing $(VENV) from $<"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	@$(PYTHON) -m venv --clear $(VENV)
	@$(PIP_INSTALL) --require-hashes --requirement $<
	@touch $@

$(INSTALLED): $(LOCKED) pyproject.toml
	@$(PIP_INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

$(DEVELOPMENT): requirements-dev.lock $(INSTALLED)
	@echo "Adding the development tools from $<"
	@$(PIP_INSTALL) --require-hashes --requirement $<
	@touch $@
