"""Whether the parts of a split have the labels that learning, choosing and judging need."""

import logging
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from retdm.errors import UserError

log = logging.getLogger(__name__)

FEW = 5  # positives below which a criterion of a label says little
NAMED = 4  # labels that a warning names
USES = {"train": "to learn from", "validation": "to choose by", "test": "to judge by"}


def check_known(
    names: Sequence[str],
    targets: NDArray[np.uint8],
    known: NDArray[np.bool_],
    parts: Mapping[str, NDArray[np.int64]],
    *,
    hint: str,
) -> None:
    """Warn of labels with fewer than five positives in the validation or test part, those with none first.

    Args:
        names: the L labels.
        targets: (n, L) of 0 and 1.
        known: (n, L); False where nobody said.
        parts: "train", "validation" and "test": the rows of each.
        hint: how the parts would have more, for the warning.

    Raises:
        UserError: no row of a part has a known label.
    """
    counts = {part: (targets[rows] * known[rows]).sum(0, dtype=int) for part, rows in parts.items()}
    for part, rows in parts.items():
        if not known[rows].any():
            raise UserError(
                f"none of the {len(rows):,} rows of the {part} part has a known label {USES[part]}",
                "label some of them, or cut other parts: another data.split, or no column of parts; "
                "rows that are to be predicted alone belong into retdm.predict",
            )
    fewest = np.minimum(counts["validation"], counts["test"])
    thin = np.flatnonzero(fewest < FEW)
    if len(thin):
        first = thin[np.argsort(fewest[thin], kind="stable")][:NAMED]
        told = [f"{names[j]} {'/'.join(str(counts[part][j]) for part in USES)}" for j in first.tolist()]
        more = f" and {len(thin) - NAMED:,} more" if len(thin) > NAMED else ""
        log.warning(
            "fewer than %d rows with a label in validation or test (training/validation/test): %s%s; "
            "what is measured of them says little%s",
            *(FEW, ", ".join(told), more, f": {hint}" if hint else ""),
        )
