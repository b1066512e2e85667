"""What the constructors of classes declare: names of settings, and which values they take.

Of a class of this package it is read from the source too, before its file, which may need PyTorch, is imported.
"""

import ast
import collections.abc
import inspect
import pathlib
import typing
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple

from retdm import ranges
from retdm.registry import PACKAGE, PACKAGE_FOLDER

# What an annotation that is read from the source may name, beside the aliases of its own file.
_KNOWN = {
    **{name: getattr(typing, name) for name in ("Annotated", "Any", "ClassVar", "Literal")},
    **{name: getattr(collections.abc, name) for name in ("Iterable", "Mapping", "Sequence")},
    **{name: getattr(ranges, name) for name in ("Above", "AtLeast", "Between")},
    **{each.__name__: each for each in (bool, dict, float, int, list, str, tuple, pathlib.Path)},
}
_TYPES = (ast.Subscript, ast.BinOp)  # Literal[…], Annotated[…], … | None


class ClassInFile(NamedTuple):
    """A class as its file has it: the class, the whole file, and its name, ``module.Class``."""

    target: str
    node: ast.ClassDef
    file: ast.Module


def parameters_of(target: Any) -> dict[str, Any]:
    """Names and annotations of what a class takes, with those of its bases where it hands on the rest.

    Args:
        target: a class or function; or the name of a class of this package, ``module.Class``, which is not imported:
            annotations of anything but plain types, literals and ranges are ``Any`` then.
    """
    return dict(_read(target) if isinstance(target, str) else _inspected(target))


@cache
def _inspected(target: Any) -> dict[str, Any]:
    """What a class that is imported takes, and its bases where it hands on the rest."""
    found: dict[str, Any] = {}
    for each in inspect.getmro(target) if inspect.isclass(target) else (target,):
        if each is not target and "__init__" not in vars(each):
            continue
        call = each.__init__ if inspect.isclass(each) else each
        try:
            kinds = typing.get_type_hints(call, include_extras=True)
        except NameError:  # a name imported for type checkers alone; then its values are the class's own to check
            kinds = {}
        parameters = inspect.signature(each).parameters.values()
        named = [one.name for one in parameters if one.kind not in (one.VAR_KEYWORD, one.VAR_POSITIONAL)]
        found = {name: kinds.get(name, Any) for name in named} | found
        if all(one.kind != one.VAR_KEYWORD for one in parameters):
            break
    return found


def is_ours(target: Any) -> bool:
    """True for the name of a class of this package."""
    return isinstance(target, str) and any(lineage(target))


def lineage(target: str) -> Iterator[ClassInFile]:
    """A class of this package, then its bases that are of this package too; nothing where it is of another."""
    module, _, name = target.rpartition(".")
    if (file := _parsed(module)) is None:
        return
    for node in file.body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            yield ClassInFile(target, node, file)
            places = _imported(file)
            for base in node.bases:
                if isinstance(base, ast.Name):
                    yield from lineage(places.get(base.id, f"{module}.{base.id}"))


@cache
def _read(target: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for each in lineage(target):
        names = _names(each.file)
        if any(_is_dataclass(one) for one in each.node.decorator_list):
            fields = {
                one.target.id: _evaluated(one.annotation, names)
                for one in each.node.body
                if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name)
            }
            found = {
                name: kind for name, kind in fields.items() if typing.get_origin(kind) is not typing.ClassVar
            } | found
        for call in each.node.body:
            if isinstance(call, ast.FunctionDef) and call.name == "__init__":
                given = [*call.args.args, *call.args.kwonlyargs][1:]
                found = {one.arg: _evaluated(one.annotation, names) for one in given} | found
                if call.args.kwarg is None:
                    return found
    return found


@cache
def _parsed(module: str) -> ast.Module | None:
    """The file of a module of this package."""
    file = PACKAGE_FOLDER.parent.joinpath(*module.split(".")).with_suffix(".py")
    return ast.parse(file.read_text()) if module.startswith(PACKAGE) and file.is_file() else None


def _imported(file: ast.Module) -> dict[str, str]:
    """Name in a file -> ``module.Name`` that it imports under this name."""
    return {
        alias.asname or alias.name: f"{node.module}.{alias.name}"
        for node in file.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def _names(file: ast.Module) -> dict[str, Any]:
    """What annotations of a file can name: types that every file knows, and aliases of this file and of others."""
    names = dict(_KNOWN)
    for name, place in _imported(file).items():
        module, _, own = place.rpartition(".")
        aliases = _aliases(other, names) if name not in names and (other := _parsed(module)) else {}
        if own in aliases:
            names[name] = aliases[own]
    return names | _aliases(file, names)


def _aliases(file: ast.Module, names: Mapping[str, Any]) -> dict[str, Any]:
    return {
        node.targets[0].id: _evaluated(node.value, names)
        for node in file.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and isinstance(node.value, _TYPES)
    }


def _evaluated(node: ast.expr | None, names: Mapping[str, Any]) -> Any:
    """The type that an annotation stands for, of ``names`` alone; ``Any`` where it names something else."""
    if node is None or any(isinstance(each, ast.Name) and each.id not in names for each in ast.walk(node)):
        return Any
    return eval(compile(ast.Expression(node), "<annotation>", "eval"), {"__builtins__": {}}, dict(names))


def _is_dataclass(node: ast.expr) -> bool:
    call = node.func if isinstance(node, ast.Call) else node
    return isinstance(call, ast.Name) and call.id == "dataclass"
