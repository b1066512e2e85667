import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from retdm.data.given.images import Given, as_files
from retdm.data.given.targets import Targets, targets_of
from retdm.data.user.csv_labels import CsvLabels
from retdm.errors import UserError

TARGETS = targets_of([[1, 0], [0, None], [1, 1]], ["cat", "dog"])
Pixels = list[np.ndarray]


@pytest.fixture
def pixels() -> Pixels:
    """Three images of different sizes, uint8 (H, W, 3)."""
    draw = np.random.default_rng(0)
    return [draw.integers(0, 256, (6 + i, 9, 3), dtype=np.uint8) for i in range(3)]


@pytest.fixture
def files(pixels: Pixels, tmp_path: Path) -> list[Path]:
    """The same as files of one folder, in two folders below it."""
    found = []
    for i, values in enumerate(pixels):
        found.append(tmp_path / "photos" / f"{'ab'[i % 2]}, c" / f"{3 - i}.png")
        found[-1].parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(values).save(found[-1])
    return found


def read(given: Given) -> CsvLabels:
    return CsvLabels(str(given.root), str(given.table), given.image_column, other_columns=[])


def check(given: Given, pixels: Pixels) -> None:
    """The data set has the images and the targets, in their order."""
    found = read(given)
    for i, values in enumerate(pixels):
        np.testing.assert_array_equal(np.asarray(found.read(i)), values)
    assert found.names == TARGETS.names
    np.testing.assert_array_equal(found.known, ~np.isnan(TARGETS.cells))
    np.testing.assert_array_equal(found.targets, np.nan_to_num(TARGETS.cells))


FORMS: dict[str, Callable[[Pixels], Any]] = {
    "arrays": lambda pixels: pixels,
    "PIL": lambda pixels: [Image.fromarray(values) for values in pixels],
    "tensors": lambda pixels: [torch.from_numpy(values).permute(2, 0, 1) for values in pixels],
    "floats": lambda pixels: [values / 255 for values in pixels],
    "generator": lambda pixels: (Image.fromarray(values) for values in pixels),
    "objects": lambda pixels: pd.Series(pixels),
    "RGBA": lambda pixels: [np.dstack([values, np.full(values.shape[:2], 255, np.uint8)]) for values in pixels],
}


@pytest.mark.parametrize("form", FORMS)
def test_images_in_memory_are_files_that_lose_nothing(form: str, pixels: Pixels, tmp_path: Path) -> None:
    check(as_files(FORMS[form](pixels), TARGETS, None, tmp_path), pixels)


def test_grey_images_are_grey_and_transparent_ones_lie_on_white(tmp_path: Path) -> None:
    grey = np.arange(3 * 4 * 5, dtype=np.uint8).reshape(3, 4, 5)
    found = read(as_files(grey, TARGETS, None, tmp_path))
    for i in range(3):
        np.testing.assert_array_equal(np.asarray(found.read(i)), np.repeat(grey[i][..., None], 3, 2))
    clear = read(as_files(np.zeros((3, 4, 5, 4), np.uint8), TARGETS, None, tmp_path))
    assert np.asarray(clear.read(0)).min() == 255


@pytest.mark.parametrize("form", FORMS)
def test_the_same_images_are_the_same_data_and_others_are_not(form: str, pixels: Pixels, tmp_path: Path) -> None:
    first = as_files(FORMS[form](pixels), TARGETS, None, tmp_path)
    written = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*") if file.is_file()}
    assert as_files(FORMS[form](pixels), TARGETS, None, tmp_path) == first
    assert written == {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*") if file.is_file()}
    other = as_files(FORMS[form]([255 - values for values in pixels]), TARGETS, None, tmp_path)
    assert other.root != first.root
    relabelled = as_files(FORMS[form](pixels), Targets(TARGETS.names, 1 - TARGETS.cells), None, tmp_path)
    assert relabelled.root == first.root
    assert relabelled.table != first.table


def test_what_was_removed_is_written_again(pixels: Pixels, tmp_path: Path) -> None:
    first = as_files(pixels, TARGETS, None, tmp_path)
    next(first.root.glob("*.png")).unlink()
    check(as_files(pixels, TARGETS, None, tmp_path), pixels)


def test_files_stay_where_they_are(files: list[Path], pixels: Pixels, tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    for images in (files, map(str, files), pd.Series(files), np.array(list(map(str, files)))):
        given = as_files(images, TARGETS, None, outputs)
        assert given.root == tmp_path / "photos"
        assert read(given).ids == [str(file.relative_to(given.root)) for file in files]
        check(given, pixels)
    assert [file.suffix for file in outputs.rglob("*") if file.is_file()] == [".csv"]


def test_relative_paths_are_of_the_working_folder(
    files: list[Path], pixels: Pixels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    check(as_files([file.relative_to(tmp_path) for file in files], TARGETS, None, Path("outputs")), pixels)


@pytest.mark.parametrize("odd", ["link", "space", "backslash", "bytes", "home"])
def test_files_that_no_table_can_name_are_copied(
    odd: str, files: list[Path], pixels: Pixels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if odd == "link":  # it leads out of the folder
        elsewhere = tmp_path / "elsewhere.png"
        files[0].rename(elsewhere)
        files[0].symlink_to(elsewhere)
    elif odd == "home":  # which holds far more than images
        monkeypatch.setenv("HOME", str(tmp_path / "photos"))
    else:
        name = {"space": "1.png ", "backslash": "a\\b.png", "bytes": os.fsdecode(b"\xff.png")}[odd]
        files[0] = files[0].rename(files[0].with_name(name))
    given = as_files(files, TARGETS, None, tmp_path / "outputs")
    assert given.root.parent == tmp_path / "outputs" / "given"
    check(given, pixels)
    assert as_files(files, TARGETS, None, tmp_path / "outputs") == given


def test_files_and_images_in_memory_may_be_mixed(files: list[Path], pixels: Pixels, tmp_path: Path) -> None:
    mixed: list[Any] = [files[0], Image.fromarray(pixels[1]), pixels[2]]
    for images in (mixed, iter(mixed)):
        check(as_files(images, TARGETS, None, tmp_path), pixels)


@pytest.mark.parametrize("label", ["image", "Image", "labels", "note", "a,b", 'say "x"', "label", "Unnamed: 0", "海"])
def test_a_label_may_have_nearly_any_name(label: str, pixels: Pixels, tmp_path: Path) -> None:
    found = read(as_files(pixels, Targets([label, "file"], TARGETS.cells), None, tmp_path))
    assert found.names == [label, "file"]
    np.testing.assert_array_equal(found.targets, np.nan_to_num(TARGETS.cells))


def test_groups_are_kept_beside_a_label_of_that_name(pixels: Pixels, tmp_path: Path) -> None:
    for names, column in ((["cat", "dog"], "group"), (["cat", "Group"], "group_")):
        given = as_files(pixels, Targets(names, TARGETS.cells), None, tmp_path, groups=[7, None, 7])
        assert given.group_column == column
        found = CsvLabels(str(given.root), str(given.table), given.image_column, other_columns=[], group=column)
        assert found.names == names and found.group_of is not None
        assert found.group_of.tolist() == [0, 1, 0]
    with pytest.raises(UserError, match="2 groups and 3 images"):
        as_files(pixels, TARGETS, None, tmp_path, groups=["a", "b"])


def test_splits_are_kept(pixels: Pixels, tmp_path: Path) -> None:
    splits = ["test", "train", "validation"]
    found = read(as_files(pixels, TARGETS, splits, tmp_path))
    assert found.split is not None
    assert found.split.tolist() == splits


def test_more_than_8_bits_are_scaled_by_the_stated_range(tmp_path: Path) -> None:
    given = as_files([np.array([[0, 4095]], np.uint16)] * 3, TARGETS, None, tmp_path, (0, 4095))
    assert np.asarray(read(given).read(0))[0, :, 0].tolist() == [0, 255]


def drawn(n: int) -> Iterator[np.ndarray]:
    yield from np.zeros((n, 4, 4, 3), np.uint8)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([], "0 images and 3 rows"),
        (iter([]), "0 images and 3 rows"),
        (drawn(2), "2 images and 3 rows"),
        (drawn(4), "4 images and 3 rows"),
        (np.zeros((2, 4, 4, 3), np.uint8), "2 images and 3 rows"),
        ("photos", "the one path 'photos'"),
        (Path("photos"), "the one path 'photos'"),
        (Image.new("RGB", (2, 2)), "images is Image, not several"),
        (np.zeros((4, 4)), "images is ndarray, not several"),
        (7, "images is int, not several"),
        ({"a": 1}, "images is dict, not several"),
        ({"a.jpg", "b.jpg", "c.jpg"}, "images is a set, which has no order"),
        (["a.jpg", "b.jpg", "c.jpg"], "(?s)3 of 3 images are no files.*'a.jpg'"),
        ([None] * 3, "image 0 is of type NoneType"),
        ([np.zeros((4, 4, 7))] * 3, "image 0 cannot be read as an image: its shape"),
        ([np.zeros((4, 4), "U1")] * 3, "image 0 cannot be read as an image: its values are <U1"),
        ([np.full((4, 4), 7.5)] * 3, "(?s)image 0 has float64 values.*data.value_range"),
        ([b"no image"] * 3, "image 0 cannot be read as an image"),
    ],
)
def test_what_is_no_images_is_refused_and_leaves_no_table(images: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        as_files(images, TARGETS, None, tmp_path)
    assert not [file for file in tmp_path.rglob("*") if file.is_file()]


def test_a_file_given_twice_a_reserved_label_and_strange_splits_are_refused(
    files: list[Path], pixels: Pixels, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="images 0 and 2 are one file"):
        as_files([files[0], files[1], files[1].parent / ".." / "a, c" / files[0].name], TARGETS, None, tmp_path)
    (tmp_path / "photos" / "link.png").symlink_to(files[0])
    with pytest.raises(UserError, match="images 0 and 2 are one file"):
        as_files([files[0], files[1], tmp_path / "photos" / "link.png"], TARGETS, None, tmp_path)
    for splits in (3, "train", {"train"}):
        with pytest.raises(UserError, match="splits is of type"):
            as_files(pixels, TARGETS, splits, tmp_path)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="cannot be called 'Split'"):
        as_files(pixels, Targets(["Split", "dog"], TARGETS.cells), None, tmp_path)
    with pytest.raises(UserError, match="image 1: 'val' is no split"):
        as_files(pixels, TARGETS, ["train", "val", "test"], tmp_path)
    with pytest.raises(UserError, match="2 splits and 3 images"):
        as_files(pixels, TARGETS, ["train", "test"], tmp_path)
