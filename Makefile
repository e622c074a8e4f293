# Everything runs in .venv, which is made on first use and renewed when pyproject.toml changes.
# Tests run in two processes at once: `make WORKERS=4 test` on a larger machine.
# The benchmark of other engines: `make bench PRODUCER=postgresql CONSUMER=mariadb`.
# Another Python: `make PYTHON=/path/to/python3.13 test` (after `make clean`, if .venv is there already).

SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help setup demo test check matrix cases soak bench structure docs format clean

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
WORKERS ?= 2
PRODUCER ?= sqlite
CONSUMER ?= sqlite
PYTEST := $(BIN)/python -m pytest --no-header -n $(WORKERS) --dist worksteal
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# In CI a skipped test is a failed one: nothing may go untested there without anybody noticing.
ifeq ($(CI),true)
PYTEST += -p tests.no_skips
endif

help:
	@echo 'make demo     two sites in sync before your eyes, until Ctrl-C'
	@echo 'make test     the test suite'
	@echo 'make check    format, lint, types, import contracts, and the test suite'
	@echo 'make matrix   on all engines, and with real daemons, what `make test` tries on SQLite'
	@echo 'make cases    what real databases do, if the folder with these programs is there (STREAMD_CASES names it)'
	@echo 'make bench    the benchmark: prints a table, writes bench.json'
	@echo 'make structure  lines and files per folder, the most complex functions, the files that one event crosses'
	@echo 'make soak     the long tests, more examples, and all engines where `make test` takes SQLite'
	@echo 'make docs     writes the pages of docs/reference that the code itself can tell'
	@echo 'make format   formats the code'
	@echo 'make clean    removes what the above made'

setup: $(READY)

demo: $(READY)
	@$(BIN)/python -m streamd demo

test: $(READY)
	@$(PYTEST)

check: $(READY)
	@$(BIN)/ruff format --quiet --check . || { $(BIN)/ruff format --check .; echo 'run make format'; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy --no-error-summary
	@said=$$($(BIN)/lint-imports 2>&1) || { echo "$$said"; exit 1; }
	@$(MAKE) --no-print-directory test

matrix: $(READY)
	@$(PYTEST) -m 'matrix and not soak'

cases: $(READY)
	@$(BIN)/python -m tests.cases

soak: $(READY)
	@STREAMD_TEST_PROGRAMS=1 STREAMD_TEST_EXAMPLES=soak $(PYTEST) -m 'soak or matrix or hypothesis' --timeout=3600

bench: $(READY)
	@$(BIN)/python -m bench.bench --producer $(PRODUCER) --consumer $(CONSUMER)

structure: $(READY)
	@$(BIN)/python -m bench.structure

docs: $(READY)
	@$(BIN)/python -m tests.reference

format: $(READY)
	@$(BIN)/ruff check --quiet --fix --select I .
	@$(BIN)/ruff format --quiet .

clean:
	@rm -rf $(VENV) build dist demo-sites bench.json .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): pyproject.toml
	@python='$(PYTHON)'; \
	for each in $${python:-python3.13 python3.12 python3.11 python3.14 python3 python}; do \
		python=; \
		if $$each -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then python=$$each; break; fi; \
	done; \
	[ -n "$$python" ] || { \
		echo 'streamd needs Python 3.11 or newer: none of $(or $(PYTHON),python3.13, python3.12, python3.11, python3) is that.'; \
		echo 'Install one, or name it: make PYTHON=/path/to/python3'; exit 1; }; \
	if ! $(BIN)/python -c 'import pip' >/dev/null 2>&1; then \
		echo "Setting up $(VENV) with $$($$python --version). The first time takes about a minute."; \
		said=$$($$python -m venv --clear $(VENV) 2>&1) || { echo "$$said"; \
			echo "$$python cannot make virtual environments. On Debian and Ubuntu: apt install python3-venv"; exit 1; }; \
	fi; \
	said=$$($(BIN)/python -m pip install --editable '.[dev]' 2>&1) || { echo "$$said"; exit 1; }; \
	touch $@
