"""COCO: the publisher's files, split and counts."""

import json
from pathlib import Path

import numpy as np
import pytest
from coco_files import coco_content, write_json
from PIL import Image

from retdm.data.images import UnreadableImage
from retdm.data.sets.coco import Coco, Counts
from retdm.data.source import Source, state_of
from retdm.errors import UserError


@pytest.fixture
def coco(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A root with three training and two val images of 2014, of widths 1 to 5."""
    files_of = {
        "train": (["a.jpg", "b.jpg", "c.jpg"], [[90, 1, 1], [], [7]]),
        "val": (["d.jpg", "e.jpg"], [[1], [7, 90]]),
    }
    width = 0
    for name, (files, labels) in files_of.items():
        write_json(
            tmp_path / f"coco/annotations/instances_{name}2014.json", coco_content(files, labels, first=width * 10)
        )
        (tmp_path / f"coco/{name}2014").mkdir()
        for file in files:
            width += 1
            Image.new("RGB", (width, 4)).save(tmp_path / f"coco/{name}2014" / file)
    counts = {"train2014": Counts(3, 4, 1, labels=3), "val2014": Counts(2, 3, 0, labels=3)}
    monkeypatch.setattr(Coco, "counts", counts)
    return tmp_path


def file_of(root: Path, name: str = "val", year: int = 2014) -> Path:
    return root / f"coco/annotations/instances_{name}{year}.json"


def test_both_files_open_as_a_source_with_val_for_testing(coco: Path) -> None:
    source = Coco(str(coco))
    assert isinstance(source, Source)
    assert source.names == ["person", "train", "toothbrush"], "in the order of their ids"
    assert source.ids == ["train2014/a.jpg", "train2014/b.jpg", "train2014/c.jpg", "val2014/d.jpg", "val2014/e.jpg"]
    assert source.targets.dtype == np.uint8
    assert source.targets.tolist() == [[1, 0, 1], [0, 0, 0], [0, 1, 0], [1, 0, 0], [0, 1, 1]]
    assert source.known.all() and source.known.shape == (5, 3)
    assert source.split is not None and source.split.tolist() == ["train"] * 3 + ["test"] * 2
    assert [source.read(i).size[0] for i in range(len(source))] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(("gone", "left"), [("train", 2), ("val", 3)])
def test_a_single_file_is_left_to_a_random_split(coco: Path, gone: str, left: int) -> None:
    file_of(coco, gone).unlink()
    source = Coco(str(coco))
    assert source.split is None and len(source) == len(source.targets) == left


def test_images_without_a_label_are_counted_in_the_log(coco: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "retdm"):
        Coco(str(coco))
    assert "instances_train2014.json: 3 images, 4 instances; 1 images have none and stay" in caplog.text


def test_the_published_counts_are_expected_by_default() -> None:
    assert {name: (c.images, c.instances, c.unlabelled, c.labels) for name, c in Coco.counts.items()} == {
        "train2014": (82_783, 604_907, 702, 80),
        "val2014": (40_504, 291_875, 367, 80),
        "train2017": (118_287, 860_001, 1_021, 80),
        "val2017": (5_000, 36_781, 48, 80),
    }
    for count in ("images", "instances", "unlabelled"):  # the two years cut the same images
        sums = {y: sum(getattr(Coco.counts[f"{p}{y}"], count) for p in ("train", "val")) for y in (2014, 2017)}
        assert sums[2014] == sums[2017]


@pytest.mark.parametrize(
    ("counts", "says"),
    [
        (Counts(3, 3, 0, 3), "has 2 images, expected 3"),
        (Counts(2, 4, 0, 3), "has 3 instances, expected 4"),
        (Counts(2, 3, 1, 3), "has 0 images without an instance, expected 1"),
        (Counts(2, 3, 0), "has 3 labels, expected 80"),
    ],
)
def test_a_file_that_is_not_what_was_published_is_refused(coco: Path, counts: Counts, says: str) -> None:
    Coco.counts = {"val2014": counts}
    with pytest.raises(UserError, match=r"instances_val2014\.json " + says):
        Coco(str(coco))


def test_another_year_opens_unchecked(coco: Path) -> None:
    file_of(coco).rename(file_of(coco, year=2031))
    source = Coco(str(coco), year=2031)
    assert source.ids == ["val2031/d.jpg", "val2031/e.jpg"] and source.split is None


def test_a_year_that_is_absent_names_file_address_and_the_years_there(coco: Path) -> None:
    with pytest.raises(UserError) as caught:
        Coco(str(coco), year=2017)
    for word in ("instances_train2017.json", str(coco / "coco"), "annotations_trainval2017.zip", "data.year=2014"):
        assert word in str(caught.value)


def test_other_categories_in_the_two_files_are_refused(coco: Path) -> None:
    changed = json.loads(file_of(coco).read_text())
    changed["categories"][0]["name"] = "boat"
    write_json(file_of(coco), changed)
    with pytest.raises(UserError, match=r"instances_val2014\.json has other categories than instances_train2014\.json"):
        Coco(str(coco))


@pytest.mark.parametrize("name", ["../d.jpg", "/d.jpg", "..", "x/d.jpg", "x\\d.jpg", ""])
def test_a_published_file_name_is_plain(coco: Path, name: str) -> None:
    write_json(file_of(coco), coco_content([name, "e.jpg"], [[1], [7, 90]]))
    with pytest.raises(UserError, match=r"instances_val2014\.json: file_name .* is no plain file name"):
        Coco(str(coco))


def test_the_folder_of_images_may_be_a_link(coco: Path) -> None:
    (coco / "coco/val2014").rename(coco / "large")
    (coco / "coco/val2014").symlink_to(coco / "large")
    assert Coco(str(coco)).read(3).size == (4, 4)


def test_the_published_state_follows_labels_and_images(coco: Path, tmp_path: Path) -> None:
    before = str(state_of(Coco(str(coco))))
    file = coco / "coco/val2014/e.jpg"
    file.write_bytes(file.read_bytes() + b" ")
    longer = str(state_of(Coco(str(coco))))
    write_json(file_of(coco), coco_content(["d.jpg", "e.jpg"], [[7], [7, 90]]))
    relabelled = str(state_of(Coco(str(coco))))
    assert len({before, longer, relabelled}) == 3
    (tmp_path / "elsewhere").mkdir()
    (coco / "coco").rename(tmp_path / "elsewhere/coco")
    assert str(state_of(Coco(str(tmp_path / "elsewhere")))) == relabelled


def test_a_missing_image_is_met_when_it_is_read(coco: Path) -> None:
    (coco / "coco/train2014/b.jpg").unlink()
    with pytest.raises(UnreadableImage) as caught:
        Coco(str(coco)).read(1)
    assert caught.value.kind == "missing"
