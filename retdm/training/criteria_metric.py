"""The criteria as metrics of torchmetrics, for any training loop. Notation: n images, L labels."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from retdm.criteria.evaluate import LARGER_IS_BETTER, check_criterion, evaluate
from retdm.decisions.rules import rule_of
from retdm.errors import UserError

STATES = ("index", "scores", "target", "known")


class MultilabelCriteria(Metric):
    """All criteria of multi-label classification by name, as :func:`retdm.criteria.evaluate` defines them.

    A ``torchmetrics.Metric``: it stands alone, in a ``MetricCollection`` or in a ``LightningModule``, and its rows are
    gathered from all processes, however unevenly they lie (a process may have none). Rows are kept until ``reset``.

    Args:
        labels: the names of the L labels, or their number.
        decide: the rule that makes label sets of scores, see :func:`retdm.decisions.rules`.
        threshold: of a rule that has any, a number or one a label; None chooses those that are best on these very rows.
            ``train_threshold`` needs them.
        more: the arguments that every ``torchmetrics.Metric`` has, such as ``compute_on_cpu``.

    Raises:
        UserError: unknown rule, or no threshold for ``train_threshold``.
        ValueError: no label.
    """

    is_differentiable = False
    full_state_update = False

    index: list[Tensor]
    scores: list[Tensor]
    target: list[Tensor]
    known: list[Tensor]

    def __init__(
        self,
        labels: Sequence[str] | int,
        decide: str = "half",
        threshold: float | Sequence[float] | None = None,
        **more: Any,
    ) -> None:
        super().__init__(**more)
        self.labels = [str(i) for i in range(labels)] if isinstance(labels, int) else list(labels)
        if not self.labels:
            raise ValueError("there are no labels: give their names or their number")
        self.rule = rule_of(decide)
        if self.rule.chosen_on == "training" and threshold is None:
            raise UserError(f"decide={decide} needs a threshold for each label", "or take another rule")
        self.threshold = threshold
        for name in STATES:
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def update(self, scores: Tensor, target: Tensor, known: Tensor | None = None, index: Tensor | None = None) -> None:
        """Add a batch.

        Args:
            scores: (B, L) probabilities in [0, 1], never logits; kept as float32.
            target: (B, L) in {0, 1}, any type; what stands in an unknown cell, NaN included, is never read.
            known: (B, L) bool, None where every cell is known; an unknown cell counts in no criterion.
            index: (B,) int64, each image's place in its data set. With it an image that comes twice counts once, such
                as those that a ``DistributedSampler`` repeats to give all processes equally many.

        Raises:
            ValueError: shapes that differ, or ``known`` is not bool.
        """
        known = torch.ones_like(target, dtype=torch.bool) if known is None else known
        index = torch.full((len(scores),), -1, device=scores.device) if index is None else index
        shape = (len(scores), len(self.labels))
        shapes = [tuple(x.shape) for x in (scores, target, known)]
        if shapes != [shape] * 3 or index.shape != shape[:1] or known.dtype != torch.bool:
            raise ValueError(
                f"scores, target and known (bool) must be (B, {len(self.labels)}) and index (B,), "
                f"got {shapes}, {known.dtype} and {tuple(index.shape)}"
            )
        self.index.append(index.detach().long())
        self.scores.append(scores.detach().float())
        self.target.append(target.detach().float().where(known, 0))
        self.known.append(known.detach())

    def compute(self) -> Any:
        """Each criterion's value by name, () float64; NaN where it is undefined.

        Raises:
            ValueError: scores outside [0, 1] or NaN, targets other than 0 and 1, an index for some rows only.
        """
        return {name: self._scalar(value) for name, value in self.criteria_of(self._rows()).items()}

    def gathered(self) -> dict[str, NDArray[Any]]:
        """The rows of all processes, which all call it: ``index`` (n,), ``scores``, ``target`` and ``known`` (n, L).

        Rows that have an index come in its order, each once.
        """
        with self.sync_context():
            return self._rows()

    def criteria_of(self, rows: Mapping[str, NDArray[Any]]) -> dict[str, float | None]:
        """Each criterion's value by name for rows as :meth:`gathered` returns them; None where it is undefined.

        Raises:
            ValueError: see :meth:`compute`.
        """
        scores, cells = rows["scores"], (rows["target"], rows["known"])
        threshold = self.rule.choose(scores, *cells) if self.threshold is None else self.threshold
        return evaluate(scores, *cells, self.labels, self.rule.apply(scores, threshold))["criteria"]

    def sync(self, *args: Any, **kwargs: Any) -> None:
        """Gather the rows of all processes; one that has no rows takes part with none."""
        if not isinstance(self.scores, Tensor) and not self.scores:
            none = torch.zeros(0, len(self.labels), device=self.device)
            self.update(none, none, index=none[:, 0].long())
        super().sync(*args, **kwargs)

    def _rows(self) -> dict[str, NDArray[Any]]:
        states = (self.index, self.scores, self.target, self.known)
        rows = {name: dim_zero_cat(state).cpu().numpy() for name, state in zip(STATES, states, strict=True)}
        without = rows["index"] < 0
        if without.all():
            return rows
        if without.any():
            raise ValueError("some rows have an index and others have none")
        order = np.unique(rows["index"], return_index=True)[1]
        return {name: column[order] for name, column in rows.items()}

    def _scalar(self, value: float | None) -> Tensor:
        dtype = torch.float32 if self.device.type == "mps" else torch.float64  # which has no float64
        return torch.tensor(float("nan") if value is None else value, dtype=dtype, device=self.device)


class MultilabelCriterion(MultilabelCriteria):
    """One criterion of :class:`MultilabelCriteria`, as a scalar: what ``self.log`` and ``ModelCheckpoint`` take.

    In a ``MetricCollection`` several of them share their rows.

    Args:
        name: one of ``retdm.criteria.CRITERIA``, such as ``mAP``.
        labels, decide, threshold, more: see :class:`MultilabelCriteria`.

    Raises:
        UserError: unknown name or rule.
        ValueError: no label.
    """

    def __init__(
        self,
        name: str,
        labels: Sequence[str] | int,
        decide: str = "half",
        threshold: float | Sequence[float] | None = None,
        **more: Any,
    ) -> None:
        check_criterion(name)
        super().__init__(labels, decide, threshold, **more)
        self.name = name

    @property
    def higher_is_better(self) -> bool:  # type: ignore[override]  # a constant of the class in torchmetrics
        """True if the criterion improves as it grows."""
        return self.name in LARGER_IS_BETTER

    def compute(self) -> Tensor:
        """The criterion's value, () float64; NaN where it is undefined."""
        return self._scalar(self.criteria_of(self._rows())[self.name])
