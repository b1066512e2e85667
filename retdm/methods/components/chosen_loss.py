"""Losses that a setting chooses by name."""

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Mapping
from typing import Any, get_type_hints

import torch
from torch import Tensor

import retdm.losses
import retdm.losses.weak_labels
from retdm.batch import AnyBatch
from retdm.errors import UserError
from retdm.methods.components.labels import UnknownAtProbe
from retdm.registry import nearest

CELLS = ("logits", "target", "known")
# Arguments that the method gives: to losses that draw at random, to those that go by the training split's counts, by
# the passes over it that are done, or by the rows of the global batch.
GIVEN = ("index", "seed", "positives", "negatives", "rows", "pos_weight", "epoch", "total")
# Constants of a loss's file: it is linear in the targets; and how a probe reads unknown cells, where it does.
MIXED, UNKNOWN = "TAKES_MIXED_TARGETS", "UNKNOWN_AT_THE_PROBE"
ROOMS = (retdm.losses, retdm.losses.weak_labels)

Choice = str | Mapping[str, Any]


class ChosenLoss:
    """A loss of logits (B, L): ``focal`` is the function ``focal`` or ``focal_loss`` of ``retdm/losses/focal.py``.

    Args:
        choice: its name; or a mapping of ``name`` and of the function's own settings.

    Attributes:
        takes: those of ``GIVEN`` that the function takes.
        takes_mixed_targets: the loss is linear in the targets, so that one between 0 and 1 mixes the losses of both.
        unknown_at_the_probe: see :func:`retdm.methods.components.labels.cells_of_probe`.

    Raises:
        UserError: there is no such loss, or the mapping has no name.
    """

    def __init__(self, choice: Choice) -> None:
        settings = {"name": choice} if isinstance(choice, str) else dict(choice)
        if "name" not in settings:
            raise UserError("method.loss has no name", "such as 'method.loss={name: asymmetric, gamma_negative: 2}'")
        self.name: str = str(settings.pop("name"))
        self.settings = settings
        function = _function(self.name)
        if function is None:
            files = [each.name for room in ROOMS for each in pkgutil.iter_modules(room.__path__)]
            names = [name for name in files if _function(name)]
            raise UserError(f"method.loss={self.name} is no loss of logits", nearest(self.name, names))
        self.function = function
        module = inspect.getmodule(function)
        self.takes_mixed_targets: bool = getattr(module, MIXED, False)
        self.unknown_at_the_probe: UnknownAtProbe = getattr(module, UNKNOWN, "left_out")
        self.takes = [key for key in GIVEN if key in inspect.signature(function).parameters]

    def __call__(self, logits: Tensor, batch: AnyBatch, given: Mapping[str, Any]) -> Tensor:
        """The loss () of a batch's known cells; ``given`` has a value for each of ``GIVEN``."""
        own = {key: given[key] for key in self.takes}
        return self.function(logits, batch.target, batch.known, **own, **self.settings)

    def check(self, labels: int) -> None:
        """Try the loss on one image without a label; ``UserError`` where its settings do not suit so many labels."""
        cells = torch.zeros(1, labels)
        counts = torch.ones(labels, dtype=torch.int64)
        given = {"index": torch.zeros(1, dtype=torch.int64), "seed": 0, "positives": counts, "negatives": counts}
        given |= {"rows": 2, "pos_weight": None, "epoch": 0, "total": 1}
        try:
            self.function(cells, cells, None, **{key: given[key] for key in self.takes}, **self.settings)
        except ValueError as error:
            raise UserError(f"method.loss={self.name}: {error}") from error

    def kinds(self) -> dict[str, Any]:
        """Annotations of the settings that it takes, ``name`` among them."""
        hints = get_type_hints(self.function, include_extras=True)
        own = [key for key in inspect.signature(self.function).parameters if key not in (*CELLS, *GIVEN)]
        return {"name": str} | {key: hints.get(key, Any) for key in own}


def _function(name: str) -> Callable[..., Tensor] | None:
    """The loss of this name, where its file has a function of logits, target and known; else None."""
    if not name.isidentifier():
        return None
    for room in ROOMS:
        try:
            module = importlib.import_module(f"{room.__name__}.{name}")
        except ModuleNotFoundError:
            continue
        found = [each for each in (vars(module).get(name), vars(module).get(f"{name}_loss")) if callable(each)]
        if found and tuple(inspect.signature(found[0]).parameters)[:3] == CELLS:
            function: Callable[..., Tensor] = found[0]
            return function
    return None
