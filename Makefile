# make demo | make test are the two commands of the README; each creates its own environment in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
EXTRAS := cpu,export,dev,bench

.PHONY: demo test test-all lint bench-coder fuzz-coder bench-cpu exactness clean

$(VENV)/.installed: pyproject.toml CMakeLists.txt $(shell find plugins_cpp -name '*.cpp' -o -name '*.h' -o -name CMakeLists.txt)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q torch==2.13.0
	$(BIN)/pip install -q -e ".[$(EXTRAS)]"
	touch $@

demo: $(VENV)/.installed
	$(BIN)/python -m benchmarks.demo

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	find plugins_cpp -name '*.cpp' -o -name '*.h' -o -name '*.cu' -o -name '*.cuh' | xargs $(BIN)/clang-format --dry-run --Werror

test: lint
	$(BIN)/python -m pytest

test-all: lint
	$(BIN)/python -m pytest -m "slow or not slow"

bench-coder: $(VENV)/.installed
	$(BIN)/python -m benchmarks.coder

# Needs clang with libFuzzer (clang, libclang-rt-dev), or else g++; no Python package.
FUZZ_SECONDS ?= 60
fuzz-coder:
	$(PYTHON) plugins_cpp/rans/fuzz/run.py --seconds $(FUZZ_SECONDS)

bench-cpu: $(VENV)/.installed
	$(BIN)/python -m benchmarks.cpu

exactness: $(VENV)/.installed
	$(BIN)/python -m benchmarks.exactness

clean:
	rm -rf $(VENV) build out
