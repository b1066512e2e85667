"""Losses: pure functions of tensors. No module, no configuration, no logging."""

from retdm.losses.classification import binary_cross_entropy
from retdm.losses.distributed import gather_rows, mean_over_batch
from retdm.losses.reconstruction import squared_error
from retdm.losses.two_way import TwoWay, nearest_label_sets, two_way_metric, two_way_terms

__all__ = [
    "TwoWay",
    "binary_cross_entropy",
    "gather_rows",
    "mean_over_batch",
    "nearest_label_sets",
    "squared_error",
    "two_way_metric",
    "two_way_terms",
]
