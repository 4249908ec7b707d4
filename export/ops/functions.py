"""Define our ops as functions in standard ONNX, so that a runtime without our kernels can run the graphs.

`attach_functions` must be the last step of an export, because the PyTorch exporter and onnx's inliner replace nodes
whose function is in the model. A runtime that has a kernel or plugin of an op ignores the function.

The functions of the graph ops are slow and need much memory: they store the candidates and attention maps of all
groups. They assume the values of version 1, window 8 and sample 16.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
from numpy.typing import ArrayLike, NDArray
from onnx import GraphProto, ModelProto, NodeProto

from glic_deploy.ops import DOMAIN, VERSION

from . import winograd
from .complexity import CONTRAST, LEAST_SQUARE, SOBEL, gaussian_taps
from .dynamic_knn import BISECTIONS

# Opset 18 introduced BitwiseAnd and num_outputs of Split. Later opsets do not change the ops that are used here.
LOWEST_OPSET = 18

# Computes sizes from the int64 shape of an N×H×W×C map: its sides, and the rows and columns of groups.
_SIZES = """
    n, h, w, c = Split <axis = 0, num_outputs = 4> (shape)
    eight = Constant <value_ints = [8]> ()
    sixteen = Constant <value_ints = [16]> ()
    nodes = Constant <value_ints = [64]> ()
    fan = Constant <value_ints = [256]> ()
    rows = Div (h, eight)
    cols = Div (w, eight)
    groups = Mul (rows, cols)
    local = Constant <value_int = 0> ()
    kind = Constant <value_int: int = @sampling> ()
    is_local = Equal (kind, local)
"""


def _query_groups(x: str, out: str, channels: str) -> str:
    """Write nodes of `query_groups`: N×H×W×channels → N×G×64×channels.

    `channels` is the name of an int64 tensor with one element.
    """
    return f"""
    {out} = If (is_local) <
        then_branch = {out}_local () => ({out}_then) {{
            {out}_s0 = Concat <axis = 0> (n, rows, eight, cols, eight, {channels})
            {out}_g0 = Reshape ({x}, {out}_s0)
            {out}_t0 = Transpose <perm = [0, 1, 3, 2, 4, 5]> ({out}_g0)
            {out}_f0 = Concat <axis = 0> (n, groups, nodes, {channels})
            {out}_then = Reshape ({out}_t0, {out}_f0)
        }},
        else_branch = {out}_global () => ({out}_else) {{
            {out}_s1 = Concat <axis = 0> (n, eight, rows, eight, cols, {channels})
            {out}_g1 = Reshape ({x}, {out}_s1)
            {out}_t1 = Transpose <perm = [0, 2, 4, 1, 3, 5]> ({out}_g1)
            {out}_f1 = Concat <axis = 0> (n, groups, nodes, {channels})
            {out}_else = Reshape ({out}_t1, {out}_f1)
        }}
    >
"""


def _candidate_groups(x: str, out: str, channels: str) -> str:
    """Write nodes of `candidate_groups`: N×H×W×channels → N×G×256×channels.

    A local window consists of two neighbouring blocks of 8 nodes in both directions.
    """
    return f"""
    {out} = If (is_local) <
        then_branch = {out}_local () => ({out}_then) {{
            {out}_pads = Constant <value_ints = [0, 4, 4, 0, 0, 4, 4, 0]> ()
            {out}_padded = Pad ({x}, {out}_pads)
            {out}_one = Constant <value_ints = [1]> ()
            {out}_zero = Constant <value_ints = [0]> ()
            {out}_end = Constant <value_ints = [9223372036854775807]> ()
            {out}_rows1 = Add (rows, {out}_one)
            {out}_cols1 = Add (cols, {out}_one)
            {out}_s0 = Concat <axis = 0> (n, {out}_rows1, eight, {out}_cols1, eight, {channels})
            {out}_blocks = Reshape ({out}_padded, {out}_s0)
            {out}_axis1 = Constant <value_ints = [1]> ()
            {out}_axis3 = Constant <value_ints = [3]> ()
            {out}_upper = Slice ({out}_blocks, {out}_zero, rows, {out}_axis1)
            {out}_lower = Slice ({out}_blocks, {out}_one, {out}_end, {out}_axis1)
            {out}_bands = Concat <axis = 2> ({out}_upper, {out}_lower)
            {out}_left = Slice ({out}_bands, {out}_zero, cols, {out}_axis3)
            {out}_right = Slice ({out}_bands, {out}_one, {out}_end, {out}_axis3)
            {out}_windows = Concat <axis = 4> ({out}_left, {out}_right)
            {out}_t0 = Transpose <perm = [0, 1, 3, 2, 4, 5]> ({out}_windows)
            {out}_f0 = Concat <axis = 0> (n, groups, fan, {channels})
            {out}_then = Reshape ({out}_t0, {out}_f0)
        }},
        else_branch = {out}_global () => ({out}_else) {{
            {out}_half_rows = Div (h, sixteen)
            {out}_half_cols = Div (w, sixteen)
            {out}_s1 = Concat <axis = 0> (n, sixteen, {out}_half_rows, sixteen, {out}_half_cols, {channels})
            {out}_grids = Reshape ({x}, {out}_s1)
            {out}_t1 = Transpose <perm = [0, 2, 4, 1, 3, 5]> ({out}_grids)
            {out}_twice = Constant <value_ints = [1, 2, 2, 1, 1, 1]> ()
            {out}_tiled = Tile ({out}_t1, {out}_twice)
            {out}_f1 = Concat <axis = 0> (n, groups, fan, {channels})
            {out}_else = Reshape ({out}_tiled, {out}_f1)
        }}
    >
"""


def _unit(x: str, out: str) -> str:
    """Write nodes that divide the vectors along the last axis by their norm, or by 1e-12 if that is larger."""
    return f"""
    {out}_norm = ReduceL2 <keepdims = 1> ({x}, last)
    {out}_floored = Max ({out}_norm, tiny)
    {out} = Div ({x}, {out}_floored)
"""


# The 32 bits of a word as an int32 constant; bit 31 is the sign.
_POWERS = ", ".join(str(1 << bit) for bit in range(31)) + f", {-(1 << 31)}"
_BITS = f"bits = Constant <value = int32[32] {{{_POWERS}}}> ()"


def _filter_of_each(name: str, values: ArrayLike) -> str:
    """Write a node of a 3×3 filter, the same for each of the `channels` of the attribute."""
    numbers = ", ".join(repr(float(value)) for value in np.asarray(values, np.float32).ravel())
    return f"""
    {name}_one = Constant <value = float[1, 1, 3, 3] {{{numbers}}}> ()
    {name} = Expand ({name}_one, filters)
"""


_COMPLEXITY_MAP = f"""
ComplexityMap <channels, plugin_namespace, plugin_version> (x) => (complexity)
{{
    c = Constant <value_int: int = @channels> ()
    first_axis = Constant <value_ints = [0]> ()
    c_row = Unsqueeze (c, first_axis)
    ones = Constant <value_ints = [1, 1, 1]> ()
    filters = Concat <axis = 0> (c_row, ones)
    {_filter_of_each("slope", SOBEL)}
    {_filter_of_each("slope_t", np.transpose(SOBEL))}
    {_filter_of_each("blur", np.outer(gaussian_taps(), gaussian_taps()))}
    around = Constant <value_ints = [0, 0, 1, 1, 0, 0, 1, 1]> ()
    least = Constant <value = float {{{LEAST_SQUARE}}}> ()
    contrast = Constant <value = float {{{CONTRAST}}}> ()

    x32 = Cast <to = 1> (x)
    first = Transpose <perm = [0, 3, 1, 2]> (x32)
    padded = Pad <mode = "edge"> (first, around)
    gx = Conv <group: int = @channels> (padded, slope)
    gy = Conv <group: int = @channels> (padded, slope_t)
    gx_square = Mul (gx, gx)
    gy_square = Mul (gy, gy)
    squares = Add (gx_square, gy_square)
    positive = Add (squares, least)
    magnitude = Sqrt (positive)
    magnitude_padded = Pad <mode = "edge"> (magnitude, around)
    blurred = Conv <group: int = @channels> (magnitude_padded, blur)
    blurred_square = Mul (blurred, blurred)
    channel_axis = Constant <value_ints = [1]> ()
    mean_square = ReduceMean <keepdims = 0> (blurred_square, channel_axis)
    d = Sqrt (mean_square)
    map_axes = Constant <value_ints = [1, 2]> ()
    mean = ReduceMean <keepdims = 1> (d, map_axes)
    deviation = Sub (d, mean)
    flattened = Div (deviation, contrast)
    complexity = Add (mean, flattened)
}}
"""


def _bisection(step: int) -> str:
    """Write nodes that halve [low, high] at the threshold; all are N×G×64×1."""
    now, then = f"_{step}", f"_{step + 1}"
    return f"""
    above{now} = Greater (similarity, t{now})
    ones{now} = Cast <to = 1> (above{now})
    count{now} = ReduceSum <keepdims = 1> (ones{now}, last)
    many{now} = Greater (count{now}, budget)
    low{then} = Where (many{now}, t{now}, low{now})
    high{then} = Where (many{now}, high{now}, t{now})
    sum{now} = Add (low{then}, high{then})
    t{then} = Mul (sum{now}, half)
"""


_DYNAMIC_KNN = f"""
DynamicKnn <sampling, window, sample, plugin_namespace, plugin_version> (x, complexity) => (graph)
{{
    shape = Shape (x)
    {_SIZES}
    last = Constant <value_ints = [-1]> ()
    tiny = Constant <value = float {{1e-12}}> ()
    half = Constant <value = float {{0.5}}> ()
    one_channel = Constant <value_ints = [1]> ()

    {_query_groups("complexity", "d", "one_channel")}
    node_axis = Constant <value_ints = [2]> ()
    d_sum = ReduceSum <keepdims = 1> (d, node_axis)
    d_share = Div (d, d_sum)
    edges = Constant <value = float {{4096}}> ()
    fewest = Constant <value = float {{1}}> ()
    most = Constant <value = float {{256}}> ()
    share = Mul (d_share, edges)
    budget = Clip (share, fewest, most)

    x32 = Cast <to = 1> (x)
    {_unit("x32", "unit")}
    {_query_groups("unit", "query", "c")}
    {_candidate_groups("unit", "candidate", "c")}
    candidate_t = Transpose <perm = [0, 1, 3, 2]> (candidate)
    similarity = MatMul (query, candidate_t)
    low_0 = ReduceMin <keepdims = 1> (similarity, last)
    t_0 = ReduceMean <keepdims = 1> (similarity, last)
    high_0 = Constant <value = float {{1}}> ()
    {"".join(_bisection(step) for step in range(BISECTIONS))}
    chosen = Greater (similarity, t_{BISECTIONS})

    {_BITS}
    mask = Cast <to = 6> (chosen)
    by_word = Constant <value_ints = [0, 0, 0, 8, 32]> ()
    words = Reshape (mask, by_word)
    weighted = Mul (words, bits)
    graph = ReduceSum <keepdims = 0> (weighted, last)
}}
"""

_SCATTER_AGGREGATE = f"""
ScatterAggregate <sampling, window, sample, plugin_namespace, plugin_version> (q, kv, graph, bias, scale) => (out)
{{
    shape = Shape (q)
    {_SIZES}
    last = Constant <value_ints = [-1]> ()
    tiny = Constant <value = float {{1e-12}}> ()
    heads = Shape (scale)
    width = Div (c, heads)
    c_twice = Add (c, c)

    q32 = Cast <to = 1> (q)
    kv32 = Cast <to = 1> (kv)
    {_query_groups("q32", "queries", "c")}
    {_candidate_groups("kv32", "candidates", "c_twice")}
    keys, values = Split <axis = 3, num_outputs = 2> (candidates)
    query_split = Concat <axis = 0> (n, groups, nodes, heads, width)
    candidate_split = Concat <axis = 0> (n, groups, fan, heads, width)
    query_heads = Reshape (queries, query_split)
    key_heads = Reshape (keys, candidate_split)
    value_heads = Reshape (values, candidate_split)
    {_unit("query_heads", "query_unit")}
    {_unit("key_heads", "key_unit")}
    query_t = Transpose <perm = [0, 1, 3, 2, 4]> (query_unit)
    key_t = Transpose <perm = [0, 1, 3, 4, 2]> (key_unit)
    value_t = Transpose <perm = [0, 1, 3, 2, 4]> (value_heads)
    similarity = MatMul (query_t, key_t)

    {_BITS}
    word_axis = Constant <value_ints = [4]> ()
    words = Unsqueeze (graph, word_axis)
    masked = BitwiseAnd (words, bits)
    none = Constant <value = int32 {{0}}> ()
    unset = Equal (masked, none)
    as_mask = Constant <value_ints = [0, 0, 1, 64, 256]> ()
    head_axis = Constant <value_ints = [2]> ()
    flat_shape = Concat <axis = 0> (n, groups, nodes, fan)
    flat = Reshape (unset, flat_shape)
    no_edge = Unsqueeze (flat, head_axis)
    zero = Constant <value = float {{0}}> ()
    hundred = Constant <value = float {{-100}}> ()
    penalty = Where (no_edge, hundred, zero)

    penalised = Add (similarity, penalty)
    matrix_axes = Constant <value_ints = [1, 2]> ()
    scales = Unsqueeze (scale, matrix_axes)
    scaled = Mul (penalised, scales)
    logits = Add (scaled, bias)
    weights = Softmax <axis = -1> (logits)
    attended = MatMul (weights, value_t)
    by_node = Transpose <perm = [0, 1, 3, 2, 4]> (attended)
    grid_shape = Concat <axis = 0> (n, rows, cols, eight, eight, c)
    grid = Reshape (by_node, grid_shape)
    placed = If (is_local) <
        then_branch = place_local () => (placed_then) {{
            placed_then = Transpose <perm = [0, 1, 3, 2, 4, 5]> (grid)
        }},
        else_branch = place_global () => (placed_else) {{
            placed_else = Transpose <perm = [0, 3, 1, 4, 2, 5]> (grid)
        }}
    >
    out32 = Reshape (placed, shape)
    out = CastLike (out32, q)
}}
"""


def _gate(x: str, out: str) -> str:
    """Write nodes that compute GELU(a)·b of the halves a and b of x's last axis.

    The op Gelu is not used, because it exists only since opset 20.
    """
    return f"""
    {out}_a, {out}_b = Split <axis = -1, num_outputs = 2> ({x})
    {out}_root = Constant <value = float {{0.70710678118654752}}> ()
    {out}_half = Constant <value = float {{0.5}}> ()
    {out}_scaled = Mul ({out}_a, {out}_root)
    {out}_erf = Erf ({out}_scaled)
    {out}_part = Mul ({out}_erf, {out}_half)
    {out}_phi = Add ({out}_part, {out}_half)
    {out}_gelu = Mul ({out}_a, {out}_phi)
    {out} = Mul ({out}_gelu, {out}_b)
"""


_GATE = f"""
Gate (x) => (out)
{{
    {_gate("x", "out")}
}}
"""

_DEPTHWISE_GATE = f"""
DepthwiseGate <channels> (x, filter) => (out)
{{
    first = Transpose <perm = [0, 3, 1, 2]> (x)
    convolved = Conv <group: int = @channels, auto_pad = "SAME_UPPER"> (first, filter)
    last = Transpose <perm = [0, 2, 3, 1]> (convolved)
    {_gate("last", "out")}
}}
"""

_DEPTHWISE_MIX = """
DepthwiseMix <channels> (x, before, filter, after) => (out)
{
    biased = Add (x, before)
    active = LeakyRelu <alpha = 0.01> (biased)
    first = Transpose <perm = [0, 3, 1, 2]> (active)
    convolved = Conv <group: int = @channels, auto_pad = "SAME_UPPER"> (first, filter, after)
    out = Transpose <perm = [0, 2, 3, 1]> (convolved)
}
"""


def _normalised(x: str) -> str:
    """Write nodes that compute `unit`, x normalised along its axis `last` with the attribute epsilon."""
    return f"""
    mean = ReduceMean ({x}, last)
    centred = Sub ({x}, mean)
    squares = Mul (centred, centred)
    variance = ReduceMean (squares, last)
    least = Constant <value_float: float = @epsilon> ()
    raised = Add (variance, least)
    deviation = Sqrt (raised)
    unit = Div (centred, deviation)
"""


_RESIDUAL_NORM = f"""
ResidualNorm <epsilon> (x, update, bias) => (sum, normed)
{{
    biased = Add (update, bias)
    sum = Add (x, biased)
    last = Constant <value_ints = [-1]> ()
    {_normalised("sum")}
    one = Constant <value_float = 1.0> ()
    ahead = Constant <value_ints = [0, 1]> ()
    normed = Pad (unit, ahead, one, last)
}}
"""


def _ffn(filtering: str, filtered: str) -> str:
    """Write nodes of a feed-forward network; `filtering` are those that make `filtered` of the wide map `biased`."""
    return f"""
    last = Constant <value_ints = [-1]> ()
    wide = Cast <to = 1> (x)
    {_normalised("wide")}
    normed = CastLike (unit, x)
    expanded = MatMul (normed, expand)
    expanded_wide = Cast <to = 1> (expanded)
    biased = Add (expanded_wide, bias)
    {filtering}
    {_gate(filtered, "gated_wide")}
    gated = CastLike (gated_wide, x)
    update = MatMul (gated, project)
    out = Add (x, update)
"""


_GATED_FFN = f"""
GatedFfn <epsilon, plugin_namespace, plugin_version> (x, expand, bias, project) => (out)
{{
    {_ffn("", "biased")}
}}
"""

_CONVOLVED = """
    first = Transpose <perm = [0, 3, 1, 2]> (biased)
    convolved = Conv <group: int = @channels, auto_pad = "SAME_UPPER"> (first, filter)
    filtered = Transpose <perm = [0, 2, 3, 1]> (convolved)
"""

_DEPTHWISE_GATED_FFN = f"""
DepthwiseGatedFfn <channels, epsilon, plugin_namespace, plugin_version> (x, expand, bias, filter, project) => (out)
{{
    {_ffn(_CONVOLVED, "filtered")}
}}
"""


def _floats(name: str, values: NDArray[np.float64]) -> str:
    numbers = ", ".join(repr(float(np.float32(value))) for value in values.flat)
    return f"{name} = Constant <value = float[{','.join(map(str, values.shape))}] {{{numbers}}}> ()"


# Filters that compute the 36 transformed values of a patch from its 6×6 values, and the matrix that computes the 16
# results of a tile from the 36 products.
_TO_PATCH = np.einsum("ai,bj->abij", winograd.B, winograd.B).reshape(36, 1, 6, 6)
_FROM_PATCH = np.einsum("ia,jb->abij", winograd.A, winograd.A).reshape(36, 16)

_WINOGRAD_INPUT = f"""
WinogradInput <channels> (x) => (out)
{{
    {_floats("filters", _TO_PATCH)}
    shape = Shape (x)
    n, h, w, c = Split <axis = 0, num_outputs = 4> (shape)
    ones = Constant <value_ints = [1, 1, 1]> ()
    repeats = Concat <axis = 0> (c, ones)
    weights = Tile (filters, repeats)
    first = Transpose <perm = [0, 3, 1, 2]> (x)
    convolved = Conv <group: int = @channels, strides = [4, 4], pads = [1, 1, 1, 1]> (first, weights)
    four = Constant <value_ints = [4]> ()
    rows = Div (h, four)
    columns = Div (w, four)
    patch = Constant <value_ints = [36]> ()
    parts = Concat <axis = 0> (n, c, patch, rows, columns)
    parted = Reshape (convolved, parts)
    out = Transpose <perm = [2, 0, 3, 4, 1]> (parted)
}}
"""

_WINOGRAD_SHUFFLE = f"""
WinogradShuffle (m, bias) => (out)
{{
    {_floats("to_tile", _FROM_PATCH)}
    shape = Shape (m)
    patch, n, rows, columns, k = Split <axis = 0, num_outputs = 5> (shape)
    last = Transpose <perm = [1, 2, 3, 4, 0]> (m)
    tiles = MatMul (last, to_tile)
    axis = Constant <value_ints = [1]> ()
    column = Unsqueeze (bias, axis)
    biased = Add (tiles, column)
    two = Constant <value_ints = [2]> ()
    four = Constant <value_ints = [4]> ()
    eight = Constant <value_ints = [8]> ()
    channels = Div (k, four)
    parts = Concat <axis = 0> (n, rows, columns, two, two, channels, four, four)
    parted = Reshape (biased, parts)
    placed = Transpose <perm = [0, 1, 6, 3, 2, 7, 4, 5]> (parted)
    height = Mul (rows, eight)
    width = Mul (columns, eight)
    whole = Concat <axis = 0> (n, height, width, channels)
    out = Reshape (placed, whole)
}}
"""

_PIXEL_SHUFFLE = """
PixelShuffle (x) => (out)
{
    out = DepthToSpace <blocksize = 2, mode = "CRD"> (x)
}
"""

BODIES = {
    "GatedFfn": _GATED_FFN,
    "DepthwiseGatedFfn": _DEPTHWISE_GATED_FFN,
    "ComplexityMap": _COMPLEXITY_MAP,
    "DynamicKnn": _DYNAMIC_KNN,
    "ScatterAggregate": _SCATTER_AGGREGATE,
    "Gate": _GATE,
    "DepthwiseGate": _DEPTHWISE_GATE,
    "DepthwiseMix": _DEPTHWISE_MIX,
    "ResidualNorm": _RESIDUAL_NORM,
    "WinogradInput": _WINOGRAD_INPUT,
    "WinogradShuffle": _WINOGRAD_SHUFFLE,
    "PixelShuffle": _PIXEL_SHUFFLE,
}
"""Function bodies by op, in ONNX's textual syntax. Ops whose weights must be constants have none."""


def attach_functions(model: ModelProto) -> None:
    """Add the functions of the ops that a model uses to the model, in place; earlier versions are replaced.

    This must be the last step of an export. Raises ValueError for an opset before LOWEST_OPSET.
    """
    versions = {opset.domain: opset.version for opset in model.opset_import}
    opset = versions.get("", LOWEST_OPSET)
    if opset < LOWEST_OPSET:
        raise ValueError(
            f"function bodies of the glic ops: opset {opset}, expected {LOWEST_OPSET} or later: export again"
        )
    header = f'<opset_import: ["" : {opset}], domain: "{DOMAIN}">'
    used = {node.op_type for node in _nodes(model.graph) if node.domain == DOMAIN}
    bodies = [onnx.parser.parse_function(header + text) for name, text in BODIES.items() if name in used]
    kept = [f for f in model.functions if f.domain != DOMAIN or f.name not in BODIES]
    del model.functions[:]
    model.functions.extend([*kept, *bodies])
    if DOMAIN not in versions:
        model.opset_import.append(onnx.helper.make_opsetid(DOMAIN, VERSION))


def _nodes(graph: GraphProto) -> Iterator[NodeProto]:
    """Yield the nodes of a graph and of the graphs inside its nodes."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            yield from _nodes(attribute.g)
