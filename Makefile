# One door for people and for CI. Everything lives in .venv/ and web/node_modules/; a second `make install` is quick.
# Needs Python 3.11 or newer and Node 20 or newer. PYTHON=python3.12 picks another interpreter.

PYTHON ?= python3
BIN := .venv/bin
APP ?= .
RUN_STAMP := .venv/installed-run
DEV_STAMP := .venv/installed-dev
WEB_STAMP := web/node_modules/.installed
CONTRACTS_STAMP := tests/contracts/node_modules/.installed
# Three at a time: most tests wait for processes, sockets and a browser. One file stays together, with its fixtures.
PYTEST_OPTIONS ?= -n 3 --dist loadfile

# make chaos RUNS=200 SEED=7 KINDS=deterministic,drifting JOBS=1 POINTS=20; RUN=n or POINT=... plays one round again;
# RESUME=1 goes on where the last one with this seed and these kinds was stopped; KEEP_GOING=1 goes on after a violation.
RUNS ?= 1000
SEED ?= 1
CHAOS := --runs $(RUNS) --seed $(SEED) $(if $(KINDS),--kinds $(KINDS)) $(if $(JOBS),--jobs $(JOBS)) \
  $(if $(POINTS),--points $(POINTS)) $(if $(RUN),--run $(RUN)) $(if $(POINT),--point $(POINT)) \
  $(if $(RESUME),--resume) $(if $(KEEP_GOING),--keep-going)

.PHONY: help install run check test bench chaos demo-crash clean chromium
.DELETE_ON_ERROR:

help:
	@echo "make run      start the app with everything around it, on http://127.0.0.1:7071/"
	@echo "make install  everything for working on the project"
	@echo "make check    formatting, lint, types, architecture"
	@echo "make test     check, then every test, those in a browser too"
	@echo "make bench    the figures of bench/README.md"
	@echo "make chaos    kill everything at any instant, a thousand times; RUNS=100 SEED=1 KINDS=deterministic"
	@echo "make demo-crash  see what a kill in mid-answer does, to this and to a plain client"
	@echo "make clean    remove what was installed and cached; state in .local/ is kept"

install: $(DEV_STAMP) $(WEB_STAMP) $(CONTRACTS_STAMP)

run: $(RUN_STAMP) $(WEB_STAMP)
	exec $(BIN)/python -m stand_in run $(APP)

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy .
	$(BIN)/python -m pytest -q tests/test_architecture.py
	cd web && npm run --silent types

test: check chromium
	$(BIN)/python -m pytest $(PYTEST_OPTIONS)

bench: install
	$(BIN)/python -m bench

chaos: install
	$(BIN)/python -m tests.chaos $(CHAOS)

# DEMO=--no-browser for a transcript where there is a screen.
demo-crash: install
	$(BIN)/python -m tests.chaos.demo_crash $(DEMO)

clean:
	rm -rf .venv web/node_modules web/vendor tests/contracts/node_modules
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The browser tests drive a Chromium that is there already; Debian's is fetched where that is possible.
chromium:
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null || \
	if command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
	  apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium; \
	else \
	  echo "No Chromium found: install one (Debian: apt-get install chromium) for the browser tests." >&2; exit 1; \
	fi

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv

$(RUN_STAMP): requirements.txt stand_in/requirements.txt | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt -r stand_in/requirements.txt
	@touch $@

$(DEV_STAMP): requirements-dev.txt requirements.txt stand_in/requirements.txt | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $(RUN_STAMP) $@

$(WEB_STAMP): web/package.json web/package-lock.json web/copy-vendor.mjs
	@node -e 'if (+process.versions.node.split(".")[0] < 20) { console.error("Node 20 or newer is needed, this is " + process.version); process.exit(1) }'
	cd web && npm ci --no-audit --no-fund --loglevel=error
	@touch $@

$(CONTRACTS_STAMP): $(wildcard tests/contracts/package.json tests/contracts/package-lock.json)
	@if [ -f tests/contracts/package.json ]; then cd tests/contracts && npm ci --no-audit --no-fund --loglevel=error; fi
	@mkdir -p $(@D) && touch $@
