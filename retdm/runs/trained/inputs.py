"""Images and bags that a user gives to be predicted, read ahead."""

import glob
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from retdm.data.images import ENDINGS, Picture, is_tensor
from retdm.display.text import printable
from retdm.errors import UserError

THREADS = min(8, os.cpu_count() or 1)
T = TypeVar("T")
R = TypeVar("R")


def pictures(given: Picture | Iterable[Picture]) -> Iterator[Picture]:
    """The given images, one by one.

    Args:
        given: an image as :func:`retdm.data.images.as_rgb` takes it, or several: a folder or a glob (as
            :func:`find_images` has them), an array (n, H, W, C), a tensor (n, C, H, W), or anything that gives one
            after another, where a path may be a folder or a glob too.

    Raises:
        UserError: a path names no image.
    """
    for each in given if _is_several(given) else [given]:  # type: ignore[union-attr]
        if isinstance(each, str | os.PathLike):
            yield from find_images(os.fspath(each))
        else:
            yield each  # type: ignore[misc]  # where it is no image, its reader says so


def _is_several(given: Any) -> bool:
    if isinstance(given, np.ndarray) or is_tensor(given):
        return given.ndim == 4
    one = (str, os.PathLike, Image.Image, bytes, bytearray, memoryview, Mapping)
    return isinstance(given, Iterable) and not isinstance(given, one) and not hasattr(given, "read")


def bags(given: Any) -> list[Any]:
    """The given bags: one array (N, D), or several."""
    if (isinstance(given, np.ndarray) or is_tensor(given)) and given.ndim == 2:
        return [given]
    return list(given) if isinstance(given, Iterable) and not isinstance(given, str) else [given]


def find_images(asked: str | Iterable[str]) -> list[Path]:
    """The image files that a folder (with all folders in it), a file or a glob names, or several of these, each once.

    In the order asked for; those of one folder or glob sorted. Folders and globs give files that end like an image and
    are not hidden; a file named by itself is taken whatever its name.

    Raises:
        UserError: something names no file at all, or a folder may not be read.
    """
    found: dict[Path, None] = {}
    for item in [asked] if isinstance(asked, str) else asked:
        path = Path(item).expanduser()
        if path.is_file():
            files = [path]
        elif path.is_dir():
            files = _below(path)
        elif glob.has_magic(item):
            files = []
            for match in sorted(map(Path, glob.glob(str(path), recursive=True))):
                files += _below(match) if match.is_dir() else [match] if _is_image(match.name) else []
        else:
            raise UserError(
                f"images: there is no {printable(path)}", "name a folder, a file, a glob, or a list of these"
            )
        if not files:
            raise UserError(
                f"images: there is no image in {printable(path)}", f"looked for {' '.join(sorted(ENDINGS))}"
            )
        found |= dict.fromkeys(files)
    return list(found)


def _below(folder: Path) -> list[Path]:
    def refuse(error: OSError) -> None:
        raise UserError(f"images: {error.filename} cannot be read: {error.strerror}", "choose another folder")

    found = []
    for place, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(place, name) for name in names if _is_image(name)]
    return sorted(found)


def _is_image(name: str) -> bool:
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in ENDINGS


def read_ahead(items: Iterable[T], read: Callable[[T], R], ahead: int) -> Iterator[R]:
    """``map(read, items)`` by several threads, at most ``ahead`` items before the one that is yielded."""
    waiting: deque[Future[R]] = deque()
    pool = ThreadPoolExecutor(THREADS)
    try:
        for item in items:
            waiting.append(pool.submit(read, item))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:  # after an early stop only the reads under way are waited for
        pool.shutdown(cancel_futures=True)
