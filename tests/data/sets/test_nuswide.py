"""NUS-WIDE: lists and ground truth."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from retdm.data.images import UnreadableImage
from retdm.data.sets.nuswide import NusWide
from retdm.data.source import Source
from retdm.errors import UserError

TRUTHS = "nuswide/Groundtruth/TrainTestLabels"
TRAIN = ["zebra\\0001_11.jpg", "bear\\0002_22.jpg", "bear\\0003_33.jpg"]
TEST = ["zebra\\0004_44.jpg", "bear\\0005_55.jpg"]


@pytest.fixture
def drawn(tmp_path: Path) -> Path:
    """A root with three images to train on and two to test, and ground truth for two of three concepts."""
    folder = tmp_path / "nuswide"
    for name, lines in {
        "ConceptsList/Concepts81.txt": ["zebra", "airport", "bear"],
        "ImageList/TrainImagelist.txt": TRAIN,
        "ImageList/TestImagelist.txt": TEST,
        "Groundtruth/TrainTestLabels/Labels_zebra_Train.txt": [1, 0, 0],
        "Groundtruth/TrainTestLabels/Labels_zebra_Test.txt": [1, 0],
        "Groundtruth/TrainTestLabels/Labels_bear_Train.txt": [0, 1, 1],
        "Groundtruth/TrainTestLabels/Labels_bear_Test.txt": [1, 1],
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("".join(f"{line}\n" for line in lines))
    for width, line in enumerate([*TRAIN, *TEST], 1):
        file = folder / "Flickr" / line.replace("\\", "/")
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (width, 5)).save(file)
    return tmp_path


def test_a_drawn_folder_opens_as_a_source_with_the_publishers_split(drawn: Path) -> None:
    source = NusWide(str(drawn))
    assert isinstance(source, Source) and len(source) == 5
    assert source.ids[0] == "Flickr/zebra/0001_11.jpg" and source.ids[4] == "Flickr/bear/0005_55.jpg"
    assert source.split is not None and source.split.tolist() == ["train"] * 3 + ["test"] * 2
    assert source.targets.dtype == np.uint8
    assert source.known.all() and source.known.shape == (5, 2)
    assert [source.read(i).width for i in range(5)] == [1, 2, 3, 4, 5]


def test_concepts_with_ground_truth_come_in_the_order_of_the_list(drawn: Path) -> None:
    source = NusWide(str(drawn))
    assert source.names == ["zebra", "bear"]
    assert source.targets.tolist() == [[1, 0], [0, 1], [0, 1], [1, 1], [0, 1]]


def test_windows_line_ends_and_forward_slashes_are_read_alike(drawn: Path) -> None:
    expected = NusWide(str(drawn))
    for file in (drawn / "nuswide").rglob("*.txt"):
        file.write_bytes(file.read_bytes().replace(b"\n", b" \r\n").replace(b"\\", b"/"))
    source = NusWide(str(drawn))
    assert source.ids == expected.ids and (source.targets == expected.targets).all()


@pytest.mark.parametrize(("content", "lines"), [("1\n", 1), ("1\n0\n1\n", 3), ("", 0)])
def test_a_label_file_of_another_length_than_its_list_is_named_with_both(drawn: Path, content: str, lines: int) -> None:
    (drawn / TRUTHS / "Labels_bear_Test.txt").write_text(content)
    with pytest.raises(UserError, match=rf"Labels_bear_Test\.txt has {lines} lines, expected the 2 of .*TestImagelist"):
        NusWide(str(drawn))


@pytest.mark.parametrize("value", ["2", "-1", "10", "yes"])
def test_a_label_that_is_neither_0_nor_1_is_named_with_its_line(drawn: Path, value: str) -> None:
    (drawn / TRUTHS / "Labels_zebra_Train.txt").write_text(f"1\n{value}\n2\n")
    with pytest.raises(UserError, match=rf"Labels_zebra_Train\.txt, line 2: '{value}' is neither 0 nor 1"):
        NusWide(str(drawn))


@pytest.mark.parametrize(
    "path", ["..\\..\\secret.jpg", "/etc/a.jpg", "C:\\a.jpg", "\\a.jpg", "a/../../../b.jpg", "a\0.jpg"]
)
def test_a_path_that_leaves_the_set_is_refused_with_its_line(drawn: Path, path: str) -> None:
    (drawn / "nuswide/ImageList/TestImagelist.txt").write_text(f"{TEST[0]}\n{path}\n")
    with pytest.raises(UserError, match=r"TestImagelist\.txt, line 2: .* is no path inside Flickr"):
        NusWide(str(drawn))


@pytest.mark.parametrize(
    "file",
    [
        f"{TRUTHS}/Labels_bear_Train.txt",
        f"{TRUTHS}/Labels_zebra_Test.txt",
        "nuswide/ImageList/TrainImagelist.txt",
        "nuswide/ConceptsList/Concepts81.txt",
    ],
)
def test_a_missing_file_is_named(drawn: Path, file: str) -> None:
    (drawn / file).unlink()
    with pytest.raises(UserError, match=f"{file} cannot be read: No such file"):
        NusWide(str(drawn))


def test_a_set_without_any_ground_truth_says_what_is_missing(drawn: Path) -> None:
    for file in (drawn / TRUTHS).iterdir():
        file.unlink()
    with pytest.raises(UserError, match=r"no concept of .*Concepts81\.txt has a .*Labels_<concept>_Train\.txt"):
        NusWide(str(drawn))


def test_a_missing_image_is_met_when_it_is_read(drawn: Path) -> None:
    (drawn / "nuswide/Flickr/bear/0002_22.jpg").unlink()
    source = NusWide(str(drawn))
    with pytest.raises(UnreadableImage) as caught:
        source.read(1)
    assert caught.value.kind == "missing"


def test_an_absent_set_names_the_folder_and_where_to_read_of_it(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        NusWide(str(tmp_path))
    assert str(tmp_path / "nuswide") in caught.value.message and "retdm/data/sets/nuswide.py" in caught.value.hint
