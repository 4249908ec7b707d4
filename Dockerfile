# The codec as a service: docker build -t glic . && docker run --shm-size=1g -p 8000:8000 -v $PWD/glic.engine:/engine:ro glic
# For NVIDIA GPUs: docker build --target cuda -t glic-cuda . && docker run --gpus all ... glic-cuda
# docs/install.md describes both. Only Debian's and PyPI's registries are needed.
ARG PYTHON=3.12

FROM python:${PYTHON}-slim-bookworm AS build
# Any C++17 compiler will do, and Debian keeps no older versions that one could pin.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends g++ && rm -rf /var/lib/apt/lists/*
COPY . /source
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels /source

FROM build AS build-cuda
RUN python -m venv /tools \
    && /tools/bin/pip install --no-cache-dir 'scikit-build-core>=0.11' cmake ninja \
    && /tools/bin/pip install --no-cache-dir --no-deps kernel-lens \
        nvidia-cuda-nvcc nvidia-cuda-crt nvidia-nvvm nvidia-cuda-runtime nvidia-cuda-cccl
RUN PATH=/tools/bin:$PATH /tools/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation \
    --wheel-dir /wheels /source/release/cuda

# What both images share: no compiler, a user without rights, the server as the command.
FROM python:${PYTHON}-slim-bookworm AS base
RUN useradd --create-home --uid 10001 glic
ENV GLIC_CACHE=/home/glic/cache PYTHONUNBUFFERED=1
EXPOSE 8000 8001 8002
HEALTHCHECK --start-period=60s CMD \
    ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/v2/health/ready')"]
ENTRYPOINT ["glic"]
CMD ["serve", "--engine", "/engine", "--host", "0.0.0.0"]

FROM base AS cuda
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    --mount=type=bind,from=build-cuda,source=/wheels,target=/cuda \
    pip install --no-cache-dir "$(echo /wheels/glic_deploy-*.whl)[cuda,serve]" /cuda/glic_deploy_cuda-*.whl
USER 10001

# The last stage is what `docker build` makes without a target.
FROM base AS cpu
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    pip install --no-cache-dir "$(echo /wheels/glic_deploy-*.whl)[cpu,serve]"
USER 10001
