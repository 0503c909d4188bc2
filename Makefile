# `make demo` trains, scores and draws a detector; `make test` runs the tests. Both set up .venv first.
PYTHON ?= python3
BIN := .venv/bin
DEMO := demo
# A process per core, four at most for the memory. One that has nothing left takes half of another's tests, in their order.
PARALLEL := --numprocesses logical --maxprocesses 4 --dist worksteal

.PHONY: setup demo test test-slow lint clean

setup: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt --editable ".[dev]"
	touch $@

demo: setup
	$(BIN)/python scripts/make_digits.py $(DEMO)/digits
	$(BIN)/hf-detr check $(DEMO)/digits --output_dir $(DEMO)/check
	$(BIN)/hf-detr train demo/digits --data $(DEMO)/digits --output_dir $(DEMO)/run --resume
	$(BIN)/hf-detr evaluate $(DEMO)/run --data $(DEMO)/digits --split test --output_dir $(DEMO)/evaluation

test: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow and not gpu" $(PARALLEL)

test-slow: setup
	$(BIN)/python -m pytest -m slow

lint: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv $(DEMO)
