"""The text of ``--help``: what can be chosen, from the YAML files, and its settings, from the docstrings.

Nothing heavy is imported, so that help is there at once.
"""

import ast
import inspect
import shutil
import textwrap
from collections.abc import Iterator
from pathlib import Path

from retdm.registry import CONF, files_of, nearest

PACKAGE = Path(__file__).resolve().parents[1]
GROUPS = {
    "method": "methods",
    "data": "data sets",
    "backbone": "backbones",
    "optimizer": "optimizers",
    "schedule": "schedules",
    "trainer": "trainers",
    "logger": "loggers",
    "experiment": "experiments",
    "hydra/launcher": "launchers of the runs of a sweep",
}


def first_comment(file: Path) -> str:
    """The first comment line of a YAML file that is no directive of Hydra's."""
    for line in file.read_text().splitlines():
        if line.startswith("#") and "@package" not in line:
            return line.lstrip("# ").strip()
    return ""


def help_text(words: list[str] | None = None) -> str:
    """What can be chosen; where ``words`` choose something (``method=bce``), its settings instead.

    As wide as the terminal.
    """
    width = shutil.get_terminal_size((120, 24)).columns
    chosen = [word.partition("=") for word in words or ()]
    files = [CONF / group / f"{name}.yaml" for group, sign, name in chosen if sign and group in GROUPS]
    if files:
        return "\n\n".join(_settings(file) for file in files)
    lines = ["Train a method on data.", "", "  python train.py [experiment=<name>] [<group>=<name>] [<key>=<value>] …"]
    for group, title in GROUPS.items():
        lines += ["", f"{title} ({group}=…)"]
        for file in sorted((CONF / group).glob("*.yaml")):
            entry = f"  {file.stem:<22} {first_comment(file)}"
            lines += textwrap.wrap(entry, max(width, 60), subsequent_indent=" " * 25, replace_whitespace=False)
    lines += [
        "",
        "examples",
        "  python train.py                                        data drawn by the program, in minutes",
        "  python train.py experiment=scene_retdm backbone=mobilenet_v2 data.root=/data",
        "  python train.py -m experiment=scene_retdm method.weights.metric=0.1,0.3,1",
        "",
        "python train.py --help method=<name> (or data=<name>, …) shows its settings.",
        "python train.py --cfg job prints every setting with its value.",
    ]
    return "\n".join(lines)


def test_help() -> str:
    """What test.py takes."""
    return (
        "Evaluate a trained run's best checkpoint again:\n\n"
        "  python test.py run=<folder> [data.root=<folder>] [trainer.devices=<n>] [per_label=true] [user_classes=true]"
    )


def _settings(file: Path) -> str:
    """The settings of a choice with their comments, and the docstrings of its class and of the class's bases."""
    group = str(file.parent.relative_to(CONF))
    if not file.is_file():
        names = [each.stem for each in file.parent.glob("*.yaml")]
        return f"there is no {group} named {file.stem}\n{nearest(file.stem, names)}"
    content = "\n".join(_lines(group, file.stem))
    target = next((line.split()[1] for line in content.splitlines() if line.startswith("_target_:")), "")
    docs = [f"{name}: {doc}" for name, doc in _docstrings(target)]
    heading = f"{group}={file.stem}"
    return "\n\n".join([heading, textwrap.indent(content, "  "), *(textwrap.indent(doc, "  ") for doc in docs)])


def _lines(group: str, name: str) -> Iterator[str]:
    """The lines of a choice's YAML file, and of those that it includes the lines whose keys are new."""
    stated = {"defaults"}
    for file in files_of(group, name):
        keys: set[str] = set()
        shown = True
        for line in file.read_text().strip().splitlines():
            if line[:1] not in (" ", "-"):  # else it belongs to the key above it
                key = line.partition(":")[0]
                keys.add(key)
                shown = key not in stated
            if shown:
                yield line
        stated |= keys


def _docstrings(target: str) -> Iterator[tuple[str, str]]:
    """(name, docstring) of a class of this package, its file and its bases here, read from the source files."""
    module, _, name = target.rpartition(".")
    file = PACKAGE.parent.joinpath(*module.split(".")).with_suffix(".py")
    if not module.startswith(f"{PACKAGE.name}.") or not file.is_file():
        return
    tree = ast.parse(file.read_text())
    places = {
        alias.asname or alias.name: f"{node.module}.{alias.name}"
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            for owner, described in ((file.name, tree), (name, node)):
                if doc := ast.get_docstring(described):
                    yield owner, inspect.cleandoc(doc)
            for base in node.bases:
                if isinstance(base, ast.Name):
                    yield from _docstrings(places.get(base.id, f"{module}.{base.id}"))
