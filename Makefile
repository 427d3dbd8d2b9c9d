# Everything a new machine needs is Python >= 3.11 with pip, and make: each target sets up .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# One test process a core, each with one thread: several multi-threaded ones on few cores mostly wait for each other.
# Each process begins with a run of neighbouring tests and takes over half of what another has left when it has none:
# what the tests of a file share is seldom made twice.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --dist worksteal

.PHONY: demo test quick slow long lint types format generate docs clean

# The whole idea on two idle cores; `make demo MINUTES=3` shows less of it in less time.
MINUTES ?= 10
demo: $(STAMP)
	$(BIN)/fathom demo --minutes $(MINUTES)

# What CI runs: style, types, then the quick and slow tests at once, which import and share everything once.
test: lint types
	$(PYTEST) -m 'not long'

quick: $(STAMP)
	$(PYTEST)

slow: $(STAMP)
	$(PYTEST) -m slow

# What takes too long for every change: damaged files by the thousand, Ray, the whole demo, exports of every decoder.
long: $(STAMP)
	$(PYTEST) -m long

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# What is made from recipes, settings and the command line: schemas and pages, after a change of any of them.
generate: $(STAMP)
	$(BIN)/python docs/generate.py

# The documentation site in site/.
docs: $(STAMP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# The stamp is remade when what is installed changes. constraints.txt pins torch==2.13.0, so pip takes the same
# versions everywhere.
$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[offline,hf,onnx,cluster,docs,dev]'
	touch $@

clean:
	rm -rf $(VENV) build dist site .pytest_cache .mypy_cache .ruff_cache src/*.egg-info
