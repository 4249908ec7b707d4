"""Define the custom ops of GLIC's graph feature aggregation for PyTorch and its exporter."""

from .complexity import complexity_map
from .dynamic_knn import dynamic_knn
from .groups import GLOBAL, LOCAL
from .scatter_aggregate import scatter_aggregate

__all__ = ["GLOBAL", "LOCAL", "complexity_map", "dynamic_knn", "scatter_aggregate"]
