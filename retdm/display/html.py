"""Pages of HTML, each one file that needs neither network nor server."""

import base64
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined


def rendered(template: Path, **values: object) -> bytes:
    """A page from a template, which may include other files of its folder.

    Values are escaped, and each that the template names must be there. A character that is not UTF-8, as in a file's
    name, becomes a backslash sequence.
    """
    environment = Environment(
        loader=FileSystemLoader(template.parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template.name).render(**values).encode(errors="backslashreplace")


def base64_text(content: bytes) -> str:
    """A picture as a page holds it."""
    return base64.b64encode(content).decode()
