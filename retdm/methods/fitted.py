"""What every fitted method shares: it is fitted by one call, and may tune its settings first."""

from collections.abc import Mapping
from inspect import get_annotations
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from retdm.backbones.base import Backbone
from retdm.errors import UserError
from retdm.methods.base import Calibrate, Method
from retdm.methods.components.labels import Array, Bools
from retdm.methods.tuning import Candidates, FoldScores, log_loss, lowest_loss, trials_of


class FittedMethod(Method):
    """A method that is trained by one call of :meth:`fit` and keeps what it fitted in buffers.

    A subclass writes :meth:`fit_once`, and its base in ``on_features`` or ``on_bags`` says what examples are.

    Args:
        backbone: frozen network.
        labels: names of the L labels.
        tune: settings to choose by 5 folds of the training rows: true for the method's :attr:`candidates`, or
            candidates in the same form, ``{C: [0.1, 1, 10]}``; see :func:`retdm.methods.tuning.trials_of`. At a tie
            the earlier is taken.
        decide, calibrate, seed: see :class:`retdm.methods.base.Method`.

    Attributes:
        candidates: what ``tune: true`` tries.
        fitted_buffers: names of all that subclasses annotate as a ``Tensor``: buffers of shapes that the training rows
            decide, empty until :meth:`set_fitted` or a checkpoint fills them.
        explains: it writes :meth:`explain`.
        is_fitted: whether it can score.
        tuned: names of the settings in ``candidates`` or ``tune``.
        chosen: number of the trial that tuning chose; -1 where nothing was tuned.
    """

    candidates: ClassVar[Candidates] = {}
    fitted_buffers: ClassVar[tuple[str, ...]] = ()
    exports: ClassVar[bool] = False
    explains: ClassVar[bool] = False

    def __init__(
        self,
        backbone: Backbone,
        labels: list[str],
        *,
        tune: bool | Candidates = False,
        decide: str = "half",
        calibrate: Calibrate = "none",
        seed: int = 0,
    ) -> None:
        super().__init__(backbone, labels, decide=decide, calibrate=calibrate, seed=seed)
        for name in self.fitted_buffers:
            self.register_buffer(name, torch.zeros(0, dtype=torch.float64))
        self.trials = trials_of(type(self), tune, self.candidates)
        own = [self.candidates] if isinstance(self.candidates, Mapping) else self.candidates
        self.tuned = tuple(dict.fromkeys(name for each in (*own, *self.trials) for name in each))
        self.is_fitted, self.chosen = False, -1

    def __init_subclass__(cls, **rest: Any) -> None:
        super().__init_subclass__(**rest)
        own = (name for name, kind in get_annotations(cls).items() if kind is Tensor)
        cls.fitted_buffers = (*cls.fitted_buffers, *own)

    # What a method writes

    def fit_once(self, examples: Any, target: NDArray[Any], known: NDArray[np.bool_]) -> None:
        """Fit with the settings as they are; arguments as of :meth:`fit`."""
        raise NotImplementedError

    def fold_scores(self, examples: Any, target: NDArray[Any], known: NDArray[np.bool_]) -> FoldScores:
        """A function of (rows to fit (n,), rows to score (n,)) that fits to the former with the settings as they are
        and returns scores of the latter for :meth:`cross_validation_loss`. Work that all folds share is done before."""
        raise NotImplementedError

    def cross_validation_loss(self, scores: Array, target: NDArray[Any], known: NDArray[np.bool_]) -> float:
        """The loss by which trials are compared; all arrays are (n, L)."""
        return log_loss(scores, target, known)

    def details(self) -> dict[str, Any]:
        """What ``metrics.json`` says beside the criteria, plain values: the settings ``tuned`` as they were used."""
        return {name: getattr(self, name) for name in self.tuned}

    def explain(self, examples: Any) -> dict[str, NDArray[Any]]:
        """What ``predictions.npz`` says of the test split's examples beside their scores, arrays by name."""
        raise NotImplementedError

    # What is shared

    def fit(self, examples: Any, target: NDArray[Any], known: NDArray[Any]) -> None:
        """Tune where that is asked for, and fit.

        Args:
            examples: features float32 (n, F), or n :class:`retdm.bags.Bags`.
            target: label sets (n, L) of 0 and 1.
            known: which of their cells are known (n, L).
        """
        known = known.astype(bool)
        if self.trials:
            self._tune(examples, target, known)
        self.fit_once(examples, target, known)
        self.is_fitted = True

    def set_fitted(self, **found: NDArray[Any] | Tensor) -> None:
        """Set some of the :attr:`fitted_buffers`."""
        for name, values in found.items():
            assert name in self.fitted_buffers, f"{name} would not be in a checkpoint"
            setattr(self, name, torch.as_tensor(values, device=self.device).contiguous())

    def check_fitted(self) -> None:
        """Raise ``UserError`` where nothing was fitted yet."""
        if not self.is_fitted:
            raise UserError(f"{type(self).__name__} is not fitted yet", "call fit, or load a checkpoint, before scores")

    def _tune(self, examples: Any, target: NDArray[Any], known: NDArray[np.bool_]) -> None:
        scores = self.fold_scores(examples, target, known)

        def loss(trial: int, fitted: Bools, held: Bools) -> float:
            self._use(trial)
            return self.cross_validation_loss(scores(fitted, held), target[held], known[held])

        self._use(lowest_loss(range(len(self.trials)), loss, len(target), self.seed))

    def _use(self, trial: int) -> None:
        self.chosen = trial
        for name, value in self.trials[trial].items():
            setattr(self, name, value)

    def get_extra_state(self) -> Tensor:
        return torch.tensor([self.is_fitted, self.chosen])

    def set_extra_state(self, state: Tensor) -> None:
        self.is_fitted, chosen = bool(state[0]), int(state[1])
        if chosen >= 0:  # scores may depend on the settings that were chosen
            self._use(chosen)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        for name in self.fitted_buffers:  # they take the shape of what comes
            if prefix + name in state_dict:
                setattr(self, name, torch.empty_like(state_dict[prefix + name], device=self.device))
        super()._load_from_state_dict(state_dict, prefix, *rest)
