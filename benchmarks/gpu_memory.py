"""Reckon the GPU memory that images of some sizes need: `python -m benchmarks.gpu_memory --engine DIR`.

The tensors between the graphs are counted as the backend `tensorrt` allocates them. The scratch memory is the peak of
the tensors within a graph that are needed at once if its nodes run in the order of the file and nothing is fused, for
the largest of the transforms. TensorRT fuses, and reports its own number on a GPU only. No GPU is needed here.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from onnx import shape_inference

from glic_deploy.backends.device_steps import step_memory
from glic_deploy.bundle import BASE, FP16, Bundle, Shape

SIZES = ((512, 768), (1152, 1920), (2176, 3840))


def tensors_between(bundle: Bundle, height: int, width: int) -> int:
    """Return the bytes of the inputs and outputs of all graphs, and of the steps between them."""
    bytes_ = 0
    for graph in bundle.graphs():
        inputs, outputs = bundle.ports(graph)
        for port in (*inputs, *outputs):
            wide = 4 if port.dtype == "int16" else np.dtype(port.dtype).itemsize  # TensorRT has no int16
            bytes_ += int(np.prod(port.at(height, width))) * wide
    (y,) = (port.at(height, width) for port in bundle.ports("analysis")[1])
    return bytes_ + step_memory(int(np.prod(y)))


def peak_within(path: Path, inputs: Mapping[str, Shape]) -> int:
    """Return the most bytes of intermediate tensors that a graph needs at once for inputs of these shapes."""
    model = onnx.load(str(path), load_external_data=False)
    for value in model.graph.input:
        for dimension, side in zip(value.type.tensor_type.shape.dim, inputs[value.name], strict=True):
            dimension.dim_value = side
    for value in (*model.graph.output, *model.graph.value_info):
        value.type.tensor_type.ClearField("shape")
    del model.graph.value_info[:]
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "inferred.onnx"
        onnx.save(model, str(Path(folder) / "model.onnx"))
        shape_inference.infer_shapes_path(str(Path(folder) / "model.onnx"), str(target), data_prop=True)
        model = onnx.load(str(target), load_external_data=False)
    sizes = {}
    for value in model.graph.value_info:
        kind = value.type.tensor_type
        sides = [dimension.dim_value for dimension in kind.shape.dim]
        item = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)).itemsize
        sizes[value.name] = int(np.prod(sides)) * item if all(sides) else None
    for node in model.graph.node:
        if node.op_type == "DynamicKnn":  # 32 bytes a node; its function body says nothing of its shape
            (x,) = (value for value in model.graph.value_info if value.name == node.input[0])
            sides = [dimension.dim_value for dimension in x.type.tensor_type.shape.dim]
            sizes[node.output[0]] = int(np.prod(sides[:3])) * 32
    unknown = sorted(
        name
        for node in model.graph.node
        for name in node.output
        if name and sizes.get(name) is None and name not in {value.name for value in model.graph.output}
    )
    if unknown:
        raise SystemExit(f"{path}: the shapes of {', '.join(unknown[:5])} and {len(unknown)} in all are not known")
    last = {name: number for number, node in enumerate(model.graph.node) for name in node.input}
    live = peak = 0
    for number, node in enumerate(model.graph.node):
        live += sum(sizes.get(name) or 0 for name in node.output)
        peak = max(peak, live)
        live -= sum(sizes.get(name) or 0 for name in {*node.input, *node.output} if last.get(name, -1) <= number)
    return peak


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_memory", description=__doc__)
    parser.add_argument("--engine", type=Path, required=True, help="a bundle with transforms in float16")
    bundle = Bundle.open(parser.parse_args().engine)
    print("| padded image | between the graphs | within the largest graph |  |\n| --- | --- | --- | --- |")
    for height, width in SIZES:
        peaks = {
            graph: peak_within(
                bundle.graph(graph, [FP16, BASE]),
                {port.name: port.at(height, width) for port in bundle.ports(graph)[0]},
            )
            for graph in bundle.transforms()
        }
        largest = max(peaks, key=lambda graph: peaks[graph])
        between = tensors_between(bundle, height, width)
        print(
            f"| {width}×{height} | {between / 1e6:,.0f} MB | {peaks[largest] / 1e6:,.0f} MB | {largest} |", flush=True
        )


if __name__ == "__main__":
    main()
