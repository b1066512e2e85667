"""Pages of HTML, each one file that needs neither network nor server."""

import base64
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

HERE = Path(__file__).parent


def rendered(template: Path, **values: object) -> bytes:
    """A page from a template, which begins with ``head.html`` and may include other files of its folder.

    Scripts run only where ``scripts`` is set, the sources that the browser accepts.

    Values are escaped, and each that the template names must be there. A character that is not UTF-8, as in a file's
    name, becomes a backslash sequence.
    """
    environment = Environment(
        loader=FileSystemLoader([template.parent, HERE]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template.name).render(**values).encode(errors="backslashreplace")


def base64_text(content: bytes) -> str:
    """A picture as a page holds it."""
    return base64.b64encode(content).decode()
