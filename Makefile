# `make demo` and `make test` set up everything they need in .venv; PYTHON picks the interpreter (3.11 or newer).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The exact versions that these commands install. `make lock` writes them again.
LOCK := requirements.lock
# The two packages that take longest to download: raise them by hand, so that machines with a copy can keep it.
LOCK_BY_HAND := torch==2.13.* torchvision==0.28.*
# Number of test processes, one per core. Tests of a file, and tests that share a server or a browser, run in one process.
WORKERS ?= $(shell getconf _NPROCESSORS_ONLN)
PYTEST = bin/python -m pytest -n $(WORKERS) --dist loadgroup --no-loadscope-reorder -p no:randomly

.PHONY: docs demo test test-slow test-newest test-lowest lock lint bench quality quality-full hostile mutants clean

demo: $(VENV)/.installed
	$(BIN)/hf-emms demo

test: $(VENV)/.installed-dev
	$(VENV)/$(PYTEST) -m "not slow"

test-slow: $(VENV)/.installed-dev
	$(VENV)/$(PYTEST) -m slow

# The fast tests with the newest versions that pyproject.toml allows. Nothing runs if these are the locked versions.
test-newest: $(VENV)/.installed-dev
	$(PYTHON) -m venv $(VENV)-newest
	$(VENV)-newest/bin/python -m pip install --quiet --upgrade --upgrade-strategy eager --editable '.[dev]'
	@$(BIN)/python -m pip freeze --exclude-editable > $(VENV)-newest/locked.txt
	@$(VENV)-newest/bin/python -m pip freeze --exclude-editable > $(VENV)-newest/newest.txt
	@if diff $(VENV)-newest/locked.txt $(VENV)-newest/newest.txt; then echo "The newest versions are the locked ones."; \
	else $(VENV)-newest/$(PYTEST) -m "not slow"; fi

# The fast tests with the lowest versions that pyproject.toml declares.
test-lowest: $(VENV)/.installed-dev
	$(PYTHON) -m venv --clear $(VENV)-lowest
	$(BIN)/uv pip install --quiet --python $(VENV)-lowest --resolution lowest-direct --editable '.[dev]'
	$(VENV)-lowest/$(PYTEST) -m "not slow"

lock: $(BIN)/python
	$(BIN)/python -m pip install --quiet uv
	printf '%s\n' $(LOCK_BY_HAND) | $(BIN)/uv pip compile pyproject.toml --extra dev --extra audio --constraint - \
	  --universal --python-version 3.11 --upgrade --no-emit-index-url --no-annotate --no-header --quiet --output-file $(LOCK)

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

# 100 small changes of the package: which does no test notice? The first command records which tests call what.
mutants: $(VENV)/.installed-dev
	test -e build/mutants.json || $(BIN)/python -m scripts.mutants --record
	$(BIN)/python -m scripts.mutants

# The documentation site, in site/. Zensical builds it.
docs: $(VENV)/.installed-dev
	$(BIN)/zensical build --clean --strict

clean:
	rm -rf $(VENV) $(VENV)-newest $(VENV)-lowest build dist

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml $(LOCK) | $(BIN)/python
	$(BIN)/python -m pip install --quiet --constraint $(LOCK) --editable '.[audio]'
	@touch $@

$(VENV)/.installed-dev: pyproject.toml $(LOCK) | $(BIN)/python
	$(BIN)/python -m pip install --quiet --constraint $(LOCK) --editable '.[dev]'
	@touch $@ $(VENV)/.installed
