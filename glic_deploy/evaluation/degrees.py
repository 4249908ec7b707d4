"""Node degrees of the adaptive graphs that the analysis builds for an image."""

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
# The stages with graphs, in the order in which the analysis comes to them, and their scale.
_STAGES = (("g_a.g2", 4), ("g_a.g3", 8))


@dataclass(frozen=True)
class DegreeMap:
    """Edges per node of one graph.

    Attributes:
        stage: the graph aggregation that it is of, as the checkpoint names it.
        sampling: "local" or "global" candidates, 256 of them.
        scale: pixels of the image a node spans in each direction.
        degrees: int (h, w) over the padded image; a node of degree 0 attends to all its candidates.
    """

    stage: str
    sampling: str
    scale: int
    degrees: NDArray[np.int64]

    @property
    def name(self) -> str:
        return f"{self.stage} {self.sampling}"


def node_degrees(bundle: Bundle, image: NDArray[np.uint8], threads: int | None = None) -> list[DegreeMap]:
    """Degree maps of an image, uint8 (H, W, 3), from the bundle's own analysis graph, cut off behind its graphs.

    Runs on onnxruntime whatever the codec's backend is. Raises EngineError where that or onnx is missing.
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
    """Edges per node, (h, w), of a graph int32 (1, groups, 64, 8) of bit masks; spec: nodes of a group are row-major.

    A local group is an 8×8 window, a global one 8×8 nodes at strides h/8, w/8.
    """
    rows, columns = (side // _WINDOW for side in size)
    degrees = np.unpackbits(graph.view(np.uint8), axis=-1).sum(-1, dtype=np.int64)
    grid = degrees.reshape(rows, columns, _WINDOW, _WINDOW)
    order = (0, 2, 1, 3) if local else (2, 0, 3, 1)
    return np.ascontiguousarray(grid.transpose(order)).reshape(size)
