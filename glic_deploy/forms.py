"""Names of the forms of a bundle's graphs. Importing this module costs nothing."""

from __future__ import annotations

BASE = "base"
"""The form of a graph that every ONNX runtime can run."""
NATIVE = "native"
"""The form for CPUs, whose ops need one of our native libraries."""
INTEGER = "integer"
"""The form of the entropy path that multiplies integers."""
FP16, BF16 = "fp16", "bf16"
"""The forms of the transforms in half precision."""
TENSORRT = "tensorrt"
"""The form that TensorRT's plans are built from."""
