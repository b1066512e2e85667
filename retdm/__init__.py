"""RETDM: end-to-end training for multi-label image classification."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from retdm.errors import UserError

if TYPE_CHECKING:
    from retdm.api.embed import embed
    from retdm.api.evaluate import evaluate
    from retdm.api.run import Run
    from retdm.api.train import train
    from retdm.runs.trained.model import load
    from retdm.training.criteria_metric import MultilabelCriteria, MultilabelCriterion

__all__ = [
    "MultilabelCriteria",
    "MultilabelCriterion",
    "Run",
    "UserError",
    "__version__",
    "embed",
    "evaluate",
    "load",
    "train",
]
__version__ = "0.1.0"

# Imported when they are asked for: they bring PyTorch and Lightning, for which `retdm.losses` alone should not wait.
_PLACES = {
    "Run": "retdm.api.run",
    "embed": "retdm.api.embed",
    "evaluate": "retdm.api.evaluate",
    "load": "retdm.runs.trained.model",
    "MultilabelCriteria": "retdm.training.criteria_metric",
    "MultilabelCriterion": "retdm.training.criteria_metric",
    "train": "retdm.api.train",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'retdm' has no attribute {name!r}")
    return getattr(import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
