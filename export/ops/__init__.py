"""The two custom ops of GLIC and the complexity map, as PyTorch sees and exports them."""

from .complexity import complexity_map
from .dynamic_knn import dynamic_knn
from .groups import GLOBAL, LOCAL
from .scatter_aggregate import scatter_aggregate

__all__ = ["GLOBAL", "LOCAL", "complexity_map", "dynamic_knn", "scatter_aggregate"]
