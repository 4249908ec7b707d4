# make demo | make test are the two commands of the README; each creates its own environment in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
EXTRAS := cpu,export,dev,bench

.PHONY: demo test test-all lint bench-coder fuzz-coder bench-cpu exactness report clean

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

# The sample network's compression and speed as out/report.html, plots and tables in out/figures. With FULL=C.pth, that
# checkpoint's speed joins it (its quality does not); IMAGES takes other pictures, such as all of Kodak.
IMAGES ?= samples/photos
FULL ?=
TIMED := $(firstword $(wildcard samples/photos/*.png))
GLIC := $(BIN)/python -m glic_deploy

out/%/manifest.json: $(VENV)/.installed $(shell find export -name '*.py')
	$(BIN)/python -m export.to_onnx --checkpoint $(CHECKPOINT) --output $(@D)

out/sample/manifest.json: CHECKPOINT = samples/glic_tiny.pth
out/full/manifest.json: CHECKPOINT = $(FULL)

RUNTIME := $(shell find glic_deploy -name '*.py' -o -name '*.so')

out/bench_sample.json: out/sample/manifest.json $(RUNTIME)
	$(GLIC) bench $(TIMED) --engine out/sample --against torch --checkpoint samples/glic_tiny.pth --sweep --json $@

out/bench_full.json: out/full/manifest.json $(RUNTIME)
	$(GLIC) bench $(TIMED) --engine out/full --against torch --checkpoint $(FULL) --repeats 5 --warm-up 1 --batch 2 \
		--sweep 256x256,512x512,1024x1024 --json $@

report: out/bench_sample.json $(if $(FULL),out/bench_full.json)
	$(GLIC) eval $(IMAGES) --engine out/sample --keep out/eval $(patsubst %,--bench %,$^) \
		--report out/report.html --figures out/figures --maps out/maps --json out/eval.json

clean:
	rm -rf $(VENV) build out
