"""The rules of a stage: how its learning rate moves, when it ends and which of its weights are tested."""

import math
from typing import Any, ClassVar, Literal

from retdm.methods.stage import Stage


class StageRule:
    """Rate and end of one stage.

    Its state changes at the end of an epoch alone; the rates are a function of state, stage and step, so a resumed run
    has those of a run that was never stopped.

    Attributes:
        keeps: the weights that are tested: of the epoch of the highest validation mAP (``best``), or of the end
            (``last``).
        needs_validation: it ends the stage or chooses its weights by a validation split that is not trained on.
        warmup: share of the stage's steps over which the rate climbs, where the stage does not set it.
    """

    keeps: ClassVar[Literal["best", "last"]]
    needs_validation: ClassVar[bool]
    warmup: ClassVar[float] = 0.0

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.epochs = 0  # finished

    def lr(self, step: int, steps: int) -> float:
        """The rate of step 0 … ``steps`` - 1, where ``steps`` are those of ``max_epochs``."""
        raise NotImplementedError

    def end_epoch(self, validation_loss: float) -> None:
        """Count an epoch, and adapt to its validation loss."""
        self.epochs += 1

    @property
    def is_over(self) -> bool:
        """The stage has ended."""
        return self.epochs >= self.stage.max_epochs

    @property
    def in_last_epoch(self) -> bool:
        """The epoch under way is the last that the stage may have."""
        return self.epochs + 1 >= self.stage.max_epochs

    def state_dict(self) -> dict[str, Any]:
        """Plain values that bring back where the rule stands."""
        return {"epochs": self.epochs}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.epochs = state["epochs"]

    def _warmup_steps(self, steps: int) -> float:
        return (self.warmup if self.stage.warmup is None else self.stage.warmup) * steps

    def _warmed(self, rate: float, step: int, steps: int) -> float:
        """``rate``, or the part of it that a linear warm-up has reached."""
        up = self._warmup_steps(steps)
        return rate * (step + 1) / up if step + 1 < up else rate


class Constant(StageRule):
    """One rate for ``max_epochs``."""

    keeps = "last"
    needs_validation = False

    def lr(self, step: int, steps: int) -> float:
        return self._warmed(self.stage.lr, step, steps)


class OneCycle(StageRule):
    """Up and down once over ``max_epochs`` (Smith 2018).

    The end of the cycle is tested, not the highest of several validation mAPs: the rule is made to end well, and the
    highest mAP of a small validation split is mostly noise, which picked weights from the middle of the cycle that
    other criteria of the same split called worse.
    """

    keeps = "last"
    needs_validation = False
    warmup = 0.3

    def lr(self, step: int, steps: int) -> float:
        """From a 25th of the stage's rate up over the warm-up, then down to a 250,000th, both along a cosine, with the
        defaults of PyTorch's ``OneCycleLR``."""
        peak = self.stage.lr
        up = max(self._warmup_steps(steps) - 1, 1e-9)
        down = max(steps - 1 - up, 1e-9)
        if step <= up:
            return _along_cosine(peak / 25, peak, step / up)
        return _along_cosine(peak, peak / 25e4, min((step - up) / down, 1.0))


class Plateau(StageRule):
    """A tenth of the rate when the validation loss has not fallen for ``patience`` epochs, and the end when it has not
    fallen for as many again (Li et al. 2020, section III: 0.1 down to 0.01)."""

    keeps = "best"
    needs_validation = True

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        self.rate = stage.lr
        self.lowest = float("inf")  # validation loss of the stage
        self.waited = 0  # epochs since then
        self.given_up = False

    def lr(self, step: int, steps: int) -> float:
        return self._warmed(self.rate, step, steps)

    def end_epoch(self, validation_loss: float) -> None:
        super().end_epoch(validation_loss)
        if validation_loss < self.lowest:
            self.lowest, self.waited = validation_loss, 0
            return
        self.waited += 1
        if self.waited < self.stage.patience:
            return
        if self.rate < self.stage.lr:  # a tenth already: RETDM's floor
            self.given_up = True
        else:
            self.rate, self.waited = self.stage.lr / 10, 0

    @property
    def is_over(self) -> bool:
        return self.given_up or super().is_over

    def state_dict(self) -> dict[str, Any]:
        own = {"rate": self.rate, "lowest": self.lowest, "waited": self.waited, "given_up": self.given_up}
        return super().state_dict() | own

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.rate, self.lowest = state["rate"], state["lowest"]
        self.waited, self.given_up = state["waited"], state["given_up"]


def _along_cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) / 2 * (1 + math.cos(math.pi * share))


RULES: dict[str, type[StageRule]] = {"plateau": Plateau, "one_cycle": OneCycle, "constant": Constant}


def rule_of(stage: Stage) -> StageRule:
    """The rule that a stage names, at its start."""
    return RULES[stage.rule](stage)
