"""Losses: pure functions of tensors. No module, no configuration, no logging."""

from retdm.losses.asymmetric import asymmetric_loss
from retdm.losses.canonical_correlation import canonical_correlation_loss
from retdm.losses.center import center_loss, moved_centers
from retdm.losses.classification import binary_cross_entropy
from retdm.losses.distributed import gather_rows, mean_over_batch
from retdm.losses.label_ranking import label_ranking_loss
from retdm.losses.reconstruction import squared_error
from retdm.losses.sequence import sequence_cross_entropy
from retdm.losses.softmax import softmax_cross_entropy
from retdm.losses.two_way import TwoWay, nearest_label_sets, two_way_metric, two_way_terms
from retdm.losses.warp import warp_loss

__all__ = [
    "TwoWay",
    "asymmetric_loss",
    "binary_cross_entropy",
    "canonical_correlation_loss",
    "center_loss",
    "gather_rows",
    "label_ranking_loss",
    "mean_over_batch",
    "moved_centers",
    "nearest_label_sets",
    "sequence_cross_entropy",
    "softmax_cross_entropy",
    "squared_error",
    "two_way_metric",
    "two_way_terms",
    "warp_loss",
]
