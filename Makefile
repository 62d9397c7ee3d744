# Every target installs what it needs. Nothing here wants root, docker or a running server.
# Pass arguments on with ARGS: make test ARGS='-k chord', make up ARGS='--workers 2'.

.DEFAULT_GOAL := help
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
ARGS ?=
# Whole files go to one process, so that a file's servers are started once.
PYTEST_PROCESSES ?= 2

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_ROOT_USER_ACTION := ignore

.PHONY: help install demo up test attack audit bench check format lint types imports fresh

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(STAMP) ## the virtualenv .venv, with the tested versions

demo: $(STAMP) ## start everything, run the demo workflow live, stop everything
	@$(BIN)/zq demo $(ARGS)

up: $(STAMP) ## start everything and leave it running: http://127.0.0.1:8080
	@$(BIN)/zq up $(ARGS)

test: $(STAMP) ## the whole test suite
	$(BIN)/pytest -n $(PYTEST_PROCESSES) --dist loadfile $(ARGS)

attack: $(STAMP) ## Schemathesis on a living installation, and hostile requests; ARGS=minutes, default 5
	ZQ_ATTACK_MINUTES=$(or $(ARGS),5) $(BIN)/pytest tests/attack tests/api/test_bad_input.py tests/api/test_bad_names.py \
		$$($(BIN)/python -m tests.attack.rows)

audit: $(STAMP) ## known holes of the pinned packages, where the service of advisories is reachable
	$(BIN)/pip-audit --requirement constraints.txt --no-deps --disable-pip --progress-spinner off

bench: $(STAMP) ## this engine beside raw Celery, in turns; ARGS=--quick ends within 90 s
	@$(BIN)/python -m tests.bench $(ARGS)

check: lint types imports test ## what CI runs: format, lint, types, imports, tests

format: $(STAMP) ## rewrite the code in the house format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: $(STAMP) ## format and lint, without changing anything
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(STAMP) ## mypy, strict
	$(BIN)/mypy

imports: $(STAMP) ## who may import whom
	$(BIN)/lint-imports

fresh: ## remove the virtualenv, the embedded servers' data and all caches
	@# Root without user namespaces keeps Postgres outside .zq, behind a link.
	[ ! -L .zq/postgres ] || rm -rf "$$(dirname "$$(readlink .zq/postgres)")"
	rm -rf $(VENV) .zq build dist *.egg-info .coverage .hypothesis
	rm -rf .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +

$(STAMP): setup.cfg constraints.txt pyproject.toml
	@python=; \
	for name in "$$PYTHON" python3 python3.14 python3.13 python3.12 python3.11; do \
		[ -n "$$name" ] && command -v "$$name" >/dev/null || continue; \
		"$$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' && python=$$name && break; \
	done; \
	if [ -z "$$python" ]; then \
		echo 'Python 3.11 or newer is needed; none was found on the PATH.' >&2; \
		echo 'Debian or Ubuntu: apt install python3 python3-venv. Or: make PYTHON=/path/to/python' >&2; \
		exit 1; \
	fi; \
	if ! "$$python" -c 'import ensurepip, venv' 2>/dev/null; then \
		echo "$$python cannot make virtualenvs. Debian or Ubuntu: apt install python3-venv" >&2; \
		exit 1; \
	fi; \
	[ -x $(BIN)/python ] || "$$python" -m venv --clear $(VENV)
	@echo 'Installing into $(VENV); the first time takes a minute. A line a package:'
	@set -o pipefail; $(BIN)/python -m pip install -c constraints.txt -e '.[dev,embedded,demo,flower,s3]' \
		| grep -E --line-buffered '^(Collecting|Obtaining|Installing|Building|Successfully built)|error' \
		| cut -c1-100
	@$(BIN)/python -m pip check
	@touch $(STAMP)
