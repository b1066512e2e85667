"""What the program says of itself as pages, so that nothing is typed twice.

Directives: ``{command} predict``, the help of a command; ``{keys} data/shared/images``, a YAML file of settings as a
table; ``{choices} method``, every YAML file of ``conf/method`` with first comment, class and settings; ``{modules}
retdm.losses``, the docstrings of a package's modules.
"""

import pkgutil
import re
import textwrap
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.statemachine import StringList
from sphinx.util.nodes import nested_parse_with_titles

from retdm.commands.help import first_comment, help_of, settings_of
from retdm.registry import CONF

KEY = re.compile(r"(?P<key>[\w.]+): (?P<value>.*?)(?:\s+# (?P<comment>.*))?$")
COMMAND = re.compile(r"(?<!`)(?:retdm|python) [\w.-]+(?: --help| --cfg job| [\w.]+=\S+)+")
RANGE = re.compile(r"Annotated\[(\w+(?: \| \w+)*), ~?retdm\.ranges\.Range\([^)]*\)\]")
TARGET = re.compile(r"^_target_: (\S+)$", re.MULTILINE)


class _Generated(Directive):
    """A directive whose argument becomes Markdown."""

    required_arguments = 1

    def text(self, name: str) -> Iterator[str]:
        raise NotImplementedError

    def run(self) -> list[nodes.Node]:
        lines = [line for block in self.text(self.arguments[0]) for line in (*block.splitlines(), "")]
        parent = nodes.section()
        parent.document = self.state.document
        nested_parse_with_titles(self.state, StringList(lines, source=self.arguments[0]), parent)
        return list(parent.children)


class Command(_Generated):
    """The help of one command."""

    def text(self, name: str) -> Iterator[str]:
        for block in help_of(name).split("\n\n"):
            first, _, rest = block.partition("\n")
            if first.endswith("=…)"):
                continue  # the choices have pages of their own
            if first == "settings":
                yield _table(rest)
            elif first.startswith("  "):
                yield _code("text", block)
            elif rest.startswith("  "):
                yield from (f"{first.capitalize()}:", _code("text", rest))
            else:
                yield _plain(COMMAND.sub(r"`\g<0>`", block))


class Keys(_Generated):
    """The keys of a YAML file with values and comments."""

    def text(self, name: str) -> Iterator[str]:
        yield _table((CONF / f"{name}.yaml").read_text())


class Choices(_Generated):
    """Every choice of a group, with its settings."""

    def text(self, name: str) -> Iterator[str]:
        for file in sorted((CONF / name).glob("*.yaml")):
            settings = "\n".join(settings_of(name, file.stem))
            yield f"### {name}={file.stem}"
            yield _plain(first_comment(file))
            if (target := TARGET.search(settings)) and target[1].startswith("retdm."):
                yield f"{{class}}`{target[1]}`"
            yield _code("yaml", settings)


class Modules(_Generated):
    """The docstrings of a package's modules, one after the other."""

    def text(self, name: str) -> Iterator[str]:
        for module in pkgutil.iter_modules(import_module(name).__path__, f"{name}."):
            if not module.ispkg:
                yield f"## {module.name.removeprefix('retdm.')}"
                yield f"```{{eval-rst}}\n.. automodule:: {module.name}\n```"


def _code(language: str, block: str) -> str:
    indented = min((len(line) - len(line.lstrip()) for line in block.splitlines() if line.strip()), default=0)
    return "\n".join([f"```{language}", *(line[indented:] for line in block.splitlines()), "```"])


def _table(block: str) -> str:
    rows = [found for line in textwrap.dedent(block).splitlines() if (found := KEY.match(line))]
    cells = [(f"`{row['key']}`", f"`{row['value']}`", _plain(row["comment"] or "")) for row in rows]
    lines = [" | ".join(cell.replace("|", "\\|") for cell in row) for row in cells]
    return "\n".join(["| key | value | what it is |", "|---|---|---|", *(f"| {line} |" for line in lines)])


def _plain(text: str) -> str:
    """A comment as Markdown: its signs stand for themselves, what is between backticks is code."""
    pieces = text.split("`")
    return "`".join(piece if i % 2 else re.sub(r"([*_<\[\\$])", r"\\\1", piece) for i, piece in enumerate(pieces))


def without_ranges(app: Any, what: str, name: str, obj: Any, options: Any, signature: str, returned: str) -> Any:
    """Show ``Annotated[float, AtLeast(0)]`` as ``float``: what a number is between, its own line says."""
    return RANGE.sub(r"\1", signature or "") or None, returned


def sentences_of_properties(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Keep Napoleon from taking what stands before a colon in a property's first line for its type."""
    if what == "property":
        lines[:1] = [line.replace(": ", " – ", 1) for line in lines[:1]]


def without_aliases(app: Any, what: str, name: str, obj: Any, skip: bool, options: Any) -> bool | None:
    """Leave out the fields of a named tuple, of which Python says no more than their numbers."""
    return True if (getattr(obj, "__doc__", "") or "").startswith("Alias for field number") else None


def classify_cells(app: Any, doctree: nodes.document) -> None:
    """Tell the style sheet which cells of tables are numbers, never to be broken, and which are sentences."""
    for cell in doctree.findall(nodes.entry):
        code = sum(len(literal.astext()) for literal in cell.findall(nodes.literal))
        text = cell.astext()
        if len(re.findall(r"[^\W\d]", text)) < 3:
            cell["classes"].append("number")
        elif len(text) - code > 30:
            cell["classes"].append("sentence")


def resolve_reexport(app: Any, env: Any, node: Any, content: nodes.Node) -> nodes.Node | None:
    """Link ``retdm.losses.two_way_metric`` to the page of the module that defines it."""
    module, _, name = str(node.get("reftarget", "")).rpartition(".")
    if node.get("refdomain") != "py" or not module.startswith("retdm") or find_spec(module) is None:
        return None
    found = getattr(import_module(module), name, None)
    place = f"{getattr(found, '__module__', '')}.{getattr(found, '__qualname__', '')}"
    if place == node["reftarget"]:
        return None
    domain = env.get_domain("py")
    return domain.resolve_xref(env, node["refdoc"], app.builder, node["reftype"], place, node, content)


def setup(app: Any) -> dict[str, bool]:
    """Called by Sphinx."""
    for name, directive in (("command", Command), ("keys", Keys), ("choices", Choices), ("modules", Modules)):
        app.add_directive(name, directive)
    app.connect("autodoc-process-signature", without_ranges)
    app.connect("autodoc-process-docstring", sentences_of_properties, priority=400)  # before Napoleon
    app.connect("autodoc-skip-member", without_aliases)
    app.connect("doctree-read", classify_cells)
    app.connect("missing-reference", resolve_reexport)
    return {"parallel_read_safe": True}
