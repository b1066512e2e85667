"""From a dotted path in a configuration (`_target_`) to the class it names."""

import importlib
from difflib import get_close_matches
from typing import Any

from retdm.errors import UserError

PACKAGE = "retdm."


def resolve(target: Any, *, trusted_only: bool = False) -> type:
    """The class that ``target`` names, such as ``retdm.backbones.vgg.VGG16``.

    Args:
        target: module and class, joined by dots.
        trusted_only: accept only classes that this package defines. For paths that come out of a run folder or a
            checkpoint, where any other name would let the file choose what is imported.

    Raises:
        UserError: the path is not of this package (``trusted_only``), or there is no such module or class.
    """
    refused = UserError(
        f"_target_ {target!r} is not a class of this package, and what a run folder names is not imported unasked",
        "own_classes=true accepts it: only for runs of your own",
    )
    if not isinstance(target, str):
        raise UserError(f"_target_ {target!r} names no class", "write the module and the class, joined by dots")
    if trusted_only and not target.startswith(PACKAGE):
        raise refused
    module_name, _, name = target.rpartition(".")
    try:
        module = importlib.import_module(module_name)
    except (ImportError, ValueError) as error:  # ValueError: no dot, so an empty module name
        raise UserError(
            f"_target_ {target!r} cannot be imported: {error}", "write the module and the class, joined by dots"
        ) from error
    found = getattr(module, name, None)
    if not isinstance(found, type):
        near = get_close_matches(name, [key for key, value in vars(module).items() if isinstance(value, type)], n=1)
        hint = f"did you mean {near[0]}?" if near else "write the module and the class, joined by dots"
        raise UserError(f"_target_ {target!r}: there is no class {name!r} in {module_name}", hint)
    if trusted_only and not found.__module__.startswith(PACKAGE):  # a class that one of our modules only imports
        raise refused
    return found
