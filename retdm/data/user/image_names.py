"""From the names in a label file to the image files of a folder."""

import logging
import os
import posixpath
import unicodedata
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath, PureWindowsPath
from urllib.parse import unquote

from retdm.data.images import ENDINGS
from retdm.display.text import printable
from retdm.errors import UserError
from retdm.registry import close_names

LONGEST, LONGEST_PATH = 255, 3500  # bytes of a file's or folder's own name, and of all, with room for data.root

log = logging.getLogger(__name__)

COMPARED = 5_000  # files among which a misspelt name is looked for


class ImageNames:
    """The images under a folder, found by the names that a label file gives them.

    A name is relative to the folder, or absolute and inside it. Where there is no such file, the only one that it can
    mean is taken: in another case, another Unicode form, with ``%20`` for a space, without its ending; and where that
    finds no name at all, without the folders that all names begin with, or in the one folder that has them. Names read
    so are logged.

    Attributes:
        files: images, as paths relative to the folder, with slashes; hidden ones are left out.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files: set[str] = set()
        for place, folders, files in os.walk(folder):
            folders[:] = [name for name in folders if not name.startswith(".")]
            here = "" if (below := os.path.relpath(place, folder)) == "." else f"{Path(below).as_posix()}/"
            self.files.update(here + name for name in files if name[0] != "." and _ending(name))
        self._bases = {posixpath.normpath(Path(way(folder)).as_posix()) for way in (os.path.abspath, os.path.realpath)}
        self._inside: dict[str, bool] = {}

    def resolve(self, names: Sequence[str], where: Callable[[int], str], file: Path) -> list[str]:
        """The files that ``names`` mean, as paths relative to the folder; absent ones as they are written.

        Args:
            names: as the label ``file`` writes them; backslashes are read as slashes.
            where: the place of the i-th name in the file, for a message.
            file: for messages.

        Raises:
            UserError: a name cannot be a file's, leads out of the folder, also through a link, or no file is there.
        """
        plain = []
        for i, name in enumerate(names):
            if not _can_be(name):
                raise UserError(
                    f"{where(i)}: {name!r} is no file name", "write the image's path, relative to data.root"
                )
            plain.append(self._relative(name))
        found = [self._meant(name) for name in plain]
        if not any(found):
            plain, found = self._elsewhere(plain, file)
        for i, name in enumerate(plain):
            if found[i] is None and _leads_out(name):
                raise UserError(f"{where(i)}: {names[i]!r} leads out of {self.folder}", self._instead(name))
            if not self._stays(found[i] or name):
                raise UserError(
                    f"{where(i)}: {names[i]!r} is a link that leads out of {self.folder}",
                    "copy the image into the folder, or set data.root to a folder that holds both",
                )
        absent = [i for i, each in enumerate(found) if each is None]
        if len(absent) == len(names):
            raise UserError(
                f"{where(0)}: there is no {names[0]!r} in {self.folder}, nor any other image that {file.name} names",
                self._instead(plain[0]),
            )
        if absent:
            count, first = f"{len(absent):,} of {len(names):,}", absent[0]
            log.warning(
                "%s: %s names are of no file in %s; the first: %r in %s; %s",
                *(file.name, count, self.folder, names[first], where(first), self._instead(plain[first])),
            )
        otherwise = [i for i, each in enumerate(found) if each not in (None, plain[i])]
        if otherwise:
            first = otherwise[0]
            read_as = f"{plain[first]!r} is read as {found[first]!r}"
            log.warning("%s: %s names are not quite those of their files: %s", file.name, len(otherwise), read_as)
        return [each or name for each, name in zip(found, plain, strict=True)]

    def warn_of_unnamed(self, ids: Sequence[str], file: Path) -> None:
        """Log how many images the label ``file`` does not name."""
        if unnamed := self.files - set(ids):
            count, first = f"{len(unnamed):,}", printable(min(unnamed))
            log.warning(
                "%s does not name %s images in %s (the first: %s): left out", file.name, count, self.folder, first
            )

    def _relative(self, name: str) -> str:
        """The name with slashes, without ``./``, ``//`` and detours through ``..``; absolute if not in the folder."""
        path = PureWindowsPath(name)  # knows both slashes and drive letters
        plain = posixpath.normpath(("/" if path.drive and path.root else "") + path.as_posix())
        if _leads_out(plain):
            for base in self._bases:
                whole = posixpath.normpath(posixpath.join(base, plain))
                if whole.startswith(f"{base}/"):
                    return whole[len(base) + 1 :]
        return plain

    def _meant(self, name: str) -> str | None:
        """The file of this name, or the only one that it can mean."""
        if name in self.files:
            return name
        if _leads_out(name):
            return None
        if os.path.lexists(self.folder / name):
            return name
        alike = self._by_key.get(_key(name), []) or ([] if _ending(name) else self._by_stem.get(_key(name), []))
        return alike[0] if len(alike) == 1 else None

    def _elsewhere(self, names: list[str], file: Path) -> tuple[list[str], list[str | None]]:
        """(names, files), of names none of which is there, with their common folders left out or one put before."""
        shared = PurePosixPath(os.path.commonpath(["/" + posixpath.dirname(name).lstrip("/") for name in names])).parts[
            1:
        ]
        ways: list[tuple[str, list[str]]] = []
        if not any(name.startswith("..") for name in names):
            for count in range(1, len(shared) + 1):
                shorter = [name.lstrip("/").split("/", count)[count] for name in names]
                ways.append((f"the folders {'/'.join(shared[:count])!r} before each name are left out", shorter))
        tail = f"/{names[0]}"
        for above in sorted(each[: -len(tail)] for each in self.files if each.endswith(tail)):
            ways.append((f"the images are in the folder {above!r}", [f"{above}/{name}" for name in names]))
        for what, changed in ways:
            found = [self._meant(name) for name in changed]
            if 2 * sum(each is not None for each in found) > len(found):
                log.warning("%s: no name is of a file in %s as it is written; %s", file.name, self.folder, what)
                return changed, found
        return names, [None] * len(names)

    def _instead(self, name: str) -> str:
        """A hint for a name that is not there."""
        base = posixpath.basename(name)
        for above in self.folder.absolute().parents[:3]:
            if not name.startswith("/") and os.path.lexists(above / name):
                return f"there is one in {above}: data.root={above}, and data.labels with its whole path"
        same = sorted(each for each in self.files if _key(posixpath.basename(each)) == _key(base))
        same = same or sorted(self._by_stem.get(_key(posixpath.splitext(name)[0]), ()))
        same = same or close_names(name, sorted(self.files)[:COMPARED], 1, 0.75)
        if not same:
            return "write the image's path, relative to data.root"
        return f"write the image's path, relative to data.root; there is {' and '.join(map(repr, same[:2]))}"

    @cached_property
    def _by_key(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for file in sorted(self.files):
            found.setdefault(_key(file), []).append(file)
        return found

    @cached_property
    def _by_stem(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for file in sorted(self.files):
            found.setdefault(_key(posixpath.splitext(file)[0]), []).append(file)
        return found

    def _stays(self, name: str) -> bool:
        """True where the file is in the folder when all links are followed."""
        above = posixpath.dirname(name)
        if above not in self._inside:
            self._inside[above] = self._below(self.folder / above)
        return self._inside[above] and (not (self.folder / name).is_symlink() or self._below(self.folder / name))

    def _below(self, path: Path) -> bool:
        return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(self.folder))


def _can_be(name: str) -> bool:
    """True where a file can have this name: text no longer than a file system takes, without half a character."""
    path = PureWindowsPath(name)
    try:
        longest = max((len(part.encode()) for part in path.parts), default=0)
        fits = longest <= LONGEST and len(name.encode()) <= LONGEST_PATH
    except UnicodeEncodeError:
        return False
    return fits and path.as_posix() != "." and "\0" not in name


def _leads_out(name: str) -> bool:
    return name == ".." or name.startswith(("/", "../"))


def _ending(name: str) -> bool:
    return posixpath.splitext(name)[1].lower() in ENDINGS


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", unquote(name)).casefold()
