"""Image files that a command takes, the device it computes on and the folder it writes to."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor

from retdm.data.images import UnreadableImage, read_image
from retdm.display.screen import track
from retdm.display.text import printable
from retdm.errors import UserError
from retdm.runs.trained.inputs import read_ahead
from retdm.runs.trained.model import Model


class Unread(NamedTuple):
    """A file that cannot be read as an image, and why."""

    file: Path
    reason: str


class Read(NamedTuple):
    """An image.

    Attributes:
        file: its path.
        view: as the network takes it, see :meth:`retdm.runs.trained.model.Model.view`.
        thumbnail: JPEG; empty where none is wanted.
    """

    file: Path
    view: Tensor
    thumbnail: bytes


def batches_of(
    model: Model,
    files: Sequence[Path],
    batch_size: int,
    title: str,
    unread: list[Unread],
    thumbnail: Callable[[Image.Image], bytes] = lambda image: b"",
) -> Iterator[list[Read]]:
    """The images in files, read ahead under a progress bar, in batches.

    Args:
        model: that takes them.
        files: at least one.
        batch_size: of all batches but the last.
        title: of the bar.
        unread: gets the files that cannot be read.
        thumbnail: makes one of each image.

    Raises:
        UserError: none of the files can be read.
    """

    def read(file: Path) -> Read | Unread:
        try:
            image = read_image(file, model.value_range)
        except UnreadableImage as error:
            return Unread(file, error.message.removeprefix(f"{file} "))
        return Read(file, model.view(image), thumbnail(image))

    def readable() -> Iterator[Read]:
        for each in track(read_ahead(files, read, 2 * batch_size), title, len(files)):
            if isinstance(each, Read):
                yield each
            else:
                unread.append(each)

    rows = readable()
    while batch := list(islice(rows, batch_size)):
        yield batch
    if len(unread) == len(files):
        raise UserError(
            f"none of the {len(files):,} files can be read as an image; "
            f"first: {printable(unread[0].file)} {printable(unread[0].reason)}",
            "give image files, such as JPEG or PNG",
        )


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


def device_named(asked: str) -> str:
    """``cpu`` or ``cuda``; ``auto`` is a GPU where there is one.

    Raises:
        UserError: it is another name, or a GPU that is not there.
    """
    if asked not in ("auto", "cpu", "cuda"):
        raise UserError(f"device={asked} is not known", "it is one of: auto, cpu, cuda")
    there = torch.cuda.is_available()
    if asked == "cuda" and not there:
        raise UserError("device=cuda: there is no GPU that PyTorch can use", "device=cpu")
    return asked if asked != "auto" else "cuda" if there else "cpu"


def writable(out: Path) -> Path:
    """The folder, made before any work is done.

    Raises:
        UserError: it cannot be made, or written to.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        reason = "" if os.access(out, os.W_OK) else "it may not be written"
    except OSError as error:
        reason = error.strerror or str(error)
    if reason:
        raise UserError(f"cannot write to {printable(out)}: {reason}", "choose another place: out=<folder>")
    return out


def takes_images(model: Model) -> None:
    """Check that a run was trained on images.

    Raises:
        UserError: it was trained on bags.
    """
    if model.dim is not None:
        raise UserError(
            f"{printable(model.run.path)} was trained on bags of instances, not on images",
            'retdm.load("<run>").predict([array of (instances, features), …]) gives its scores',
        )
