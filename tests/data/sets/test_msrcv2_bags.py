"""The bags of MSRC v2."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io

from retdm.data.sets.msrcv2_bags import MSRCv2Bags
from retdm.data.source import BagSource, Counts
from retdm.errors import UserError

LABELS = [[0], [1, 1, 2], [2], [0, 2], [1]]  # of each bag's instances, in the order of the file
FILE = "bags/MSCV2.mat"


def cells(arrays: list[np.ndarray]) -> np.ndarray:
    column = np.empty((len(arrays), 1), object)
    column[:, 0] = arrays
    return column


def content() -> dict[str, Any]:
    """Five bags of four features; every number of bag i is i."""
    marks = [np.where(np.eye(3)[labels] == 1, 1, -1).astype(np.int16) for labels in LABELS]
    return {
        "Bags": cells([np.full((len(labels), 4), i / 1) for i, labels in enumerate(LABELS)]),
        "Y": np.stack([bag.max(axis=0) for bag in marks]),
        "y": cells(marks),
        "trnidx": np.ones((1, 2)),
    }


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(MSRCv2Bags, "groups", {2: 1, 10: 4})
    monkeypatch.setattr(MSRCv2Bags, "segments", 8)
    monkeypatch.setattr(MSRCv2Bags, "counts", Counts(5, {"building": 2, "grass": 2, "tree": 3}, 5))
    (tmp_path / "bags").mkdir()
    scipy.io.savemat(tmp_path / FILE, content())
    return tmp_path


def test_a_drawn_file_opens_as_a_source_that_knows_its_instances(root: Path) -> None:
    source = MSRCv2Bags(str(root))
    assert isinstance(source, BagSource) and len(source) == 5
    assert source.names == ["building", "grass", "tree"] and source.known.all() and source.split is None
    assert source.instances[:, 0].tolist() == [0, 1, 1, 1, 2, 3, 3, 4]
    assert source.instance_targets is not None
    assert source.instance_targets.argmax(axis=1).tolist() == [label for labels in LABELS for label in labels]
    assert source.targets.tolist() == [[1, 0, 0], [0, 1, 1], [0, 0, 1], [1, 0, 1], [0, 1, 0]]


def test_bags_are_named_by_their_images_sorted_as_text(root: Path) -> None:
    assert MSRCv2Bags(str(root)).ids == ["10_1_s", "10_2_s", "10_3_s", "10_4_s", "2_1_s"]


def test_the_published_counts_are_expected_by_default() -> None:
    labels = MSRCv2Bags.counts.labels
    assert sum(MSRCv2Bags.groups.values()) == MSRCv2Bags.counts.images == 591
    assert MSRCv2Bags.segments == 1758 and len(labels) == 23
    assert list(labels.items())[:3] == [("building", 153), ("grass", 213), ("tree", 134)]
    assert list(labels.items())[-1] == ("boat", 33)


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"MSCV2\.mat\n.*data\.root"):
        MSRCv2Bags(str(tmp_path))


def without_an_instance_label(c: dict[str, Any]) -> None:
    c["y"][1, 0] = c["y"][1, 0][:2]


def with_another_bag_label(c: dict[str, Any]) -> None:
    c["Y"][[3, 4]] = c["Y"][[4, 3]]  # the sums stay as they are


def with_another_count(c: dict[str, Any]) -> None:
    c["Y"][2] = [1, -1, -1]


def without_a_bag(c: dict[str, Any]) -> None:
    c["Bags"] = c["Bags"][:4]


def with_an_instance_too_many(c: dict[str, Any]) -> None:
    c["Bags"][0, 0], c["y"][0, 0] = np.zeros((2, 4)), c["y"][0, 0].repeat(2, axis=0)


def without_y(c: dict[str, Any]) -> None:
    del c["y"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without_an_instance_label, "the rows of y of bag 10_2_s are not one an instance"),
        (with_another_bag_label, "the labels of bag 10_4_s are not those of its instances"),
        (with_another_count, "images have building, expected 2"),
        (without_a_bag, "4 bags and 5 with instance labels, expected 5"),
        (with_an_instance_too_many, "9 instances, expected 8"),
        (without_y, "cannot be read: KeyError"),
    ],
)
def test_a_file_that_is_not_the_published_one_is_refused(
    root: Path, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    changed = content()
    change(changed)
    scipy.io.savemat(root / FILE, changed)
    with pytest.raises(UserError, match=message):
        MSRCv2Bags(str(root))
