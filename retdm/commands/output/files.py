"""The files of a command: those it writes, their folder, and what it says of images that it could not read."""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from retdm.display.text import printable
from retdm.errors import UserError
from retdm.files import all_or_none
from retdm.runs.folder.paths import shown
from retdm.runs.trained.image_files import Unread


def print_unread(unread: Sequence[Unread], files: int, listed: str) -> None:
    """Print how many of all files could not be read, and the first ten; ``listed`` names the file that has them all."""
    if not unread:
        return
    print(f"{len(unread):,} of {files:,} files could not be read and are left out:", file=sys.stderr)
    for file, reason in unread[:10]:
        print(f"  {printable(file)} {printable(reason)}", file=sys.stderr)
    if len(unread) > 10:
        print(f"  … and {len(unread) - 10:,} more, in {listed}", file=sys.stderr)
    if any("range is not stated" in reason for _, reason in unread):
        print("value_range=[lowest,highest] states which values are black and white", file=sys.stderr)
    sys.stderr.flush()


def writable(out: Path, named: str = "folder") -> Path:
    """The folder, made before any work is done; ``named`` is what the user names by ``out``.

    Raises:
        UserError: it cannot be made, or written to.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        reason = "" if os.access(out, os.W_OK) else "it may not be written"
    except OSError as error:
        reason = error.strerror or str(error)
    if reason:
        raise UserError(f"cannot write to {printable(out)}: {reason}", f"choose another place: out=<{named}>")
    return out


def write_all(contents: Mapping[Path, bytes]) -> None:
    """Write all of some files, or none, and print where they are."""
    with all_or_none(list(contents)) as parts:
        for part, content in zip(parts, contents.values(), strict=True):
            part.write_bytes(content)
    for path in contents:
        print(f"wrote {printable(Path(shown(path)))}", flush=True)
