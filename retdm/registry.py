"""Names and what they stand for: the class of a ``_target_``, the YAML files of a choice, the nearest known name."""

import importlib
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from retdm.errors import UserError

PACKAGE = "retdm."
PACKAGE_FOLDER = Path(__file__).resolve().parent
# The YAML files are inside the installed package, and beside it in a checkout.
CONF = next(each for each in (PACKAGE_FOLDER / "conf", PACKAGE_FOLDER.parent / "conf") if each.is_dir())


def resolve(target: Any, *, trusted_only: bool = False) -> type:
    """Import the class that ``target`` names, such as ``retdm.backbones.vgg.VGG16``.

    Args:
        target: module and class, joined by dots.
        trusted_only: accept only classes that this package defines. For paths that come out of a run folder or a
            checkpoint, where any other name would let the file choose what is imported.

    Raises:
        UserError: the path is not of this package (``trusted_only``), or there is no such module or class.
    """
    refused = UserError(
        f"_target_ {target!r} is not a class of this package, and what a run folder names is not imported unasked",
        "user_classes=true accepts it: only for runs of your own",
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
        near = close_names(name, [key for key, value in vars(module).items() if isinstance(value, type)], most=1)
        hint = f"did you mean {near[0]}?" if near else "write the module and the class, joined by dots"
        raise UserError(f"_target_ {target!r}: there is no class {name!r} in {module_name}", hint)
    if trusted_only and not found.__module__.startswith(PACKAGE):  # a class that one of our modules only imports
        raise refused
    return found


def files_of(group: str, name: str) -> Iterator[Path]:
    """The YAML file of a choice, then those that its ``defaults`` include: a key that stands in two has the first's."""
    file = CONF / group / f"{name}.yaml"
    yield file
    for entry in (yaml.safe_load(file.read_text()) or {}).get("defaults", ()):
        included, _, _ = str(entry).partition("@")
        if included != "_self_" and isinstance(entry, str):
            yield from files_of(str(Path(group, included).parent), Path(included).name)


def nearest(name: str, options: Iterable[str]) -> str:
    """A hint in one line: the name probably meant, and the names there are."""
    options = sorted(option for option in options if not option.startswith("_"))
    close = close_names(name, options, most=1)
    listed = ", ".join(options[:12]) + (", …" if len(options) > 12 else "")
    return (f"did you mean {close[0]}? " if close else "") + (f"there are: {listed}" if options else "there are none")


def close_names(name: str, options: Iterable[str], most: int = 3, likeness: float = 0.6) -> list[str]:
    """The options most similar to a name, whatever their case, the most similar first.

    Args:
        likeness: of the least similar one returned, from 0 to 1 (equal).
    """
    written: dict[str, list[str]] = {}
    for option in options:
        written.setdefault(option.casefold(), []).append(option)
    found = get_close_matches(name.casefold(), written, n=most, cutoff=likeness)
    return [option for each in found for option in written[each]][:most]
