"""Mixed precision for OpenVINO: which ops of a bfloat16 model stay in float32, and how OpenVINO is told."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Set
from pathlib import Path

import openvino as ov

PRODUCTS = ("Convolution", "GroupConvolution", "MatMul")

KEPT_PRODUCTS = 4
"""The last products of a transform, and all after the first of them, stay in float32.

What they add is rounded last, at the full size of the result, and nothing averages it; they are a few percent of the
work. `make bench-precision` prints the noise of other choices.
"""

# OpenVINO's own mark against lowering an op's precision, as its files hold it: it says f16 and means bfloat16 too.
_MARK = '<rt_info><attribute name="DisablePrecisionConversion" version="0" value="dynamic:f16"/></rt_info>'
_LAYER = re.compile(r'<layer [^>]*?name="([^"]*)" type="([^"]*)"[^>]*[^/]>(?!\s*<rt_info>)')
_UNMARKED = ("Const", "Parameter", "Result")


def last_ops(model: ov.Model, products: int) -> set[str]:
    """Names of the ops from the n-th last product on, in the order of execution."""
    names = [(op.get_friendly_name(), op.get_type_name() in PRODUCTS) for op in model.get_ordered_ops()]
    starts = [number for number, (_, product) in enumerate(names) if product]
    if not products or not starts:
        return set()
    return {name for name, _ in names[starts[-min(products, len(starts))] :]}


def keep_float32(core: ov.Core, model: ov.Model, names: Set[str]) -> ov.Model:
    """A copy of a model whose ops of these names are computed in float32 whatever the model is compiled for."""

    def mark(layer: re.Match[str]) -> str:
        name, kind = layer.groups()
        return layer[0] + (_MARK if name in names and kind not in _UNMARKED else "")

    # Python reaches these marks only through OpenVINO's files.
    with tempfile.TemporaryDirectory(prefix="glic-openvino-") as directory:
        path = Path(directory) / "model.xml"
        ov.serialize(model, str(path))
        weights = path.with_suffix(".bin").read_bytes()
        return core.read_model(_LAYER.sub(mark, path.read_text()).encode(), weights)
