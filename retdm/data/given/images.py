"""Images that a caller has, as files that ``data=csv`` reads: a folder of images and a table of their labels.

Files stay where they are, and the table names them. Where no one folder can be searched for them all they are copied;
images in memory are written as PNG, which loses nothing. Folders and tables are named by a hash of their content, so
that the same images and targets are the same data again.
"""

import csv
import hashlib
import io
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from retdm.data.given.targets import Targets
from retdm.data.images import Picture, Range, UnreadableImage, as_rgb
from retdm.data.source import stamps_of
from retdm.data.user.label_names import has_control
from retdm.display.screen import track
from retdm.errors import UserError
from retdm.files import write_text

FOLDER = "given"  # under the root of the run folders
SPLITS = ("train", "validation", "test")
RESERVED = ("split", "is_valid")  # columns that name splits
LIST = "give a list of paths, PIL images or arrays, one for each row of targets"


class Given(NamedTuple):
    """A data set of files.

    Attributes:
        root: the folder of the images.
        table: the CSV file of their labels; its lines are in the order in which the images were given.
        image_column: the column of the images.
        group_column: that of their groups; None where they are in none.
    """

    root: Path
    table: Path
    image_column: str
    group_column: str | None


def as_files(
    images: Iterable[Picture],
    targets: Targets,
    splits: Sequence[str] | None,
    outputs: Path,
    value_range: Range | None = None,
    groups: Sequence[Any] | None = None,
) -> Given:
    """The images and their targets as files.

    Args:
        images: n paths, or n images as :func:`retdm.data.images.as_rgb` takes them.
        targets: of the n images.
        splits: ``train``, ``validation`` or ``test`` for each of them; None lets a run choose at random.
        outputs: root of the run folders, under which files are written.
        value_range: as of :func:`retdm.data.images.as_rgb`, for arrays of more than 8 bits.
        groups: text or number of the group of each, whose images stay in one split; None or "" for an image alone.

    Raises:
        UserError: they are not n, one is none or is given twice, a file is not there or an image cannot be read.
    """
    if reserved := [name for name in targets.names if name.lower() in RESERVED]:
        raise UserError(
            f"a label cannot be called {reserved[0]!r}: in a table of labels this column names splits",
            "splits=[…] gives them; else choose another name",
        )
    place, n = outputs.absolute() / FOLDER, len(targets.cells)
    place.mkdir(parents=True, exist_ok=True)
    paths, pictures = _sorted_out(images)
    if paths is not None:
        _check_number(len(paths), n)
        files = _existing(paths)
        root, names = _in_place(files) or _copied(files, place)
    else:
        root, names = _written(pictures, n, place, value_range)
    image_column, group_column = (_free(name, targets.names) for name in ("image", "group"))
    columns = {image_column: names}
    if splits is not None:
        columns["split"] = _checked_splits(splits, n)
    if groups is not None:
        columns[group_column] = _checked_groups(groups, n)
    text = _table(columns, targets)
    table = place / f"labels-{hashlib.sha256(text.encode()).hexdigest()[:12]}.csv"
    if not table.exists():
        write_text(table, text)
    return Given(root, table, image_column, None if groups is None else group_column)


def _free(name: str, labels: Sequence[str]) -> str:
    """The name of a column that no label has."""
    while name in {label.lower() for label in labels}:
        name += "_"
    return name


def _sorted_out(images: Any) -> tuple[list[str] | None, Iterable[Picture]]:
    """(paths, ()) where all images are paths, else (None, images)."""
    if isinstance(images, Set):
        raise UserError(f"images is a {type(images).__name__}, which has no order", LIST)
    one = isinstance(images, str | os.PathLike | bytes | Image.Image | Mapping) or hasattr(images, "read")
    dimensions = getattr(images, "ndim", None)  # of arrays, tensors and columns of a table
    if one or not isinstance(images, Iterable) or dimensions in (0, 2):
        what = f"the one path {os.fspath(images)!r}" if isinstance(images, str | os.PathLike) else type(images).__name__
        raise UserError(f"images is {what}, not several images", LIST)
    if isinstance(images, Iterator):
        first = next(images, None)
        if not isinstance(first, str | os.PathLike):
            return None, () if first is None else chain([first], images)
        images = [first, *images]
    found = images if dimensions in (3, 4) else list(images)
    is_paths = len(found) > 0 and all(isinstance(each, str | os.PathLike) for each in found)
    return ([os.fspath(each) for each in found], ()) if is_paths else (None, found)


def _check_number(images: int, targets: int) -> None:
    if images != targets:
        raise UserError(
            f"there are {images:,} images and {targets:,} rows of targets", "give one row of targets an image, in order"
        )


def _existing(paths: Sequence[str]) -> list[str]:
    """Absolute paths of files, each once, links to one file among them."""
    found = [os.path.abspath(os.path.expanduser(path)) for path in paths]
    if absent := [path for path, file in zip(paths, found, strict=True) if not os.path.isfile(file)]:
        many = f"{len(absent):,} of {len(paths):,} images are no files; the first: " if len(absent) > 1 else ""
        raise UserError(f"images: {many}there is no file {absent[0]!r}", "leave it out, with its row of targets")
    first: dict[str, int] = {}
    for i, file in enumerate(map(os.path.realpath, found)):
        if first.setdefault(file, i) != i:
            raise UserError(
                f"images {first[file]} and {i} are one file, {paths[i]!r}",
                "give each file once, with all its labels in one row of targets",
            )
    return found


def _in_place(files: Sequence[str]) -> tuple[Path, list[str]] | None:
    """The files' common folder and their paths in it; None where that would be no folder of images, or where a link
    leads out of it or a table cannot hold a name."""
    root = os.path.commonpath([os.path.dirname(file) for file in files])
    if Path(root) in (Path("/"), Path.home(), *Path.home().parents):
        return None
    real = os.path.realpath(root)
    below = {folder: _is_below(folder, real) for folder in {os.path.dirname(file) for file in files}}
    names = [os.path.relpath(file, root) for file in files]
    for file, name in zip(files, names, strict=True):
        if not below[os.path.dirname(file)] or (os.path.islink(file) and not _is_below(file, real)):
            return None
        if name != name.strip() or "\\" in name or has_control(name):
            return None
    return Path(root), names


def _is_below(path: str, folder: str) -> bool:
    return Path(os.path.realpath(path)).is_relative_to(folder)


def _copied(files: Sequence[str], place: Path) -> tuple[Path, list[str]]:
    names = [f"{i:06d}-{_plain(Path(file).stem)}{_plain(Path(file).suffix)}" for i, file in enumerate(files)]
    digest = hashlib.sha256("\0".join(names).encode())
    digest.update(stamps_of(Path("/"), files).tobytes())

    def write(folder: Path) -> None:
        for file, name in zip(track(files, "copying images", len(files)), names, strict=True):
            shutil.copyfile(file, folder / name)

    return _complete(place, digest.hexdigest(), names, write), names


def _plain(text: str) -> str:
    return re.sub(r"[^\w.-]+", "_", text, flags=re.ASCII)[:80]


def _written(pictures: Iterable[Picture], n: int, place: Path, value_range: Range | None) -> tuple[Path, list[str]]:
    """The images as PNG; those that can be walked through twice are written only where they are not there."""
    names = [f"{i:06d}.png" for i in range(n)]
    if isinstance(pictures, Iterator):
        with tempfile.TemporaryDirectory(dir=place, prefix=".", ignore_cleanup_errors=True) as scratch:
            folder = Path(scratch, "images")
            folder.mkdir()
            digest = _walk(pictures, n, value_range, lambda i, image: _save(image, folder / names[i]))
            return _complete(place, digest, names, lambda new: _move(folder, new)), names
    digest = _walk(pictures, n, value_range, lambda i, image: None)

    def write(folder: Path) -> None:
        _walk(pictures, n, value_range, lambda i, image: _save(image, folder / names[i]))

    return _complete(place, digest, names, write), names


def _move(source: Path, folder: Path) -> None:
    for file in source.iterdir():
        file.rename(folder / file.name)


def _walk(
    pictures: Iterable[Picture], n: int, value_range: Range | None, visit: Callable[[int, Image.Image], None]
) -> str:
    """Visit each image as 8-bit RGB. Returns a hash of them all."""
    digest, count = hashlib.sha256(), 0
    for i, picture in enumerate(track(pictures, "reading images", n)):
        count += 1
        if i >= n:
            continue
        try:
            image = as_rgb(picture, value_range, f"image {i}")
        except UnreadableImage as error:
            hint = (
                'state the values that are black and white: **{"data.value_range": [0, 255]} if they span 8 bits'
                if error.kind == "unscaled"
                else "leave it out, with its row of targets"
            )
            raise UnreadableImage(error.message, hint, error.kind) from error
        digest.update(str(image.size).encode())
        digest.update(image.tobytes())
        visit(i, image)
    _check_number(count, n)
    return digest.hexdigest()


def _save(image: Image.Image, path: Path) -> None:
    image.save(path, "PNG", compress_level=1)


def _complete(place: Path, digest: str, names: Sequence[str], write: Callable[[Path], Any]) -> Path:
    """The folder of images that a hash names, written where it is not there or lacks some."""
    folder = place / f"images-{digest[:12]}"
    if all((folder / name).is_file() for name in names):
        return folder
    with tempfile.TemporaryDirectory(dir=place, prefix=".", ignore_cleanup_errors=True) as scratch:
        new = Path(scratch, "images")
        new.mkdir()
        write(new)
        shutil.rmtree(folder, ignore_errors=True)
        new.rename(folder)
    return folder


def _listed(given: Any, what: str, n: int, example: str) -> list[Any]:
    """``given`` as a list of one value an image."""
    if isinstance(given, str | Mapping | Set) or not hasattr(given, "__iter__"):
        raise UserError(f"{what} is of type {type(given).__name__}", f"a list: {what}=[{example}, …]")
    found = list(given)
    if len(found) != n:
        raise UserError(f"there are {len(found):,} {what} and {n:,} images", f"{what} has one an image, in order")
    return found


def _checked_splits(splits: Sequence[str], n: int) -> list[str]:
    found = _listed(splits, "splits", n, '"train", "test"')
    if strange := [(i, name) for i, name in enumerate(found) if name not in SPLITS]:
        i, name = strange[0]
        raise UserError(f"splits, image {i}: {name!r} is no split", f"one of {', '.join(SPLITS)}")
    return found


def _checked_groups(groups: Sequence[Any], n: int) -> list[str]:
    return ["" if each is None or each != each else str(each) for each in _listed(groups, "groups", n, '"a", "b"')]


def _table(columns: Mapping[str, Sequence[str]], targets: Targets) -> str:
    """The table as ``data=csv`` reads it; an unknown cell is empty."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow([*columns, *targets.names])
    for *first, row in zip(*columns.values(), targets.cells, strict=True):
        table.writerow([*first, *("" if np.isnan(cell) else str(int(cell)) for cell in row)])
    return text.getvalue()
