"""Files of features: ``.npz`` of NumPy, ``.parquet`` of Arrow, each with names of images and what they depend on."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

ROWS = 1024  # of Parquet, written at once


class FeatureRows:
    """Features of images, kept in a file, for they may be more than fits into memory.

    Args:
        file: opened to write and read; empty.

    Attributes:
        names: of the images.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.names: list[str] = []
        self._shape: tuple[int, ...] = ()
        self._file = file

    def add(self, names: Sequence[str], features: NDArray[np.float32]) -> None:
        """Add B images with their names and features float32 (B, …)."""
        self.names += names
        self._shape = features.shape[1:]
        self._file.write(features.tobytes())

    def array(self) -> NDArray[np.float32]:
        """All features, float32 (n, …), read where they are used."""
        self._file.flush()
        return np.memmap(self._file, np.float32, "r", shape=(len(self.names), *self._shape))


def write_features(file: Path, ending: str, rows: FeatureRows, about: Mapping[str, Any]) -> None:
    """Write features in the form that ``ending`` names.

    Args:
        file: to write.
        ending: ``.npz`` or ``.parquet``.
        rows: the features.
        about: what they depend on, plain values.
    """
    writers: dict[str, Callable[..., None]] = {".npz": _npz, ".parquet": _parquet}
    writers[ending](file, rows, json.dumps(about, allow_nan=False))


def _npz(file: Path, rows: FeatureRows, about: str) -> None:
    """Arrays ``features`` float32 (n, …), ``names`` (n,) and ``about``, a text of JSON."""
    with file.open("wb") as opened:  # NumPy would put another ending behind the name of a file
        np.savez(opened, features=rows.array(), names=np.array(rows.names), about=np.array(about))


def _parquet(file: Path, rows: FeatureRows, about: str) -> None:
    """Columns ``name``, and ``features``, a list of equal length in each row; the metadata has ``retdm``, as JSON."""
    import pyarrow as arrow
    from pyarrow.parquet import ParquetWriter

    features = rows.array().reshape(len(rows.names), -1)
    kind = arrow.list_(arrow.float32(), features.shape[1])
    schema = arrow.schema([("name", arrow.string()), ("features", kind)], metadata={"retdm": about})
    with ParquetWriter(file, schema) as writer:
        for start in range(0, len(features), ROWS):
            part = slice(start, start + ROWS)
            # Arrow takes UTF-8 alone, which a file's name need not be.
            names = [os.fsencode(name).decode(errors="backslashreplace") for name in rows.names[part]]
            values = arrow.FixedSizeListArray.from_arrays(arrow.array(features[part].ravel()), features.shape[1])
            writer.write_table(arrow.table([arrow.array(names), values], schema=schema))
