# Every target sets up what it needs: a bare machine with Python 3.11 or later and pip will do.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
BENCH := .venv-bench
DEMO := .venv-demo
LINES ?=
JOBS ?= auto
NEW_ENOUGH := $(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "Python 3.11 or later is needed, this is " + sys.version'

LOWEST := .venv-lowest
TESTED_LOWEST := tests/persistence/test_serialization.py tests/data/test_readers.py tests/export tests/serving/test_app.py

.PHONY: help docs test slow large lint types demo bench format clean dist lowest audit

help:
	@echo "make demo     train all five systems on handwritten digits; pictures in diabolo-demo/index.html"
	@echo "make test     style, types and tests, in less than eight minutes on two cores"
	@echo "make slow     the tests that take longest: every page of the documentation, the demo, examples, published results"
	@echo "make large    what CI leaves out, before a release: tests that differ from others in degree only, 8 GB on disk"
	@echo "make docs     the documentation site, in docs/_build/html; a warning is an error"
	@echo "make dist     sdist and wheel, in dist/"
	@echo "make lowest   the wheel with the lowest versions that it allows of all it needs: some tests, and the command"
	@echo "make audit    are there known vulnerabilities in what is installed? needs the network"
	@echo "make bench    speed beside the peers, an hour on a quiet machine; LINES='--quick --only vae,deep' for less"
	@echo "make format   put the code in shape"
	@echo "make clean    remove the environment and what tools left"

$(VENV)/ready: pyproject.toml
	$(NEW_ENOUGH)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --editable '.[dev]'
	@touch $@

# An environment of its own: the peers are large, and no test needs them.
$(BENCH)/ready: pyproject.toml
	$(PYTHON) -m venv $(BENCH)
	$(BENCH)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,bench]'
	@touch $@

bench: $(BENCH)/ready
	$(BENCH)/bin/python -m benchmarks.speed $(LINES)

# What a user installs, and no tools: half the size.
$(DEMO)/ready: pyproject.toml
	$(NEW_ENOUGH)
	$(PYTHON) -m venv $(DEMO)
	$(DEMO)/bin/python -m pip install --quiet --disable-pip-version-check --no-compile --editable .
	@touch $@

demo: $(DEMO)/ready
	$(DEMO)/bin/diabolo demo

docs: $(VENV)/ready
	$(BIN)/sphinx-build -q -W --keep-going -b html docs docs/_build/html

# The wheel is made of the sdist, so both are tried.
dist: $(VENV)/ready
	rm -rf dist
	$(BIN)/python -m build --outdir dist . > dist.log 2>&1 || { cat dist.log; exit 1; }
	@rm dist.log

# In a clean environment, from the wheel and not from here. Older packages warn of newer ones beside them.
lowest: dist
	rm -rf $(LOWEST)
	$(PYTHON) -m venv $(LOWEST)
	$(BIN)/python tests/lowest.py > $(LOWEST)/constraints.txt
	$(LOWEST)/bin/python -m pip install --quiet --disable-pip-version-check --no-compile -c $(LOWEST)/constraints.txt \
	  "$$(ls dist/*.whl)[onnx,serve]" pytest pytest-xdist beartype hypothesis httpx pandas
	$(LOWEST)/bin/diabolo --version
	$(LOWEST)/bin/python -m pytest -q -n $(JOBS) --dist worksteal -W ignore::DeprecationWarning \
	  -m 'not slow and not large' $(TESTED_LOWEST)

audit: $(VENV)/ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check pip-audit
	$(BIN)/pip-audit --skip-editable

# Without the slow tests, which CI runs as well.
test: lint types
	DIABOLO_TEST_SHAPES=off $(BIN)/python -m pytest -n $(JOBS) --dist worksteal -m 'not slow and not large'

slow: $(VENV)/ready
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal -m 'slow and not large' tests

large: $(VENV)/ready
	$(BIN)/python -m pytest -m large tests

lint: $(VENV)/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(VENV)/ready
	$(BIN)/mypy

format: $(VENV)/ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) $(BENCH) $(DEMO) $(LOWEST) .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist docs/_build
