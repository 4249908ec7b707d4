"""GLIC's network in PyTorch, inference only, built straight from a checkpoint's tensors.

Run eagerly it is the slow reference; traced by `export.to_onnx` it becomes the bundle's graphs.
"""

from .entropy import HyperAnalysis, HyperSynthesis, SliceAnchors, SliceNonanchors
from .transforms import Analysis, Preview, Synthesis

__all__ = ["Analysis", "HyperAnalysis", "HyperSynthesis", "Preview", "SliceAnchors", "SliceNonanchors", "Synthesis"]
