"""RETDM: end-to-end training for multi-label image classification."""

from typing import TYPE_CHECKING, Any

from retdm.errors import UserError

if TYPE_CHECKING:
    from retdm.runs.trained.model import load

__all__ = ["UserError", "__version__", "load"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # `retdm.load` brings Lightning; `retdm.losses` alone should not wait for it.
    if name == "load":
        from retdm.runs.trained.model import load

        return load
    raise AttributeError(f"module 'retdm' has no attribute {name!r}")
