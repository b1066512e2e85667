"""MSRC v2: labels and masks from the ground truth's colours."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from retdm.data import download
from retdm.data.images import UnreadableImage
from retdm.data.sets import msrcv2
from retdm.data.sets.msrcv2 import COLOURS, VOID, MsrcV2
from retdm.data.source import Counts, Source
from retdm.errors import UserError

# Left and right half of each drawn ground truth; 1_10 follows 1_2, not 1_1.
HALVES = {"1_1": ("cow", "grass"), "1_2": ("sky", "void"), "1_10": ("boat", "cow"), "2_1": ("grass", "cow")}


def truth_of(name: str) -> Image.Image:
    """16 x 8 pixels of two colours."""
    pixels = np.empty((8, 16, 3), np.uint8)
    for half, label in zip((pixels[:, :8], pixels[:, 8:]), HALVES[name], strict=True):
        half[:] = {"void": VOID, **COLOURS}[label]
    return Image.fromarray(pixels)


@pytest.fixture
def drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A root with a small MSRC v2 that opens."""
    for folder in ("Images", "GroundTruth"):
        (tmp_path / "msrcv2" / folder).mkdir(parents=True)
    for number, name in enumerate(HALVES):
        Image.new("RGB", (16, 8), (number, 0, 0)).save(tmp_path / f"msrcv2/Images/{name}_s.bmp")
        truth_of(name).save(tmp_path / f"msrcv2/GroundTruth/{name}_s_GT.bmp")
    (tmp_path / "msrcv2/GroundTruth/Thumbs.db").touch()
    labels = {**dict.fromkeys(COLOURS, 0), "cow": 3, "grass": 2, "sky": 1, "boat": 1}
    monkeypatch.setattr(MsrcV2, "counts", Counts(4, labels, 3))
    return tmp_path


def labels_of(source: MsrcV2) -> list[set[str]]:
    return [{source.names[column] for column in np.flatnonzero(row)} for row in source.targets]


def test_a_drawn_folder_opens_as_a_source(drawn: Path) -> None:
    source = MsrcV2(str(drawn))
    assert isinstance(source, Source)
    assert source.ids == [f"Images/{name}_s.bmp" for name in HALVES]
    assert source.names[:3] == ["building", "grass", "tree"] and source.names[-1] == "boat"
    assert labels_of(source) == [{"cow", "grass"}, {"sky"}, {"boat", "cow"}, {"grass", "cow"}]
    assert source.targets.dtype == np.uint8 and source.targets.shape == (4, 23)
    assert source.known.all() and source.known.shape == (4, 23) and source.split is None
    assert [source.read(i).getpixel((0, 0)) for i in range(4)] == [(i, 0, 0) for i in range(4)]


def test_the_published_counts_are_expected_by_default() -> None:
    assert MsrcV2.counts.images == 591 and MsrcV2.counts.label_sets == 143
    assert list(MsrcV2.counts.labels) == list(COLOURS)
    assert sum(MsrcV2.counts.labels.values()) == 1482  # 2.508 an image
    assert len({VOID, *COLOURS.values()}) == 24


@pytest.mark.parametrize("mode", ["RGB", "P"])
def test_copies_as_png_and_jpeg_are_the_same_set(drawn: Path, mode: str) -> None:
    expected = MsrcV2(str(drawn))
    masks = expected.masks(1)
    for file in [*(drawn / "msrcv2").rglob("*.bmp")]:
        image = Image.open(file)
        if file.parent.name == "Images":
            image.save(file.with_suffix(".jpg"))
        else:
            image.convert(mode, palette=Image.Palette.ADAPTIVE).save(file.with_suffix(".png"))
        file.unlink()
    source = MsrcV2(str(drawn))
    assert source.ids == [f"Images/{name}_s.jpg" for name in HALVES] and source.read(3).size == (16, 8)
    assert (source.targets == expected.targets).all()
    assert (source.masks(1) == masks).all()


def test_masks_say_where_each_label_is_and_void_is_in_none(drawn: Path) -> None:
    source = MsrcV2(str(drawn))
    cow, sky = source.names.index("cow"), source.names.index("sky")
    masks = source.masks(0)
    assert masks.shape == (23, 8, 16) and masks.dtype == bool
    assert masks[cow, :, :8].all() and not masks[cow, :, 8:].any()
    assert (masks.sum(axis=0) == 1).all()
    assert source.masks(1)[sky, :, :8].all() and not source.masks(1)[:, :, 8:].any()


@pytest.mark.parametrize("colours", [1, 300])
def test_a_colour_of_no_label_is_named_with_its_file(drawn: Path, colours: int) -> None:
    file = drawn / "msrcv2/GroundTruth/1_2_s_GT.bmp"
    pixels = np.zeros((1, colours, 3), np.uint8)
    pixels[0, :, 1], pixels[0, :, 2] = 1 + np.arange(colours) // 256, np.arange(colours) % 256
    Image.fromarray(pixels).save(file)
    with pytest.raises(UserError, match=rf"1_2_s_GT\.bmp: colour \(0, 1, 0\) is no label's \({colours} such colours\)"):
        MsrcV2(str(drawn))


def test_other_counts_of_a_label_are_refused_by_its_name(drawn: Path) -> None:
    truth_of("1_2").save(drawn / "msrcv2/GroundTruth/2_1_s_GT.bmp")
    with pytest.raises(UserError, match="1 images have grass, expected 2"):
        MsrcV2(str(drawn))


def test_a_missing_ground_truth_is_named_by_its_image(drawn: Path) -> None:
    (drawn / "msrcv2/GroundTruth/1_10_s_GT.bmp").unlink()
    with pytest.raises(UserError, match=r"has 3 ground truths .*expected 4; first image without one: 1_10_s\.bmp"):
        MsrcV2(str(drawn))


def test_a_broken_ground_truth_cannot_be_skipped_as_an_image_can(drawn: Path) -> None:
    (drawn / "msrcv2/GroundTruth/1_1_s_GT.bmp").write_bytes(b"BM broken")
    with pytest.raises(UserError, match=r"1_1_s_GT\.bmp cannot be read") as caught:
        MsrcV2(str(drawn))
    assert not isinstance(caught.value, UnreadableImage) and "on_unreadable" not in caught.value.hint


def test_a_missing_image_is_met_when_it_is_read(drawn: Path) -> None:
    (drawn / "msrcv2/Images/1_2_s.bmp").unlink()
    source = MsrcV2(str(drawn))
    assert source.ids[1] == "Images/1_2_s.bmp"
    with pytest.raises(UnreadableImage) as caught:
        source.read(1)
    assert caught.value.kind == "missing"


def test_the_fingerprint_follows_the_files_and_not_the_folder(drawn: Path) -> None:
    before = MsrcV2(str(drawn)).fingerprint
    (drawn / "elsewhere").mkdir()
    (drawn / "msrcv2").rename(drawn / "elsewhere/msrcv2")
    assert MsrcV2(str(drawn / "elsewhere")).fingerprint == before
    with (drawn / "elsewhere/msrcv2/GroundTruth/1_1_s_GT.bmp").open("ab") as file:
        file.write(b" ")
    assert MsrcV2(str(drawn / "elsewhere")).fingerprint != before


def test_an_absent_set_names_folder_address_and_key(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        MsrcV2(str(tmp_path))
    for word in (str(tmp_path / "msrcv2"), msrcv2.ADDRESS, "data.download=true"):
        assert word in str(caught.value)


def packed(folder: Path, archive: Path) -> Path:
    """``folder`` as the publisher packs it: in a folder of its own, with the licence."""
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("MSRC_ObjCategImageDatabase_v2/licence.rtf", "terms")
        for path in folder.rglob("*.bmp"):
            file.write(path, f"MSRC_ObjCategImageDatabase_v2/{path.relative_to(folder)}")
    return archive


def test_the_published_archive_becomes_a_set_that_opens(drawn: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    archive = packed(drawn / "msrcv2", drawn / "here.zip")

    def fetch(address: str, target: Path) -> Path:
        asked.append(address)
        return archive.rename(target)

    monkeypatch.setattr(download, "fetch", fetch)
    root = drawn / "new"
    source = MsrcV2(str(root), download=True)
    assert asked == [msrcv2.ADDRESS]
    assert (source.targets == MsrcV2(str(drawn)).targets).all() and source.read(2).getpixel((0, 0)) == (2, 0, 0)
    assert (root / "msrcv2/licence.rtf").read_text() == "terms"
    assert sorted(path.name for path in root.iterdir()) == [
        "msrc_objcategimagedatabase_v2.zip",
        "msrcv2",
        "msrcv2.lock",
    ]
    MsrcV2(str(root), download=True)
    assert len(asked) == 1


def test_an_archive_that_is_not_the_set_leaves_none_behind(drawn: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (drawn / "msrcv2/GroundTruth/2_1_s_GT.bmp").unlink()
    archive = packed(drawn / "msrcv2", drawn / "here.zip")
    monkeypatch.setattr(download, "fetch", lambda _, target: archive)
    with pytest.raises(UserError, match="has 3 ground truths"):
        MsrcV2(str(drawn / "new"), download=True)
    assert [path.name for path in (drawn / "new").iterdir()] == ["msrcv2.lock"]
