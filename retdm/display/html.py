"""Pages of HTML, each one file that needs neither network nor server."""

import base64
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

HERE = Path(__file__).parent


def rendered(template: Path, **values: object) -> bytes:
    """A page from a template, which begins with ``head.html`` and may include other files of its folder.

    Scripts run only where ``scripts`` is set, the sources that the browser accepts.

    Values are escaped, and each that the template names must be there. A character that is not UTF-8, as in a file's
    name, becomes a backslash sequence.
    """
    page = _environment(template.parent).get_template(template.name)
    return page.render(**values).encode(errors="backslashreplace")


@cache
def _environment(folder: Path) -> Environment:
    """It keeps the templates of a folder that it has compiled, which takes longer than to fill them in."""
    return Environment(
        loader=FileSystemLoader([folder, HERE]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def base64_text(content: bytes) -> str:
    """A picture as a page holds it."""
    return base64.b64encode(content).decode()
