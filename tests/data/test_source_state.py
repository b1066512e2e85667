"""What data is known by: the contents of its files and its labels, wherever they lie."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from retdm.data import image_cache as cache
from retdm.data.image_cache import open_images
from retdm.data.source import ImageFiles, fingerprint_of, stamps_of, state_of
from retdm.data.synthetic.source import Synthetic

LARGE = 100_000  # bytes; above what is hashed whole of a compressed file


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "set").mkdir()
    rng = np.random.default_rng(0)
    for name in ("a.bmp", "b.jpg", "c.png"):
        (tmp_path / "set" / name).write_bytes(rng.bytes(LARGE))
    return tmp_path / "set"


def flip(file: Path, place: int) -> None:
    """Change one byte, and neither size nor time."""
    times = file.stat()
    with file.open("r+b") as opened:
        opened.seek(place)
        byte = opened.read(1)[0]
        opened.seek(place)
        opened.write(bytes([byte ^ 1]))
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))


@pytest.mark.parametrize(
    ("name", "place"), [("a.bmp", place) for place in range(0, LARGE, 9_973)] + [("b.jpg", 0), ("c.png", LARGE - 1)]
)
def test_another_byte_gives_another_fingerprint(folder: Path, name: str, place: int) -> None:
    files = ["a.bmp", "b.jpg", "c.png"]
    before, stamps = fingerprint_of("x", folder, files), stamps_of(folder, files)
    flip(folder / name, place)
    assert fingerprint_of("x", folder, files) != before
    assert (stamps_of(folder, files) != stamps).tolist() == [file == name for file in files]


def test_of_a_large_compressed_file_pieces_are_read_so_close_that_no_larger_change_fits_between(folder: Path) -> None:
    before = stamps_of(folder, ["b.jpg"])
    content = (folder / "b.jpg").read_bytes()
    for start in range(0, LARGE - 7_000, 3_000):
        (folder / "b.jpg").write_bytes(content[:start] + bytes(7_000) + content[start + 7_000 :])
        assert stamps_of(folder, ["b.jpg"]) != before


def test_the_fingerprint_follows_name_and_order_and_not_place_or_time(folder: Path, tmp_path: Path) -> None:
    before = fingerprint_of("x", folder, ["a.bmp", "b.jpg"])
    assert fingerprint_of("y", folder, ["a.bmp", "b.jpg"]) != before
    assert fingerprint_of("x", folder, ["b.jpg", "a.bmp"]) != before, "rows of a cache would be those of others"
    shutil.copytree(folder, tmp_path / "copied", copy_function=shutil.copyfile)
    assert fingerprint_of("x", tmp_path / "copied", ["a.bmp", "b.jpg"]) == before


def test_what_is_no_file_has_no_stamp_and_is_not_waited_for(folder: Path) -> None:
    os.mkfifo(folder / "pipe.jpg")
    (folder / "dangling.jpg").symlink_to(folder / "gone")
    names = ["pipe.jpg", "dangling.jpg", ".", "gone.jpg", "nul\0.jpg", "b.jpg"]
    assert (stamps_of(folder, names) > 0).tolist() == [False] * 5 + [True]


def test_names_rows_and_every_cell_are_in_the_state() -> None:
    def state(change: Callable[[Synthetic], None]) -> str:
        source = Synthetic(6)
        change(source)
        return state_of(source)["labels"]

    def forget(source: Synthetic) -> None:
        source.known[2, 1] = False

    def flip_unknown(source: Synthetic) -> None:
        forget(source)
        source.targets[2, 1] ^= 1

    def flip_cell(source: Synthetic) -> None:
        source.targets[2, 1] ^= 1

    def rename(source: Synthetic) -> None:
        source.names[0] = "dune"

    def swap(source: Synthetic) -> None:
        source.ids.reverse()

    found = [state(change) for change in (lambda source: None, forget, flip_cell, rename, swap)]
    assert len(set(found)) == 5
    assert state(flip_unknown) == state(forget) and state(lambda source: None) == found[0]


class Photographs(ImageFiles):
    """Eight images of one size."""

    names = ["a"]
    targets, known = np.zeros((8, 1), np.uint8), np.ones((8, 1), bool)

    def __init__(self, folder: Path) -> None:
        self.folder, self.ids = folder, [f"{i}.bmp" for i in range(8)]
        self.fingerprint = fingerprint_of(type(self).__name__, folder, self.ids)


class Mirrored(Photographs):
    def read(self, i: int) -> Image.Image:
        return super().read(i).transpose(Image.Transpose.FLIP_LEFT_RIGHT)


def test_a_changed_image_is_seen_and_costs_one_decoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def draw(row: int, seed: int) -> None:
        pixels = np.random.default_rng(seed).integers(0, 256, (20, 20, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{row}.bmp")

    def opened(kind: type[Photographs] = Photographs) -> tuple[np.ndarray, list[str]]:
        (tmp_path / "decoded").write_text("")
        images, _ = open_images(kind(tmp_path), 20, tmp_path / "cache")
        return np.stack([images[row] for row in range(8)]), sorted((tmp_path / "decoded").read_text().split())

    decode = cache.DecodedImages.__getitem__

    def noted(images: cache.DecodedImages, row: int) -> np.ndarray:
        with (tmp_path / "decoded").open("a") as file:  # by another process
            file.write(f"{row}\n")
        return decode(images, row)

    monkeypatch.setattr(cache.DecodedImages, "__getitem__", noted)
    for row in range(8):
        draw(row, row)
    first, decoded = opened()
    assert decoded == list("01234567")
    draw(5, 55)
    (tmp_path / "2.bmp").write_bytes(b"no image")
    second, decoded = opened()
    assert decoded == ["2", "5"]
    assert [row for row in range(8) if (first[row] != second[row]).any()] == [2, 5]
    draw(2, 2)
    third, decoded = opened()
    assert decoded == []  # the first cache has it
    assert [row for row in range(8) if (first[row] != third[row]).any()] == [5]
    mirrored, decoded = opened(Mirrored)  # whose images its files alone do not tell
    assert decoded == list("01234567") and np.array_equal(mirrored, third[:, :, ::-1])


def test_rows_with_changed_bytes_are_not_taken_over(tmp_path: Path) -> None:
    for row in range(8):
        Image.new("RGB", (20, 20), (row, 0, 0)).save(tmp_path / f"{row}.bmp")
    images, _ = open_images(Photographs(tmp_path), 20, tmp_path / "cache")
    content = bytearray(images.blocks.file.read_bytes())
    content[1200 * 3] ^= 8
    images.blocks.file.write_bytes(content)
    Image.new("RGB", (20, 20), (200, 0, 0)).save(tmp_path / "7.bmp")
    images, _ = open_images(Photographs(tmp_path), 20, tmp_path / "cache")
    assert [int(images[row][0, 0, 0]) for row in range(8)] == [0, 1, 2, 3, 4, 5, 6, 200]
