"""Losses: pure functions of tensors. No module, no configuration, no logging."""

from retdm.losses.asymmetric import asymmetric_loss
from retdm.losses.binary_cross_entropy import binary_cross_entropy
from retdm.losses.canonical_correlation import canonical_correlation_loss
from retdm.losses.center import center_loss, moved_centers
from retdm.losses.distributed import gather_rows, mean_over_batch
from retdm.losses.distribution_balanced import distribution_balanced_loss
from retdm.losses.focal import focal_loss
from retdm.losses.label_ranking import label_ranking_loss
from retdm.losses.label_sets import nearest_label_sets
from retdm.losses.sequence_cross_entropy import sequence_cross_entropy
from retdm.losses.softmax_cross_entropy import softmax_cross_entropy
from retdm.losses.squared_error import squared_error
from retdm.losses.two_way import TwoWay, two_way_metric, two_way_terms
from retdm.losses.warp import warp_loss

__all__ = [
    "TwoWay",
    "asymmetric_loss",
    "binary_cross_entropy",
    "canonical_correlation_loss",
    "center_loss",
    "distribution_balanced_loss",
    "focal_loss",
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
