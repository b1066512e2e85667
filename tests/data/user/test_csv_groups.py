"""Groups of images in a table of labels."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from retdm.data.modules import ImageData
from retdm.data.user.csv_labels import CsvLabels
from retdm.errors import UserError

Open = Callable[..., CsvLabels]
LINES = ("image,patient,cat", "0.png,a,1", "1.png,b,0", "2.png,a,0", "3.png,,1", "4.png,b,1", "5.png,,0")


@pytest.fixture
def opened(tmp_path: Path) -> Open:
    """``opened("image,cat", "0.png,1")``: the source of a table of these lines, beside 40 images of one side."""
    rng = np.random.default_rng(0)
    for i in range(40):
        Image.fromarray(rng.integers(0, 256, (18, 18, 3), dtype=np.uint8)).save(tmp_path / f"{i}.png")

    def with_table(*lines: str, **settings: Any) -> CsvLabels:
        (tmp_path / "labels.csv").write_text("\n".join(lines) + "\n")
        return CsvLabels(str(tmp_path), **settings)

    return with_table


def members(source: CsvLabels) -> list[list[int]]:
    assert source.group_of is not None
    return sorted(np.flatnonzero(source.group_of == group).tolist() for group in set(source.group_of.tolist()))


def test_images_of_one_cell_are_a_group_and_an_empty_cell_is_none(
    opened: Open, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "retdm"):
        source = opened(*LINES, group="patient")
    assert members(source) == [[0, 2], [1, 4], [3], [5]] and source.names == ["cat"]
    assert "4 groups, of 1 to 2 images, stay together; 2 images without a group are one each" in caplog.text
    assert opened("image,cat", "0.png,1", "1.png,0").group_of is None


def test_a_table_of_one_line_an_image_and_label_has_groups_too(opened: Open) -> None:
    lines = ("image,shoot,label", "0.png,x,cat", "1.png,x,dog", "0.png,x,dog", "2.png,y,cat")
    assert members(opened(*lines, group="shoot")) == [[0, 1], [2]]
    with pytest.raises(UserError, match=r"0.png is in x and z \(lines 2 and 4\)"):
        opened(*lines[:3], "0.png,z,dog", group="shoot")


def test_a_split_that_parts_a_group_names_the_first_such_images(opened: Open) -> None:
    lines = ("image,patient,split,cat", "0.png,a,train,1", "1.png,b,test,0", "2.png,a,train,0", "3.png,b,train,1")
    with pytest.raises(UserError, match="group 'b' is in two splits: 1.png in test, 3.png in train"):
        opened(*lines, group="patient")
    assert opened(*lines, other_columns=["patient"]).group_of is None


def test_a_column_that_is_not_there_or_empty_is_named(opened: Open) -> None:
    with pytest.raises(UserError, match="no column 'patients', which data.group names") as error:
        opened(*LINES, group="patients")
    assert error.value.hint == "there is 'patient'"
    with pytest.raises(UserError, match="column 'patient' is empty, and data.group names it"):
        opened("image,patient,cat", "0.png,,1", "1.png,,0", group="patient")


def test_a_column_that_looks_like_groups_is_told(opened: Open, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(UserError) as error:
        opened(*LINES)
    assert "data.group=patient keeps images of one patient in one split" in error.value.hint
    opened("image,Patient ID,labels", "0.png,a,cat", "1.png,b,cat;dog")
    assert "Patient ID; 'data.group=\"Patient ID\"' keeps images of one together" in caplog.text


def test_groups_that_share_a_picture_are_in_one_split(opened: Open, tmp_path: Path) -> None:
    (tmp_path / "1.png").write_bytes((tmp_path / "2.png").read_bytes())  # of groups 0 and 1
    lines = [f"{i}.png,{i // 2},{i % 3 % 2}" for i in range(40)]
    for split in range(5):
        source = opened("image,shoot,cat", *lines, group="shoot")
        data = ImageData(source, image_size=16, cache="none", split=split, stratified=split % 2 == 1)
        side = {int(row): name for name, rows in data.splits.items() for row in rows}
        assert len({side[row] for row in range(4)}) == 1
        assert all(side[row] == side[row + 1] for row in range(0, 40, 2))
        assert data.wished == {"train": 29, "validation": 3, "test": 8}
