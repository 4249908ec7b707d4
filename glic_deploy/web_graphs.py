"""Rewrites graphs for onnxruntime-web, which has kernels of its own ops but not of ours (see web_bundle.py).

The function bodies of our ops are replaced by shorter ones, with ops that onnxruntime has beside the standard ones.
Then onnxruntime inlines the functions and optimizes the graph, because a browser would need seconds for this.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from .errors import EngineError
from .ops import DOMAIN

_MICROSOFT = "com.microsoft"
_FATAL_ONLY = 4

# These nodes replace those of the functions that `export.ops.functions` defines which write the same values. In place
# of a bit mask, the graph of edges is what an absent edge adds to the similarity of two nodes.
_BODIES = {
    "DynamicKnn": """
        similarity = com.microsoft.FusedMatMul <transB = 1> (query, candidate)
        zero = Constant <value = float {0}> ()
        hundred = Constant <value = float {-100}> ()
        graph = Where (chosen, zero, hundred)
    """,
    # Vectors become unit vectors before they are gathered, because each is a candidate of four groups.
    "ScatterAggregate": """
        by_head = Concat <axis = 0> (n, h, w, heads, width)
        all_keys, all_values = Split <axis = -1, num_outputs = 2> (kv)
        key_heads = Reshape (all_keys, by_head)
        unit_keys = Reshape (key_unit, shape)
        kv32 = Concat <axis = -1> (unit_keys, all_values)
        query_heads = Reshape (q, by_head)
        matrix_axes = Constant <value_ints = [1, 2]> ()
        scales = Unsqueeze (scale, matrix_axes)
        row = Constant <value_ints = [1]> ()
        head_scales = Unsqueeze (scale, row)
        query_scaled = Mul (query_unit, head_scales)
        q32 = Reshape (query_scaled, shape)

        batch = Mul (n, groups)
        query_shape = Concat <axis = 0> (batch, nodes, c)
        candidate_shape = Concat <axis = 0> (batch, fan, c)
        edge_shape = Concat <axis = 0> (batch, row, nodes, fan)
        group_queries = Reshape (queries, query_shape)
        group_keys = Reshape (keys, candidate_shape)
        group_values = Reshape (values, candidate_shape)
        edges = Reshape (graph, edge_shape)
        penalty = Mul (edges, scales)
        added = Add (penalty, bias)
        by_node = com.microsoft.MultiHeadAttention <num_heads: int = @heads, scale = 1.0>
            (group_queries, group_keys, group_values, , , added)
    """,
}


def optimized(path: Path, *, transform: bool) -> Any:
    """Return a graph with all constants inside, its functions inlined, as onnxruntime optimizes it for any processor.

    transform: whether the graph is a transform. Transforms compute GELU by its approximation with tanh (see
    `with_exact_gelu`). Constants of the entropy path are not computed from others, because they would become four
    times as large: their integers become float32.

    Raises EngineError if the graph was exported by another version.
    """
    import onnx
    import onnxruntime as ort

    model = onnx.load(path)
    _replace_bodies(model)
    with tempfile.TemporaryDirectory(prefix="glic-web-") as folder:
        options = ort.SessionOptions()
        options.log_severity_level = _FATAL_ONLY
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(Path(folder, path.name))
        unwanted = [] if transform else ["ConstantFolding"]
        content = model.SerializeToString()
        ort.InferenceSession(content, options, providers=["CPUExecutionProvider"], disabled_optimizers=unwanted)
        model = onnx.load(options.optimized_model_filepath)
    del model.graph.value_info[:]
    if transform:
        _split_products(model.graph)
        _set_gelu(model, "tanh")
    _narrow(model)
    _widen(model)
    return model


def with_exact_gelu(content: bytes) -> bytes:
    """Return a serialized transform that computes GELU by erf, which takes longer than its approximation."""
    import onnx

    model = onnx.ModelProto.FromString(content)
    _set_gelu(model, "none")
    return bytes(model.SerializeToString())


def _set_gelu(model: Any, approximation: str) -> None:
    from onnx import helper

    for node in model.graph.node:
        if node.op_type == "Gelu":
            del node.attribute[:]
            node.attribute.append(helper.make_attribute("approximate", approximation))


def _replace_bodies(model: Any) -> None:
    """Replace the bodies of the graph ops in a model, and tell each ScatterAggregate its number of heads."""
    from onnx import helper

    functions = [function for function in model.functions if function.name in _BODIES and function.domain == DOMAIN]
    if not functions:
        return
    for function in functions:
        _replace_nodes(function, _BODIES[function.name])
        if function.name == "ScatterAggregate":
            function.attribute.append("heads")
    scales = {tensor.name: tensor.dims for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "ScatterAggregate":
            node.attribute.append(helper.make_attribute("heads", scales[node.input[-1]][0]))
    model.opset_import.append(helper.make_opsetid(_MICROSOFT, 1))
    del model.graph.value_info[:]  # among them the types of the replaced graphs of edges


def _replace_nodes(function: Any, text: str) -> None:
    """Replace the nodes of a function that compute what `text` computes, and drop those that become useless."""
    from onnx import NodeProto, helper, parser

    opset = next(opset.version for opset in function.opset_import if not opset.domain)
    header = f'<opset_import: ["" : {opset}, "{_MICROSOFT}" : 1], domain: "{DOMAIN}"> f <heads> (x) => (y)'
    parsed = list(parser.parse_function(f"{header} {{ {text} }}").node)
    written = {name for node in parsed for name in node.output}
    nodes = [node for node in function.node if written.isdisjoint(node.output)] + parsed
    writers = {name: position for position, node in enumerate(nodes) for name in node.output}
    ordered: dict[int, Any] = {}

    def add(name: str) -> None:
        if not name or name in function.input:
            return
        if name not in writers:
            raise EngineError(
                f"the function {function.name} has no value {name}, so another version exported it; export the "
                "checkpoint again with this glic-deploy"
            )
        position = writers[name]
        if position not in ordered:
            for needed in _needed(nodes[position]):
                add(needed)
            ordered[position] = NodeProto.FromString(nodes[position].SerializeToString())

    for output in function.output:
        add(output)
    del function.node[:]
    function.node.extend(ordered.values())
    function.opset_import.append(helper.make_opsetid(_MICROSOFT, 1))


def _needed(node: Any) -> Iterator[str]:
    """Yield the values that a node reads, inside its branches as well."""
    yield from node.input
    for attribute in node.attribute:
        inner = {name for other in attribute.g.node for name in other.output}
        for other in attribute.g.node:
            yield from (name for name in _needed(other) if name not in inner)


def _split_products(graph: Any) -> None:
    """Compute the parts of a product that is only split, each by a product of its own, which saves a copy."""
    from onnx import helper, numpy_helper

    constants = {tensor.name: tensor for tensor in graph.initializer}
    readers = [name for node in graph.node for name in node.input]
    products = {node.output[0]: node for node in graph.node if node.op_type == "MatMul" and node.input[1] in constants}
    for position, node in reversed(list(enumerate(graph.node))):
        product = products.get(node.input[0]) if node.op_type == "Split" and len(node.input) == 1 else None
        if product is None or readers.count(node.input[0]) != 1:
            continue
        weights = numpy_helper.to_array(constants[product.input[1]])
        if weights.ndim != 2 or weights.shape[1] % len(node.output) or readers.count(product.input[1]) != 1:
            continue
        parts = []
        for output, part in zip(node.output, np.split(weights, len(node.output), axis=1), strict=True):
            name = f"{output}_weights"
            graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(part), name))
            parts.append(helper.make_node("MatMul", [product.input[0], name], [output], name=output))
        graph.initializer.remove(constants[product.input[1]])
        graph.node.remove(node)
        for part_node in parts:
            graph.node.insert(position, part_node)
        graph.node.remove(product)


def _narrow(model: Any) -> None:
    """Store the float16 constants of a graph that are integers of a byte as int8, if they are only cast."""
    readers: dict[str, set[str]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, set()).add(node.op_type)
    for tensor in model.graph.initializer:
        if tensor.data_type != tensor.FLOAT16 or not tensor.raw_data or readers.get(tensor.name) != {"Cast"}:
            continue
        values = np.frombuffer(tensor.raw_data, "<f2")
        if np.abs(values).max(initial=0) <= np.iinfo(np.int8).max and np.array_equal(values, np.rint(values)):
            tensor.data_type, tensor.raw_data = tensor.INT8, values.astype(np.int8).tobytes()


def _widen(model: Any) -> None:
    """Make int16 inputs and outputs of a graph int32: onnxruntime-web with WebGPU has no casts of int16."""
    from onnx import TensorProto

    ports = [*model.graph.input, *model.graph.output]
    wide = {port.name for port in ports if port.type.tensor_type.elem_type == TensorProto.INT16}
    for port in ports:
        if port.name in wide:
            port.type.tensor_type.elem_type = TensorProto.INT32
    for node in model.graph.node:
        if node.op_type == "Cast" and node.output[0] in wide:
            node.attribute[0].i = TensorProto.INT32
