"""Name the forms of a bundle's graphs. This module imports nothing."""

from __future__ import annotations

BASE = "base"
"""Form of a graph that every ONNX runtime can run."""
NATIVE = "native"
"""Form for CPUs; its ops need one of our native libraries."""
FUSED = "fused"
"""Form of the transforms for CPUs; its ops are whole blocks with their products, and need one of our libraries."""
INTEGER = "integer"
"""Form of the entropy path that multiplies integers."""
FP16, BF16 = "fp16", "bf16"
"""Forms of the transforms in half precision."""
CUDA = "cuda"
"""Form, in float32 or exact integers, that onnxruntime can capture as a CUDA graph."""
TENSORRT = "tensorrt"
"""Form from which TensorRT's plans are built."""
