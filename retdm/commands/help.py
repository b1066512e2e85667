"""The text of every ``--help``: docstrings of the commands' files, with settings and choices out of the YAML files.

Nothing heavy is imported, so that help is there at once.
"""

import ast
import inspect
import shutil
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from retdm.errors import UserError
from retdm.registry import CONF, files_of, nearest
from retdm.settings.declared import lineage

GROUPS = {
    "method": "methods",
    "data": "data sets",
    "augment": "augmentations of training images",
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


def usage(commands: Iterable[str]) -> str:
    """Every command in a line."""
    lines = [f"  {command:<9} {_docstring(command).splitlines()[0]}" for command in commands]
    return "\n".join(["retdm <command> …", "", *lines, "", "retdm <command> --help says more."])


def help_of(command: str, words: Sequence[str] = ()) -> str:
    """Purpose, settings and examples of a command; of ``train`` the choices, as wide as the terminal.

    Args:
        command: a file of retdm/commands, whose docstring has the words.
        words: beside ``--help``; where they choose something (``method=bce``), its settings are shown instead.

    Raises:
        UserError: there is no such choice.
    """
    chosen = [word.partition("=") for word in words]
    files = [CONF / group / f"{name}.yaml" for group, sign, name in chosen if sign and group in GROUPS]
    if command == "train" and files:
        return "\n\n".join(_settings(file) for file in files)
    title, call, *more = _docstring(command).split("\n\n")
    return "\n\n".join([title, call, *(_choices() if command == "train" else _keys(command)), *more])


def _docstring(command: str) -> str:
    tree = ast.parse(Path(__file__).with_name(f"{command}.py").read_text())
    return (ast.get_docstring(tree, clean=False) or "").strip()


def _choices() -> Iterator[str]:
    """A block for each group: names and first comments of its files."""
    width = shutil.get_terminal_size((120, 24)).columns
    for group, title in GROUPS.items():
        lines = [f"{title} ({group}=…)"]
        for file in sorted((CONF / group).glob("*.yaml")):
            entry = f"  {file.stem:<22} {first_comment(file)}"
            lines += textwrap.wrap(entry, max(width, 60), subsequent_indent=" " * 25, replace_whitespace=False)
        yield "\n".join(lines)


def _keys(command: str) -> Iterator[str]:
    """The keys of a command's YAML file, as they stand there with values and comments."""
    file = CONF / f"{command}.yaml"
    if file.is_file():
        blocks = file.read_text().split("\n\n")
        yield "\n".join(["settings", textwrap.indent(blocks[1].rstrip(), "  ")])


def _settings(file: Path) -> str:
    """The settings of a choice with their comments, and the docstrings of its class and of the class's bases."""
    group = str(file.parent.relative_to(CONF))
    if not file.is_file():
        names = [each.stem for each in file.parent.glob("*.yaml")]
        raise UserError(f"there is no {group} named {file.stem}", nearest(file.stem, names))
    content = "\n".join(settings_of(group, file.stem))
    target = next((line.split()[1] for line in content.splitlines() if line.startswith("_target_:")), "")
    docs = [f"{name}: {doc}" for name, doc in _docstrings(target)]
    heading = f"{group}={file.stem}"
    return "\n\n".join([heading, textwrap.indent(content, "  "), *(textwrap.indent(doc, "  ") for doc in docs)])


def settings_of(group: str, name: str) -> Iterator[str]:
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
    for each in lineage(target):
        module, _, name = each.target.rpartition(".")
        for owner, described in ((f"{module.rpartition('.')[2]}.py", each.file), (name, each.node)):
            if doc := ast.get_docstring(described):
                yield owner, inspect.cleandoc(doc)
