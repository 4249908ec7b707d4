"""Run the network eagerly in PyTorch as a codec's backend: the slow reference for comparisons and benchmarks.

`python -m export.eager --checkpoint C.pth` serves a benchmark that must not import torch itself. Requests and answers
are those of `glic_deploy.bench.worker`.
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from glic_deploy import Codec
from glic_deploy.backends.base import Backend
from glic_deploy.bench.worker import serve

from .assembly import entropy_tables, finish, model_of
from .bundle import BundleWriter
from .checkpoint import Checkpoint, load_checkpoint
from .graphs import GraphSpec, entropy_graphs, transform_graphs


class EagerBackend(Backend):
    """Run a checkpoint's modules as they are written: unfolded neighbourhoods, whole attention maps, float32."""

    name = "eager"

    def __init__(self, checkpoint: Checkpoint, device: str = "cpu") -> None:
        self._device = torch.device(device)
        self._specs: dict[str, GraphSpec] = {
            spec.name: spec for spec in [*transform_graphs(checkpoint), *entropy_graphs(checkpoint)]
        }
        self._modules: dict[str, nn.Module] = {}

    def run(self, graph: str, inputs: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        if graph not in self._modules:
            self._modules[graph] = self._specs[graph].build().eval().to(self._device)
        # The order in which products are summed depends on strides and alignment, and a decoder must not differ from
        # its encoder by an ulp. Therefore inputs and outputs are new, contiguous copies.
        tensors = [torch.tensor(np.ascontiguousarray(inputs[port.name])) for port in self._specs[graph].inputs]
        with torch.inference_mode(), self._device:
            outputs = self._modules[graph](*(tensor.to(self._device) for tensor in tensors))
        return [output.contiguous().cpu().numpy() for output in (outputs if isinstance(outputs, tuple) else (outputs,))]

    def describe(self) -> dict[str, Any]:
        return {"name": self.name, "version": torch.__version__, "threads": torch.get_num_threads()}

    def close(self) -> None:
        self._modules.clear()


def eager_codec(checkpoint: Checkpoint, device: str = "cpu") -> Codec:
    """Return a codec on the eager network, with floating-point entropy parameters."""
    with tempfile.TemporaryDirectory() as directory, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the warning of float bundles: the same process decodes these files
        finish(BundleWriter(Path(directory)), model_of(checkpoint), entropy_tables(checkpoint))
        return Codec(directory, backend=EagerBackend(checkpoint, device))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m export.eager", description=__doc__)
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--started", type=float)
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    serve(lambda: eager_codec(load_checkpoint(args.checkpoint)), args.started)


if __name__ == "__main__":
    main()
