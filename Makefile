# `make demo` and `make test` set up everything they need in .venv; PYTHON picks the interpreter (3.11 or newer).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Number of test processes, one per core. Tests of a file, and tests that share a server or a browser, run in one process.
WORKERS ?= $(shell getconf _NPROCESSORS_ONLN)
PYTEST = $(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup --no-loadscope-reorder

.PHONY: docs demo test test-slow lint bench quality quality-full hostile clean

demo: $(VENV)/.installed
	$(BIN)/hf-emms demo

test: $(VENV)/.installed-dev
	$(PYTEST) -p no:randomly -m "not slow"

test-slow: $(VENV)/.installed-dev
	$(PYTEST) -p no:randomly -m slow

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.installed-dev
	$(BIN)/python -m scripts.bench all --write docs/benchmark.md

# The tables of docs/evidence.md. `quality` scores again, from cached features if there are any, against the committed
# fine-tunings; `quality-full` fine-tunes every candidate on every target: hours.
quality: $(VENV)/.installed-dev
	$(BIN)/python -m scripts.quality scores
	$(BIN)/python -m scripts.quality report --write

quality-full: $(VENV)/.installed-dev
	$(BIN)/python -m scripts.quality truth --again
	$(MAKE) quality

# 500 mutated files, 1,000 mutated checkpoints, and 300 bad days with kills and faults.
hostile: $(VENV)/.installed-dev
	$(BIN)/python -m scripts.hostile --quiet

# The documentation site, in site/. Zensical builds it.
docs: $(VENV)/.installed-dev
	$(BIN)/zensical build --clean --strict

clean:
	rm -rf $(VENV) build dist

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[audio]'
	@touch $@

$(VENV)/.installed-dev: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@ $(VENV)/.installed
