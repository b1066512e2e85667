"""What methods on bags share. Notation: n bags, T instances in all, B bags and N places of a batch, L labels."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from retdm.backbones.base import Backbone
from retdm.bags import Bags
from retdm.errors import UserError
from retdm.methods.components.shallow import Array, Bools, check_positive, lowest_loss
from retdm.methods.fitted import BagMethod

BATCH = 256  # bags that are padded at once


def batches(examples: Bags, device: torch.device) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """All bags in their order as scoring takes them: float64 (B, N, D), mask (B, N), index (B,)."""
    for start in range(0, len(examples), BATCH):
        part = examples.take(slice(start, start + BATCH))
        bag, mask = (torch.from_numpy(array).to(device) for array in part.pad())
        yield bag, mask, torch.from_numpy(part.index).to(device)


def scores_of(method: BagMethod, examples: Bags) -> Array:
    """(n, L) in [0, 1]"""
    found = [method.bag_decision(*batch).cpu() for batch in batches(examples, method.device)]
    scores: Array = torch.cat(found).numpy()
    return scores


class TunedBagMethod(BagMethod):
    """A method on bags that can choose some of its settings by 5 folds of the training bags.

    A subclass writes :meth:`fit_once`, or :meth:`fit` itself with :meth:`choose` where folds share some work.

    Args:
        tune: set :attr:`tuned` to the candidate with the fewest :meth:`cross_validation_loss`, at a tie the earlier.
        candidates: one value a setting of ``tuned``, or a number where that names one; all above 0.
        fitted: see :class:`retdm.methods.fitted.BagMethod`.

    Attributes:
        tuned: names of settings.
    """

    tuned: ClassVar[tuple[str, ...]]
    chosen: Tensor  # () int64, the place of the candidate that was chosen; -1 before

    def __init__(
        self,
        backbone: Backbone,
        labels: list[str],
        *,
        tune: bool = False,
        candidates: Sequence[float | Sequence[float]],
        **fitted: Any,
    ) -> None:
        super().__init__(backbone, labels, **fitted)
        self.tune = tune
        self.candidates = [tuple(one) if isinstance(one, Sequence) else (one,) for one in candidates]
        for one in self.candidates:
            if len(one) != len(self.tuned):
                raise UserError(f"method.candidates holds {list(one)}", f"expected values of {', '.join(self.tuned)}")
            check_positive(candidates=one)
        if not self.candidates:
            raise UserError("method.candidates is empty", f"method.tune chooses {', '.join(self.tuned)} from it")
        self.register_buffer("chosen", torch.tensor(-1))

    # What a method writes

    def fit_once(self, examples: Bags, target: NDArray[Any], known: NDArray[Any]) -> None:
        """:meth:`fit` with the settings as they stand."""
        raise NotImplementedError

    def cross_validation_loss(self, scores: Array, target: NDArray[Any], known: Bools) -> float:
        """What a candidate is judged by, less being better: how many known cells score on the other side of the
        method's own ``thresholds``, or of 1/2. All (n, L)."""
        thresholds = getattr(self, "thresholds", torch.tensor(0.5)).cpu().numpy()
        return float((((scores >= thresholds) != (target > 0)) & known).sum())

    # What is shared

    def fit(self, examples: Bags, target: NDArray[Any], known: NDArray[Any]) -> None:
        def scores(fitted: Bools, held: Bools) -> Array:
            self.fit_once(examples.take(fitted), target[fitted], known[fitted])
            return scores_of(self, examples.take(held))

        if self.tune:
            self.choose(scores, target, known)
        self.fit_once(examples, target, known)

    def choose(self, scores: Callable[[Bools, Bools], Array], target: NDArray[Any], known: NDArray[Any]) -> None:
        """Set the settings ``tuned`` to the best candidate; ``scores`` of (bags to fit (n,), bags to score (n,)) are
        those after learning from the former."""

        def cross_validation_loss(place: int, fitted: Bools, held: Bools) -> float:
            self._take(place)
            return self.cross_validation_loss(scores(fitted, held), target[held], known[held].astype(bool))

        self._take(lowest_loss(range(len(self.candidates)), cross_validation_loss, len(target), self.seed))

    def details(self) -> dict[str, Any]:
        """The settings of ``tuned`` as they were used."""
        return {name: getattr(self, name) for name in self.tuned}

    def _take(self, place: int) -> None:
        self.chosen.fill_(place)
        for name, value in zip(self.tuned, self.candidates[place], strict=True):
            setattr(self, name, value)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        state_dict.setdefault(f"{prefix}chosen", torch.tensor(-1))  # a checkpoint from before there was any
        super()._load_from_state_dict(state_dict, prefix, *rest)
        if self.chosen >= 0:  # what was chosen may be asked for when bags are scored
            self._take(int(self.chosen))


def wrong_pairs(scores: Array, target: NDArray[Any], known: Bools) -> float:
    """The share of pairs of a label that a bag carries and one that it lacks where the former scores no higher, summed
    over the bags that have such pairs. All (n, L)."""
    carried, lacking = (target > 0) & known, (target == 0) & known
    wrong = (carried[:, :, None] & lacking[:, None] & (scores[:, :, None] <= scores[:, None])).sum((1, 2))
    pairs = carried.sum(1) * lacking.sum(1)
    return float((wrong / np.maximum(pairs, 1)).sum())
