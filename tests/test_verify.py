"""The comparison of an exported graph with PyTorch: what neither side computes as a number is an error."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import torch

from export.checkpoint import Checkpoint
from export.graphs import GraphSpec, transform_graphs
from export.verify import largest_difference
from glic_deploy.errors import CheckpointError


def spec_of(name: str, checkpoint: Checkpoint) -> GraphSpec:
    return next(spec for spec in transform_graphs(checkpoint) if spec.name == name)


def test_a_sound_graph_is_compared(engine: Path, checkpoint: Checkpoint) -> None:
    spec, graph = spec_of("hyper_analysis", checkpoint), engine / "graphs" / "hyper_analysis.base.onnx"
    assert largest_difference(graph, spec, spec.build().eval()).startswith(
        "largest difference from PyTorch: z_symbols "
    )


@pytest.mark.parametrize(
    ("name", "key", "layer"),
    [
        ("synthesis", "g_s.g3.1.mixer.conv2.weight", r"stages\.2\.1\.mixer\.project"),
        ("synthesis", "g_s.up3.0.weight", r"up\.3\.conv"),
        ("analysis", "g_a.down3.weight", r"down\.3"),
        ("hyper_analysis", "latent_codec.hyper.h_a.3.weight", r"layers\.3"),
    ],
)
def test_a_weight_that_overflows_is_an_error(name: str, key: str, layer: str, checkpoint: Checkpoint) -> None:
    state = dict(checkpoint.state)
    state[key] = state[key].clone()
    state[key].view(-1)[0] *= 1e37
    spec = spec_of(name, Checkpoint(checkpoint.config, state))
    with pytest.raises(CheckpointError, match=rf"{name}: the PyTorch module, first in its layer {layer}, .*download"):
        largest_difference(Path("never read"), spec, spec.build().eval())


def test_a_graph_that_overflows_is_an_error(checkpoint: Checkpoint, tmp_path: Path) -> None:
    spec, path = spec_of("analysis", checkpoint), tmp_path / "nan.onnx"
    value = onnx.helper.make_tensor("nan", onnx.TensorProto.FLOAT, [1], [float("nan")])
    shapes = [onnx.helper.make_tensor_value_info("image", onnx.TensorProto.UINT8, ["H", "W", 3])]
    outputs = [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])]
    node = onnx.helper.make_node("Constant", [], ["y"], value=value)
    opset = [onnx.helper.make_opsetid("", 17)]
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph([node], "g", shapes, outputs), opset_imports=opset), path)
    with pytest.raises(CheckpointError, match="analysis: the ONNX graph, in its output y, computes values"):
        largest_difference(path, spec, _Zeros())


class _Zeros(torch.nn.Module):
    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return torch.zeros(1)
