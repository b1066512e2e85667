"""Tables of labels: the columns, the split, the folder, and the log."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from retdm.data.images import UnreadableImage
from retdm.data.modules import ImageData
from retdm.data.source import Source, state_of
from retdm.data.user.csv_labels import CsvLabels
from retdm.errors import UserError
from retdm.settings.compose import compose_settings

Open = Callable[..., CsvLabels]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of four images of different sizes, one of them in a folder of its own."""
    folder = tmp_path / "photos"
    (folder / "holiday").mkdir(parents=True)
    for i, name in enumerate(("1.jpg", "2.png", "3.jpg", "holiday/1.jpg"), 1):
        Image.new("RGB", (10 * i, 8), (60 * i, 0, 0)).save(folder / name)
    return folder


@pytest.fixture
def opened(photos: Path) -> Open:
    """``opened("image,cat", "1.jpg,1")``: the source of a table of these lines; bytes are written as they are."""

    def with_table(*lines: str | bytes, **settings: Any) -> CsvLabels:
        content = b"".join(line if isinstance(line, bytes) else f"{line}\n".encode() for line in lines)
        (photos / "labels.csv").write_bytes(content)
        return CsvLabels(str(photos), **settings)

    return with_table


FULL = ("image,dog,cat", "2.png,1,0", "1.jpg,0,", "holiday/1.jpg,1,1", "3.jpg,0,0")


# ---- a column a label


def test_columns_of_0_and_1_open_as_a_source_in_the_order_of_lines_and_columns(opened: Open) -> None:
    source = opened(*FULL)
    assert isinstance(source, Source)
    assert source.names == ["dog", "cat"] and source.ids == ["2.png", "1.jpg", "holiday/1.jpg", "3.jpg"]
    assert source.targets.dtype == np.uint8 and source.targets.tolist() == [[1, 0], [0, 0], [1, 1], [0, 0]]
    assert source.known.dtype == bool and np.argwhere(~source.known).tolist() == [[1, 1]]
    assert source.split is None and len(source) == 4
    assert [source.read(i).size[0] for i in range(4)] == [20, 10, 40, 30]


@pytest.mark.parametrize("cell", ["2", "0.5", "x", "1;0"])
def test_another_value_is_named_with_file_line_and_column(opened: Open, photos: Path, cell: str) -> None:
    with pytest.raises(UserError) as caught:
        opened("image,dog,cat", "1.jpg,1,0", "", f"2.png,0,{cell}")
    assert caught.value.message == (f"{photos / 'labels.csv'} line 4, column 'cat': {cell!r} is neither 0, 1 nor empty")


# ---- one column of names


def test_joined_names_become_labels_in_alphabetical_order(opened: Open) -> None:
    source = opened("image,labels", "1.jpg,dog; cat", "2.png,-", "3.jpg,", "holiday/1.jpg,cat;cat")
    assert source.names == ["cat", "dog"]
    assert source.targets.tolist() == [[1, 1], [0, 0], [0, 0], [1, 0]]
    assert source.known.tolist() == [[True] * 2, [True] * 2, [False] * 2, [True] * 2], "empty is unknown, - is none"


@pytest.mark.parametrize("cell", ["cat;;dog", "cat;", ";", "cat;-"])
def test_an_empty_name_or_a_dash_beside_names_is_refused(opened: Open, cell: str) -> None:
    with pytest.raises(UserError, match="line 3, column 'labels'"):
        opened("image,labels", "1.jpg,cat", f"2.png,{cell}")


def test_names_that_never_come_are_an_error(opened: Open) -> None:
    with pytest.raises(UserError, match="names no label"):
        opened("image,labels", "1.jpg,-", "2.png,")


def test_columns_beside_joined_names_are_logged_as_unread(opened: Open, caplog: pytest.LogCaptureFixture) -> None:
    assert opened("image,labels,author", "1.jpg,cat,me", "2.png,-,you").names == ["cat"]
    assert "not read, beside names in column 'labels': author" in caplog.text


# ---- the split


def test_a_column_of_splits_becomes_the_split(opened: Open) -> None:
    source = opened("image,Split,cat", "1.jpg,train,1", "2.png,val,0", "3.jpg,Validation,0", "holiday/1.jpg,test,1")
    assert source.split is not None and source.split.tolist() == ["train", "validation", "validation", "test"]
    assert source.names == ["cat"]


@pytest.mark.parametrize("cell", ["", "dev"])
def test_a_line_without_a_split_is_named(opened: Open, cell: str) -> None:
    with pytest.raises(UserError, match=f"line 3, column 'split': '{cell}' is no split"):
        opened("image,split,cat", "1.jpg,train,1", f"2.png,{cell},0")


@pytest.mark.parametrize(("splits", "missing"), [("train val train", "test"), ("test val test", "train")])
def test_a_column_without_training_or_test_images_is_refused(opened: Open, splits: str, missing: str) -> None:
    names = ("1.jpg", "2.png", "3.jpg")
    with pytest.raises(UserError, match=f"'split' has no image for {missing}"):
        opened("image,split,cat", *(f"{n},{p},1" for n, p in zip(names, splits.split(), strict=True)))


# ---- how a table may be written


@pytest.mark.parametrize("column", ["image", "file", "filename", "path", "Image"])
def test_the_image_column_is_found_by_its_name_wherever_it_stands(opened: Open, column: str) -> None:
    source = opened(f"cat,{column}", "1,1.jpg", "0,2.png")
    assert source.ids == ["1.jpg", "2.png"] and source.names == ["cat"]


def test_the_image_column_may_be_named_and_its_rivals_are_labels_then(opened: Open) -> None:
    assert opened("photo,path,cat", "1.jpg,0,1", "2.png,1,0", image_column="photo").names == ["path", "cat"]


@pytest.mark.parametrize("sign", [",", ";", "\t"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_commas_semicolons_and_tabs_with_or_without_byte_order_mark_read_alike(
    opened: Open, sign: str, mark: bytes
) -> None:
    lines = [f"image{sign}labels", f'1.jpg{sign}"cat;dög"', f"2.png{sign}-"]
    source = opened(mark, "\r\n".join(lines))
    assert source.names == ["cat", "dög"] and source.ids == ["1.jpg", "2.png"]


def test_a_sign_inside_quotes_does_not_separate(opened: Open) -> None:
    source = opened('image;"cat, or dog, or both"', "1.jpg;1", "2.png;0")
    assert source.names == ["cat, or dog, or both"]


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (["image,cat"], "has no line below its column names"),
        ([""], "has no line below its column names"),
        (["1.jpg,0,1", "2.png,1,1"], r"has no image column \(image, file, filename, path\); its first line has: 1.jpg"),
        (["image", "1.jpg"], "has no label column; its first line has: image"),
        (["image,split", "1.jpg,train"], "has no label column"),
        ([",image,cat", "7,1.jpg,1"], "has no name for column 1"),
        (["image,cat,cat", "1.jpg,1,0"], "has a second column 'cat'"),
        (["image,cat", "1.jpg,1", "2.png,1,0"], "line 3 has 3 cells, expected 2: image, cat"),
        (["image,cat", "1.jpg,1", "2.png"], "line 3 has 1 cells, expected 2"),
        (["image,cat", "1.jpg,1", "2.png,0", "./1.jpg,1"], "names 1.jpg in lines 2 and 4"),
        (["image,cat", "1.jpg,1", ",0"], "line 3, column 'image': '' is no file name"),
        (["image,cat", "1.jpg,1", "../1.jpg,0"], "line 3, column 'image': '../1.jpg' leads out of"),
        (["image,cat", "1.jpg,1", '"2.png,0'], "near line 3: unexpected end of data"),
        (["image,cat", "1.jpg,1", "caf\xe9.jpg,0".encode("latin-1")], "line 3 is not UTF-8 .byte 0xe9"),
        (["image,cat\n".encode("utf-16")], "line 1 is not UTF-8"),
    ],
)
def test_a_table_that_cannot_be_is_refused_with_its_name(
    opened: Open, photos: Path, lines: list[str | bytes], says: str
) -> None:
    with pytest.raises(UserError, match=says) as caught:
        opened(*lines)
    assert str(photos / "labels.csv") in caught.value.message and caught.value.hint


def test_a_named_image_column_that_is_absent_is_an_error(opened: Open) -> None:
    with pytest.raises(UserError, match=r"has no image column \(photo\); its first line has: image, dog, cat"):
        opened(*FULL, image_column="photo")


# ---- the folder


def test_a_root_that_is_not_set_and_an_absent_folder_or_table_are_named(photos: Path) -> None:
    with pytest.raises(UserError, match="data.root is not set"):
        CsvLabels()
    with pytest.raises(UserError, match="/nowhere is no folder"):
        CsvLabels(str(photos / "nowhere"))
    (photos / "tags.csv").touch()
    with pytest.raises(UserError, match="there is no .*labels.csv") as caught:
        CsvLabels(str(photos))
    assert "there is: tags.csv" in caught.value.hint


def test_the_table_may_lie_elsewhere(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text("image,cat\n1.jpg,1\n2.png,0\n")
    for labels in (str(tmp_path / "mine.csv"), "../mine.csv"):
        assert CsvLabels(str(photos), labels).read(1).size == (20, 8)


def test_a_stated_range_scales_the_images_and_makes_another_set(opened: Open, photos: Path) -> None:
    Image.fromarray(np.full((8, 8), 2048, np.uint16)).save(photos / "deep.png")
    lines = ("image,cat", "1.jpg,1", "deep.png,0")
    plain, scaled = opened(*lines), opened(*lines, value_range=[0, 4095])
    with pytest.raises(UnreadableImage, match="range is not stated"):
        plain.read(1)
    assert scaled.read(1).getpixel((0, 0)) == (128, 128, 128)
    assert scaled.read(0).tobytes() == plain.read(0).tobytes()
    assert scaled.fingerprint != plain.fingerprint
    assert compose_settings(["data=csv", "data.value_range=[0,4095]"]).data["value_range"] == [0, 4095]


def test_images_without_a_known_range_are_counted_with_the_key_that_states_it(opened: Open, photos: Path) -> None:
    for i in range(2):
        Image.fromarray(np.full((8, 8), 2048 + i, np.uint16)).save(photos / f"{i}.png")
    source = opened("image,cat", "1.jpg,1", "0.png,0", "1.png,0")
    with pytest.raises(
        UserError, match=r"2 of 3 images cannot be read \(2 unscaled\); the first: .*\[0,4095\]"
    ) as error:
        ImageData(source, cache="none", image_size=16)
    assert "data.value_range=[lowest,highest]" in error.value.hint


# ---- what is logged


def test_images_that_the_table_does_not_name_are_counted(
    opened: Open, photos: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (photos / "notes.txt").touch()
    (photos / "._2.png").touch()
    opened("image,cat", "1.jpg,1", "2.png,0")
    assert f"labels.csv does not name 2 images in {photos} (the first: 3.jpg): left out" in caplog.text
    caplog.clear()
    opened(*FULL)
    assert "does not name" not in caplog.text


def test_labels_of_one_class_are_logged(opened: Open, caplog: pytest.LogCaptureFixture) -> None:
    opened("image,all,none,both", "1.jpg,1,0,1", "2.png,,0,0")
    assert "labels.csv: no image has: none (of 3 labels)" in caplog.text
    assert "labels.csv: no image is known not to have: all (of 3 labels)" in caplog.text


def test_images_without_a_known_label_are_counted(opened: Open, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "retdm")  # a run in this process before would leave another
    opened("image,labels", "1.jpg,cat", "2.png,", "3.jpg,-", "holiday/1.jpg,")
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "empty cells leave 2 images without a known label" in caplog.text


# ---- the fingerprint, and the loaders


def test_the_state_follows_labels_order_and_images_and_not_the_folder(
    opened: Open, photos: Path, tmp_path: Path
) -> None:
    head, *lines = FULL
    before = state_of(opened(*FULL))
    assert state_of(opened(*(line.replace(",", ";") for line in FULL))) == before, "the same, written otherwise"
    changed = [
        opened(head, *reversed(lines)),
        opened("image,dog,cow", *lines),
        opened(head, "2.png,1,1", *lines[1:]),
        opened(head, lines[0], "1.jpg,0,0", *lines[2:]),  # 0 for unknown
    ]
    (photos / "3.jpg").write_bytes((photos / "3.jpg").read_bytes() + b" ")
    changed.append(opened(*FULL))
    assert len({str(state) for state in (before, *map(state_of, changed))}) == 6
    photos.rename(tmp_path / "elsewhere")
    assert state_of(CsvLabels(str(tmp_path / "elsewhere"))) == state_of(changed[-1])


def test_unknown_cells_and_given_splits_arrive_in_the_batches(photos: Path, tmp_path: Path) -> None:
    lines = ["image,split,cat,dog"]
    for i in range(12):
        Image.new("RGB", (20, 20), (20 * i, 0, 0)).save(photos / f"n{i}.png")
        lines.append(f"n{i}.png,{'train' if i < 8 else 'test'},{i % 2},{'' if i % 3 == 0 else 1}")
    (photos / "labels.csv").write_text("\n".join(lines))
    data = ImageData(CsvLabels(str(photos)), batch_size=8, image_size=16, cache=str(tmp_path / "cache"))
    assert data.splits["test"].tolist() == [8, 9, 10, 11] and len(data.splits["validation"]) == 1
    (batch,) = data.split_loader("test")
    assert batch.known.tolist() == [[True, True], [True, False], [True, True], [True, True]]
    assert batch.target.tolist() == [[0, 1], [1, 0], [0, 1], [1, 1]]
