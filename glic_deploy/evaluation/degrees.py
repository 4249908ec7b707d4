"""Compute the node degrees of the adaptive graphs that the analysis transform builds for an image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..bundle import Bundle
from ..errors import EngineError
from ..image import pad

_OP = "DynamicKnn"
_LOCAL = 0
_WINDOW = 8
# The stages with graphs in the order of the analysis transform, and the scale of each.
_STAGES = (("g_a.g2", 4), ("g_a.g3", 8))


@dataclass(frozen=True)
class DegreeMap:
    """Hold the number of edges of each node of one graph.

    Attributes:
        stage: the checkpoint's name of the graph aggregation.
        sampling: "local" or "global": the kind of the node's 256 candidates.
        scale: pixels of the image that a node spans in each direction.
        degrees: int64 (h, w) over the padded image, 0 to 256; a node of degree 0 attends to all its candidates.
    """

    stage: str
    sampling: str
    scale: int
    degrees: NDArray[np.int64]

    @property
    def name(self) -> str:
        return f"{self.stage} {self.sampling}"


def node_degrees(bundle: Bundle, image: NDArray[np.uint8], threads: int | None = None) -> list[DegreeMap]:
    """Compute the degree maps of an image, uint8 (H, W, 3), with the bundle's analysis graph.

    The ONNX model is cut off behind its last `DynamicKnn` node and always runs on onnxruntime.

    Raises EngineError if onnxruntime or onnx is not installed.
    """
    try:
        import onnx
        import onnxruntime as ort

        from ..backends.onnxruntime import session_options
    except ImportError as error:
        raise EngineError(f"node degrees need {error.name}: pip install 'glic-deploy[bench,cpu]'") from error

    path = bundle.graph("analysis", ("base",))
    model = onnx.load(str(path), load_external_data=False)
    nodes = [node for node in model.graph.node if node.op_type == _OP]
    del model.graph.output[:]
    model.graph.output.extend(onnx.helper.make_empty_tensor_value_info(node.output[0]) for node in nodes)
    options = session_options(threads or 0)
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(path.parent))
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    padded = pad(image)
    graphs = session.run(None, {"image": padded})
    maps = []
    for number, (node, graph) in enumerate(zip(nodes, graphs, strict=True)):
        stage, scale = _STAGES[number // 2]
        local = next(attribute.i for attribute in node.attribute if attribute.name == "sampling") == _LOCAL
        size = padded.shape[0] // scale, padded.shape[1] // scale
        maps.append(DegreeMap(stage, "local" if local else "global", scale, degree_map(graph, size, local)))
    return maps


def degree_map(graph: NDArray[np.int32], size: tuple[int, int], local: bool) -> NDArray[np.int64]:
    """Count the edges of each node of a graph.

    A local group is a window of 8×8 nodes; a global group is 8×8 nodes at strides of h/8 and w/8. The nodes of a group
    are in row-major order.

    Args:
        graph: int32 (1, groups, 64, 8), the bit masks of the edges.
        size: height and width of the map in nodes.
        local: whether the groups are local.

    Returns int64 (h, w).
    """
    rows, columns = (side // _WINDOW for side in size)
    degrees = np.unpackbits(graph.view(np.uint8), axis=-1).sum(-1, dtype=np.int64)
    grid = degrees.reshape(rows, columns, _WINDOW, _WINDOW)
    order = (0, 2, 1, 3) if local else (2, 0, 3, 1)
    return np.ascontiguousarray(grid.transpose(order)).reshape(size)
