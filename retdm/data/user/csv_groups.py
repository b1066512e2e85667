"""Groups of images in a label table: what must not come into two splits."""

import logging
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from retdm.data.user.csv_table import Table
from retdm.errors import UserError

log = logging.getLogger(__name__)


def groups_of(table: Table, column: int) -> NDArray[np.str_]:
    """What the group of each line is called, empty where it has none.

    Raises:
        UserError: no line has one.
    """
    found = np.array(list(table.cells(column)))
    if not found.astype(bool).any():
        raise UserError(
            f"{table.file}: column {table.columns[column]!r} is empty, and data.group names it",
            "write what images belong to in it, or leave data.group out",
        )
    return found


def numbered(
    table: Table, groups: NDArray[np.str_], split: NDArray[np.str_] | None, ids: Sequence[str]
) -> NDArray[np.int64]:
    """The group of each image as a number; an image without one has a number of its own.

    Args:
        table: for messages.
        groups: (n,), what they are called.
        split: (n,) where the table gives one.
        ids: of the n images.

    Raises:
        UserError: the table has images of one group in two splits.
    """
    first: dict[str, int] = {}
    numbers = [first.setdefault(name, row) if name else row for row, name in enumerate(groups.tolist())]
    for row, earlier in enumerate(numbers if split is not None else ()):
        assert split is not None
        if split[row] != split[earlier]:
            raise UserError(
                f"{table.file}: group {str(groups[row])!r} is in two splits: "
                f"{ids[earlier]} in {split[earlier]}, {ids[row]} in {split[row]}",
                "give all its images one split, or take the column of splits out, or leave data.group out",
            )
    sizes = np.unique(numbers, return_counts=True)[1]
    log.info(
        "%s: %s groups, of %d to %d images, stay together%s",
        *(table.file.name, f"{len(sizes):,}", sizes.min(), sizes.max()),
        f"; {n:,} images without a group are one each" if (n := int((groups == "").sum())) else "",
    )
    return np.array(numbers)
