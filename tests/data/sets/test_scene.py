"""Scene: the layout, what is checked of it, and its download."""

import os
import struct
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from makers import make_scene, write_scene_targets
from PIL import Image

from retdm.data import download
from retdm.data.sets import scene
from retdm.data.sets.scene import Scene
from retdm.data.source import Counts, Source, data_root
from retdm.errors import UserError


@pytest.fixture
def drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A root with a small Scene that opens."""
    monkeypatch.setattr(Scene, "counts", make_scene(tmp_path))
    return tmp_path


# ---- the set


def test_a_drawn_folder_opens_as_a_source(drawn: Path) -> None:
    source = Scene(str(drawn))
    assert isinstance(source, Source)
    assert source.names == ["desert", "mountains", "sea", "sunset", "trees"]
    assert source.ids == [f"original/{number}.jpg" for number in range(1, 13)]
    assert source.targets.dtype == np.uint8 and source.targets.shape == (12, 5)
    assert source.known.all() and source.known.shape == (12, 5) and source.split is None
    assert source.read(0).mode == "RGB" and source.read(0).size == (48, 40)


def test_column_i_of_the_targets_belongs_to_image_i_plus_one(drawn: Path) -> None:
    signs = -np.ones((12, 5), int)
    signs[1, 2] = signs[9, 4] = 1  # 2.jpg is sea, 10.jpg is trees; a listing by name has 10.jpg second
    write_scene_targets(drawn / "scene/processed/miml data.mat", signs)
    Image.new("RGB", (7, 5)).save(drawn / "scene/original/10.jpg")
    Scene.counts = Counts(12, {"desert": 0, "mountains": 0, "sea": 1, "sunset": 0, "trees": 1}, 3)
    source = Scene(str(drawn))
    assert np.argwhere(source.targets).tolist() == [[1, 2], [9, 4]]
    assert [i for i in range(12) if source.read(i).size == (7, 5)] == [9]


def test_the_published_counts_are_expected_by_default() -> None:
    labels = {"desert": 409, "mountains": 458, "sea": 580, "sunset": 465, "trees": 560}
    assert Scene.counts == Counts(2000, labels, 20)


def test_an_absent_set_names_folder_address_and_key(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        Scene(str(tmp_path))
    for word in (str(tmp_path / "scene"), scene.ADDRESS, "data.download=true"):
        assert word in str(caught.value)


def test_a_missing_image_and_one_too_many_are_named_with_both_counts(drawn: Path) -> None:
    Image.new("RGB", (4, 4)).save(drawn / "scene/original/13.jpg")
    with pytest.raises(UserError, match=r"has 13 images, expected 12 .*first too many: 13\.jpg"):
        Scene(str(drawn))
    (drawn / "scene/original/13.jpg").unlink()
    (drawn / "scene/original/7.jpg").unlink()
    with pytest.raises(UserError, match=r"has 11 images, expected 12 .*first missing: 7\.jpg"):
        Scene(str(drawn))


def test_files_of_the_system_beside_the_images_do_not_matter(drawn: Path) -> None:
    (drawn / "scene/original/Thumbs.db").touch()
    (drawn / "scene/original/._1.jpg").touch()
    assert len(Scene(str(drawn))) == 12


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda signs: signs[:-1], r"targets are 5 x 11, expected 5 x 12"),
        (lambda signs: np.where(signs < 0, 0, signs), r"targets hold 0, expected only -1 and 1"),
        (lambda signs: -signs, r"4 images have mountains, expected 8"),
    ],
)
def test_targets_that_are_not_the_published_ones_are_refused(
    drawn: Path, change: Callable[[np.ndarray], np.ndarray], message: str
) -> None:
    file = drawn / "scene/processed/miml data.mat"
    write_scene_targets(file, change(2 * Scene(str(drawn)).targets.astype(int) - 1))
    with pytest.raises(UserError, match=r"miml data\.mat: " + message):
        Scene(str(drawn))


def test_label_sets_are_counted_and_labels_stand_in_their_order(drawn: Path) -> None:
    labels, sets = Scene.counts.labels, Scene.counts.label_sets
    Scene.counts = Counts(12, labels, sets + 1)
    with pytest.raises(UserError, match="distinct label sets are"):
        Scene(str(drawn))
    Scene.counts = Counts(12, dict(reversed(list(labels.items()))), sets)
    with pytest.raises(UserError, match="labels are"):
        Scene(str(drawn))


@pytest.mark.parametrize("content", [None, b"", b"no matlab"])
def test_a_broken_or_missing_target_file_is_named(drawn: Path, content: bytes | None) -> None:
    file = drawn / "scene/processed/miml data.mat"
    file.unlink()
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UserError, match=r"miml data\.mat cannot be read"):
        Scene(str(drawn))


def test_the_fingerprint_follows_the_files_and_not_the_folder(drawn: Path, tmp_path: Path) -> None:
    before = Scene(str(drawn)).fingerprint
    (drawn / "scene").rename(drawn / "aside")
    (drawn / "elsewhere").mkdir()
    (drawn / "aside").rename(drawn / "elsewhere" / "scene")
    moved = Scene(str(drawn / "elsewhere"))
    assert moved.fingerprint == before
    image = moved.folder / "original/3.jpg"
    os.utime(image, ns=(1, 1))  # as a copy would
    assert Scene(str(drawn / "elsewhere")).fingerprint == before
    image.write_bytes(image.read_bytes() + b" ")
    assert Scene(str(drawn / "elsewhere")).fingerprint != before


def test_the_root_is_the_argument_then_the_environment_then_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RETDM_DATA", "/from/environment")
    assert data_root("/given") == Path("/given")
    assert data_root(None) == Path("/from/environment")
    monkeypatch.setenv("RETDM_DATA", "")
    assert data_root(None) == Path("data")


# ---- getting it


def rar(members: dict[str, bytes]) -> bytes:
    """A rar (version 2.9) that stores its members uncompressed."""

    def block(kind: int, flags: int, body: bytes) -> bytes:
        head = struct.pack("<BHH", kind, flags, 7 + len(body)) + body
        return struct.pack("<H", zlib.crc32(head) & 0xFFFF) + head

    out = b"Rar!\x1a\x07\x00" + block(0x73, 0, bytes(6))
    for name, data in members.items():
        size = len(data)
        fields = struct.pack("<IIBIIBBHI", size, size, 3, zlib.crc32(data), 0x5A21_0000, 29, 0x30, len(name), 0o100644)
        out += block(0x74, 0x8000, fields + name.encode()) + data
    return out + block(0x7B, 0, b"")


def published(folder: Path) -> bytes:
    """A drawn set as the publisher packs it: a rar that holds original.rar and processed.rar."""
    inner = {}
    for part in ("original", "processed"):
        files = sorted((folder / part).iterdir())
        inner[f"{part}.rar"] = rar({f"{part}\\{file.name}": file.read_bytes() for file in files})
    return rar(inner)


@pytest.mark.skipif(download.shutil.which("bsdtar") is None, reason="bsdtar is not installed")
def test_a_rar_of_rars_becomes_a_set_that_opens(drawn: Path, tmp_path: Path) -> None:
    expected = Scene(str(drawn))
    root = tmp_path / "new"
    root.mkdir()
    (root / "miml-image-data.rar").write_bytes(published(drawn / "scene"))  # put there by hand: nothing to download
    got = Scene(str(root), download=True)
    assert (got.targets == expected.targets).all()
    assert all(got.read(i).tobytes() == expected.read(i).tobytes() for i in range(12))
    assert sorted(file.name for file in root.iterdir()) == ["miml-image-data.rar", "scene", "scene.lock"]


@pytest.fixture
def by_tar(monkeypatch: pytest.MonkeyPatch) -> None:
    """The system's unpacker is replaced by Python's tar reader, so that a tar named .rar unpacks on every machine."""

    def untar(archive: Path, folder: Path) -> None:
        with tarfile.open(archive) as opened:
            opened.extractall(folder, filter="data")

    monkeypatch.setattr(download, "_unpack_by_system", untar)


def tar_of(folder: Path, target: Path) -> None:
    """``target`` as a tar of tars that are named rar."""
    for part in ("original", "processed"):
        with tarfile.open(target.with_name(f"{part}.rar"), "w") as inner:
            inner.add(folder / part, arcname=".")  # without a folder of its own inside
    with tarfile.open(target, "w") as outer:
        for part in ("original", "processed"):
            outer.add(target.with_name(f"{part}.rar"), arcname=f"deep/{part}.rar")
            target.with_name(f"{part}.rar").unlink()


def test_an_archive_without_inner_folders_becomes_a_set(drawn: Path, tmp_path: Path, by_tar: None) -> None:
    root = tmp_path / "new"
    root.mkdir()
    tar_of(drawn / "scene", root / "miml-image-data.rar")
    assert (Scene(str(root), download=True).targets == Scene(str(drawn)).targets).all()


def test_who_waited_for_another_to_get_the_set_finds_it_there(drawn: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (drawn / "scene").rename(drawn / "aside")

    @contextmanager
    def slow(_: Path) -> Iterator[None]:
        (drawn / "aside").rename(drawn / "scene")  # the other one finishes while we wait
        yield

    monkeypatch.setattr(download, "locked", slow)
    monkeypatch.setattr(download, "fetch", lambda *_: pytest.fail("downloaded twice"))
    assert len(Scene(str(drawn), download=True)) == 12


def test_an_archive_of_the_wrong_images_leaves_no_set_behind(drawn: Path, tmp_path: Path, by_tar: None) -> None:
    root = tmp_path / "new"
    root.mkdir()
    (drawn / "scene/original/5.jpg").unlink()
    tar_of(drawn / "scene", root / "miml-image-data.rar")
    with pytest.raises(UserError, match=r"first missing: 5\.jpg"):
        Scene(str(root), download=True)
    assert sorted(file.name for file in root.iterdir()) == ["miml-image-data.rar", "scene.lock"]


def test_an_archive_of_something_else_says_what_is_missing(tmp_path: Path, by_tar: None) -> None:
    (tmp_path / "readme.txt").touch()
    with tarfile.open(tmp_path / "miml-image-data.rar", "w") as archive:
        archive.add(tmp_path / "readme.txt", arcname="readme.txt")
    with pytest.raises(UserError, match=r"miml-image-data\.rar: 1\.jpg is not in there"):
        Scene(str(tmp_path), download=True)


def test_a_set_that_is_there_is_never_downloaded(drawn: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "fetch", lambda *_: pytest.fail("asked the network"))
    (drawn / "scene/original/5.jpg").unlink()
    with pytest.raises(UserError, match="first missing"):
        Scene(str(drawn), download=True)


def test_a_root_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "root").touch()  # a file where a folder should be
    with pytest.raises(UserError, match=f"cannot write in {tmp_path / 'root'}"):
        Scene(str(tmp_path / "root"), download=True)
