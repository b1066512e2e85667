"""Files of features come back as they were written."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from retdm.commands.output import feature_files
from retdm.commands.output.feature_files import FeatureRows, write_features

DRAW = np.random.default_rng(0)
NAMES = ["a.jpg", "é ü/b.png", os.fsdecode(b"\xff.jpg"), "c.png", "d.png"]
ABOUT = {"network": "vgg_small", "unreadable": [{"name": NAMES[2], "reason": "is empty"}], "shape": [3, 2, 2]}


@pytest.fixture
def features() -> np.ndarray:
    return DRAW.standard_normal((5, 3, 2, 2), dtype=np.float32)


def written(file: Path, features: np.ndarray) -> None:
    """In two batches."""
    with (file.parent / "rows").open("w+b") as opened:
        rows = FeatureRows(opened)
        for part in (slice(0, 3), slice(3, 5)):
            rows.add(NAMES[part], features[part])
        write_features(file, file.suffix, rows, ABOUT)


def test_npz_has_features_names_and_what_they_depend_on(tmp_path: Path, features: np.ndarray) -> None:
    written(tmp_path / "x.npz", features)
    with np.load(tmp_path / "x.npz") as found:  # without pickles
        assert set(found) == {"features", "names", "about"}
        assert found["features"].dtype == np.float32 and np.array_equal(found["features"], features)
        assert found["names"].tolist() == NAMES
        assert json.loads(str(found["about"])) == ABOUT


def test_parquet_has_a_row_an_image(tmp_path: Path, features: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed (extra parquet)")
    monkeypatch.setattr(feature_files, "ROWS", 2)
    written(tmp_path / "x.parquet", features)
    table = parquet.read_table(tmp_path / "x.parquet")
    assert table.column_names == ["name", "features"]
    assert np.array_equal(np.array(table["features"].to_pylist(), np.float32), features.reshape(5, 12))
    assert table["name"].to_pylist() == [*NAMES[:2], r"\xff.jpg", *NAMES[3:]]
    assert json.loads(table.schema.metadata[b"retdm"]) == ABOUT
