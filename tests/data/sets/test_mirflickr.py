"""MIRFLICKR-25000: annotations and download."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from retdm.data import download
from retdm.data.images import UnreadableImage
from retdm.data.sets import mirflickr
from retdm.data.sets.mirflickr import MirFlickr
from retdm.data.source import Counts, Source
from retdm.errors import UserError

FILES = {"baby.txt": "1\n3\n", "sky.txt": "10\n1\n4\n", "baby_r1.txt": "3\n"}


@pytest.fixture
def drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A root with twelve images, two potential labels and one relevant."""
    folder = tmp_path / "mirflickr"
    (folder / "annotations").mkdir(parents=True)
    for number in range(1, 13):
        Image.new("RGB", (number, 5)).save(folder / f"im{number}.jpg")
    for name, content in FILES.items():
        (folder / "annotations" / name).write_text(content)
    counts = {"potential": Counts(12, {"baby": 2, "sky": 3}, 4), "relevant": Counts(12, {"baby": 1}, 2)}
    monkeypatch.setattr(MirFlickr, "counts", counts)
    return tmp_path


def test_a_drawn_folder_opens_as_a_source(drawn: Path) -> None:
    source = MirFlickr(str(drawn))
    assert isinstance(source, Source)
    assert source.names == ["baby", "sky"] and source.ids == [f"im{number}.jpg" for number in range(1, 13)]
    assert np.argwhere(source.targets).tolist() == [[0, 0], [0, 1], [2, 0], [3, 1], [9, 1]]
    assert source.targets.dtype == np.uint8 and source.targets.shape == (12, 2)
    assert source.known.all() and source.known.shape == (12, 2) and source.split is None
    assert [source.read(i).width for i in range(12)] == list(range(1, 13))


def test_relevant_labels_come_from_their_own_files_and_share_the_images(drawn: Path) -> None:
    source = MirFlickr(str(drawn), labels="relevant")
    assert source.names == ["baby"] and np.argwhere(source.targets).tolist() == [[2, 0]]
    assert source.fingerprint == MirFlickr(str(drawn)).fingerprint


def test_the_published_counts_are_expected_by_default() -> None:
    potential, relevant = MirFlickr.counts["potential"], MirFlickr.counts["relevant"]
    assert (len(potential.labels), len(relevant.labels)) == (24, 14)
    assert potential.images == relevant.images == 25_000
    assert set(relevant.labels) < set(potential.labels)
    assert [potential.labels[label] for label in ("sky", "clouds", "people", "water")] == [7912, 3700, 10373, 3331]
    assert [relevant.labels[label] for label in ("clouds", "people", "baby")] == [1350, 7849, 116]
    assert sum(potential.labels.values()) == 92_902  # 3.716 an image


@pytest.mark.parametrize("place", [".", "mirflickr25k_annotations_v080", "mirflickr"])
def test_annotations_may_lie_where_their_archive_was_unpacked(drawn: Path, place: str) -> None:
    folder = drawn / "mirflickr"
    (folder / place).mkdir(exist_ok=True)
    for name in FILES:
        (folder / "annotations" / name).rename(folder / place / name)
    assert MirFlickr(str(drawn)).targets.sum() == 5


def test_images_may_lie_one_folder_deeper(drawn: Path) -> None:
    (drawn / "mirflickr/mirflickr").mkdir()
    for image in (drawn / "mirflickr").glob("*.jpg"):
        image.rename(drawn / "mirflickr/mirflickr" / image.name)
    source = MirFlickr(str(drawn))
    assert source.ids[8] == "mirflickr/im9.jpg" and source.read(8).width == 9


def test_a_missing_image_is_met_when_it_is_read(drawn: Path) -> None:
    (drawn / "mirflickr/im7.jpg").unlink()
    source = MirFlickr(str(drawn))
    with pytest.raises(UnreadableImage, match=r"im7\.jpg") as caught:
        source.read(6)
    assert caught.value.kind == "missing" and len(source) == 12


@pytest.mark.parametrize("line", ["0", "13", "-1", "im4.jpg", "", "1.5"])
def test_a_line_that_is_no_image_is_named(drawn: Path, line: str) -> None:
    (drawn / "mirflickr/annotations/sky.txt").write_text(f"10\n{line}\n4\n")
    with pytest.raises(UserError, match=rf"sky\.txt, line 2: '{line}' is no image's number \(1 to 12\)"):
        MirFlickr(str(drawn))


def test_other_counts_of_a_label_are_refused_by_its_name(drawn: Path) -> None:
    (drawn / "mirflickr/annotations/sky.txt").write_text("10\n1\n10\n")  # a number twice is one image
    with pytest.raises(UserError, match="2 images have sky, expected 3"):
        MirFlickr(str(drawn))


def test_a_missing_annotation_is_named(drawn: Path) -> None:
    (drawn / "mirflickr/annotations/sky.txt").unlink()
    with pytest.raises(UserError, match=r"annotations/sky\.txt cannot be read: No such file"):
        MirFlickr(str(drawn))


def test_an_absent_set_names_folder_addresses_and_key(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        MirFlickr(str(tmp_path))
    for word in (str(tmp_path / "mirflickr"), mirflickr.IMAGES, mirflickr.ANNOTATIONS, "data.download=true"):
        assert word in str(caught.value)


def test_the_published_archives_become_a_set_that_opens(drawn: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(address: str, target: Path) -> Path:
        with zipfile.ZipFile(target, "w") as archive:
            if address == mirflickr.IMAGES:
                archive.writestr("mirflickr/meta/license/license1.txt", "terms")
                for image in (drawn / "mirflickr").glob("*.jpg"):
                    archive.write(image, f"mirflickr/{image.name}")
            else:
                assert address == mirflickr.ANNOTATIONS
                for name, content in {"README.txt": "read me", **FILES}.items():
                    archive.writestr(name, content)
        return target

    monkeypatch.setattr(download, "fetch", fetch)
    source = MirFlickr(str(drawn / "new"), download=True)
    assert (source.targets == MirFlickr(str(drawn)).targets).all() and source.read(9).width == 10
    assert (drawn / "new/mirflickr/meta/license/license1.txt").read_text() == "terms"
    assert sorted(path.name for path in (drawn / "new").iterdir() if path.suffix != ".zip") == [
        "mirflickr",
        "mirflickr.lock",
    ]
