"""ROLE: a classifier, and an estimate of every unknown training label, which learn from each other."""

from typing import Annotated, Any

import torch
from torch import Tensor, nn

from retdm.backbones.base import Backbone
from retdm.batch import AnyBatch, TrainingLabels
from retdm.errors import UserError
from retdm.losses import binary_cross_entropy
from retdm.losses.weak_labels.expected_positives import expected_from_counts
from retdm.losses.weak_labels.label_estimates import label_estimates_loss
from retdm.methods.components.labels import log_odds_as_read
from retdm.methods.deep import DeepMethod
from retdm.ranges import Above


class RowEstimates(nn.Module):
    """Log odds (N, L) of the labels of each row of a data set; none before :meth:`start`."""

    def __init__(self, labels: int) -> None:
        super().__init__()
        self.log_odds = nn.Parameter(torch.zeros(0, labels))

    def start(self, rows: int, log_odds: Tensor) -> None:
        """Begin so many rows at the labels' log odds (L,), unless there are as many already."""
        if len(self.log_odds) != rows:
            self.log_odds.data = log_odds.to(self.log_odds).repeat(rows, 1)

    def forward(self, index: Tensor) -> Tensor:
        return nn.functional.embedding(index, self.log_odds)  # whose gradient is added up in order where rows repeat


class Role(DeepMethod):
    """Online estimation of unknown labels (ROLE, Cole et al., CVPR 2021).

    The estimates are a parameter for each row and label, trained with the network, and in the checkpoint. They begin at
    the labels' frequencies; the original's begin at random near ½, which a network that begins at a probe learns from
    them before they learn from it, until nothing of the probe is left. Validation's
    loss is the cross-entropy of its known cells, for its rows have no estimates.

    Args:
        expected: the positive labels that an image has on average, at most as many as there are; None estimates them
            from the training split, see :func:`retdm.losses.weak_labels.expected_positives.expected_from_counts`.
        training: see :class:`retdm.methods.deep.DeepMethod`.
    """

    loss_names = ("classification",)
    unknown_at_the_probe = "absent_without_negatives"
    estimates_probabilities = False  # scores grow with what the estimates believe
    rows_of_checkpoint = ("estimates.log_odds",)
    expected: Tensor

    def __init__(
        self,
        backbone: Backbone,
        labels: list[str],
        *,
        expected: Annotated[float, Above(0)] | None = None,
        **training: Any,
    ) -> None:
        super().__init__(backbone, labels, **training)
        if expected is not None and expected > len(labels):
            raise UserError(
                f"method.expected={expected:g}, and an image has at most {len(labels)} labels", "such as 1.5"
            )
        self.given = expected
        self.estimates = RowEstimates(len(labels))
        self.register_buffer("expected", torch.tensor(expected or 1.0))

    @property
    def components(self) -> dict[str, nn.Module]:
        return super().components | {"estimates": self.estimates}

    def use_training_labels(self, labels: TrainingLabels) -> None:
        super().use_training_labels(labels)
        cells = labels.target.cpu().numpy(), labels.known.cpu().numpy()
        log_odds = torch.from_numpy(log_odds_as_read(*cells, self.unknown_at_the_probe))
        self.estimates.start(len(labels.frequency), log_odds)
        if self.given is None:
            self.expected.fill_(expected_from_counts(*labels.counts, rows=len(labels.target)))

    def losses(self, batch: AnyBatch) -> dict[str, Tensor]:
        _, logits = self.embed_and_classify(batch)
        if not self.training:
            return {"classification": binary_cross_entropy(logits, batch.target, batch.known)}
        estimates = self.estimates(batch.index)
        # A mean over cells has a gradient ÷ cells, and no other cell adds to that of an estimate: this is a sum's.
        cells = (batch.total or len(logits)) * logits.shape[1]
        estimates = estimates.detach() + cells * (estimates - estimates.detach())
        loss = label_estimates_loss(
            logits, estimates, batch.target, batch.known, expected=self.expected, total=batch.total
        )
        return {"classification": loss}
