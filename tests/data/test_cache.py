import errno
import multiprocessing
import shutil
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from retdm.data import cache
from retdm.data.cache import open_cache
from retdm.data.source import UnreadableImage
from retdm.errors import UserError

COUNT, SIDE = 20, 12


class Drawn:
    """20 images of one size each; writes down which ones were read, whatever process read them."""

    names, split = ["a"], None
    targets = np.zeros((COUNT, 1), np.uint8)
    known = np.ones((COUNT, 1), bool)
    ids = [str(i) for i in range(COUNT)]

    def __init__(self, notes: Path, fingerprint: str = "drawn", unreadable: tuple[int, ...] = (), breaks: int = -1):
        self.notes, self.fingerprint, self.unreadable, self.breaks = notes, fingerprint, unreadable, breaks

    def __len__(self) -> int:
        return COUNT

    def read(self, i: int) -> Image.Image:
        with self.notes.open("a") as file:
            file.write(f"{i}\n")
        if i == self.breaks:
            raise RuntimeError("the power fails")
        if i in self.unreadable:
            raise UnreadableImage(f"image {i} is broken", "mend it")
        return Image.fromarray(self.pixels(i))

    @staticmethod
    def pixels(i: int) -> np.ndarray:
        side = SIDE if i % 2 else 2 * SIDE
        return np.random.default_rng(i).integers(0, 256, (side, side + (side - SIDE), 3), dtype=np.uint8)

    def reads(self) -> Counter[str]:
        return Counter(self.notes.read_text().split()) if self.notes.exists() else Counter()


@pytest.fixture
def source(tmp_path: Path) -> Drawn:
    return Drawn(tmp_path / "reads.txt")


ONCE = Counter(map(str, range(COUNT)))


def test_images_are_decoded_once_at_the_asked_side(source: Drawn, tmp_path: Path) -> None:
    cached = open_cache(source, SIDE, tmp_path / "new" / "cache")
    assert cached.pixels.shape == (COUNT, SIDE, SIDE, 3)
    assert cached.pixels.dtype == np.uint8
    for i in range(COUNT):
        image = Image.fromarray(source.pixels(i)).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
        assert np.array_equal(cached.pixels[i], np.asarray(image))
    again = open_cache(source, SIDE, tmp_path / "new" / "cache")
    assert np.array_equal(again.pixels, cached.pixels)
    assert source.reads() == ONCE


def test_pixels_cannot_be_written_by_mistake(source: Drawn, tmp_path: Path) -> None:
    cached = open_cache(source, SIDE, tmp_path)
    with pytest.raises(ValueError, match="read-only"):
        cached.pixels[0] = 0


def test_another_side_or_source_has_a_cache_of_its_own(source: Drawn, tmp_path: Path) -> None:
    first = open_cache(source, SIDE, tmp_path)
    assert open_cache(source, SIDE + 1, tmp_path).pixels.shape == (COUNT, SIDE + 1, SIDE + 1, 3)
    assert open_cache(Drawn(source.notes, "changed"), SIDE, tmp_path).key != first.key
    assert source.reads() == Counter({str(i): 3 for i in range(COUNT)})


def test_unreadable_images_are_black_and_named_also_by_the_second_opening(tmp_path: Path) -> None:
    source = Drawn(tmp_path / "reads.txt", unreadable=(3, 17))
    for _ in range(2):
        cached = open_cache(source, SIDE, tmp_path)
        assert cached.faults == {3: "image 3 is broken", 17: "image 17 is broken"}
        assert not cached.pixels[[3, 17]].any()
        assert np.array_equal(cached.pixels[5], source.pixels(5))
    assert source.reads() == ONCE


def test_a_build_that_dies_half_way_leaves_nothing_that_looks_finished(source: Drawn, tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    breaking = Drawn(source.notes, breaks=11)
    process = multiprocessing.get_context("fork").Process(target=open_cache, args=(breaking, SIDE, folder))
    process.start()
    process.join(60)
    assert process.exitcode == 1
    assert source.reads()["11"] == 1
    assert not list(folder.glob("*.json"))
    assert not list(folder.glob("*.uint8"))
    cached = open_cache(source, SIDE, folder)  # its lock died with it, and the next one builds it all
    assert np.array_equal(cached.pixels[19], source.pixels(19))


def test_a_build_that_was_killed_between_its_two_files_is_done_again(source: Drawn, tmp_path: Path) -> None:
    first = open_cache(source, SIDE, tmp_path)
    (tmp_path / f"{first.key}.json").unlink()
    (tmp_path / f"{first.key}.uint8").write_bytes(b"half")
    assert np.array_equal(open_cache(source, SIDE, tmp_path).pixels[19], source.pixels(19))


def test_of_two_processes_that_ask_at_once_one_builds_and_both_get_it(source: Drawn, tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    barrier, results = context.Barrier(2), context.Queue()

    def ask() -> None:
        barrier.wait()
        results.put(int(open_cache(source, SIDE, tmp_path / "cache").pixels[19].sum()))

    processes = [context.Process(target=ask) for _ in range(2)]
    for process in processes:
        process.start()
    sums = {results.get(timeout=60) for _ in processes}
    for process in processes:
        process.join(60)
    assert sums == {int(source.pixels(19).sum())}
    assert source.reads() == ONCE


def test_a_cache_in_a_place_that_cannot_be_a_folder_is_the_users_to_mend(source: Drawn, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot be written: .*file/cache: Not a directory") as error:
        open_cache(source, SIDE, tmp_path / "file" / "cache")
    assert "data.cache=" in error.value.hint


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.ENOSPC])
def test_a_folder_that_refuses_to_be_written_is_the_users_to_mend(
    source: Drawn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*args: object) -> None:
        raise OSError(number, "refused", str(tmp_path))

    monkeypatch.setattr(cache, "_build", refuse)
    with pytest.raises(UserError, match="cannot be written"):
        open_cache(source, SIDE, tmp_path)


def test_a_disk_that_is_too_small_is_said_before_any_image_is_read(
    source: Drawn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need = COUNT * SIDE * SIDE * 3
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=need - 1))
    with pytest.raises(UserError, match="the image cache needs 0.0 GB"):
        open_cache(source, SIDE, tmp_path)
    assert source.reads() == Counter()
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=need))
    open_cache(source, SIDE, tmp_path)


@pytest.mark.parametrize("damage", ["short", "gone"])
def test_a_damaged_cache_is_named(source: Drawn, tmp_path: Path, damage: str) -> None:
    pixels = tmp_path / f"{open_cache(source, SIDE, tmp_path).key}.uint8"
    if damage == "short":
        pixels.write_bytes(pixels.read_bytes()[:-1])
    else:
        pixels.unlink()
    with pytest.raises(UserError, match="is damaged") as error:
        open_cache(source, SIDE, tmp_path)
    notes = Path(error.value.hint.removeprefix("delete ").removesuffix(" and run again"))
    notes.unlink()  # what the hint says helps
    open_cache(source, SIDE, tmp_path)


def test_damaged_notes_are_named(source: Drawn, tmp_path: Path) -> None:
    notes = tmp_path / f"{open_cache(source, SIDE, tmp_path).key}.json"
    notes.write_text('{"faults": {')
    with pytest.raises(UserError, match="is damaged"):
        open_cache(source, SIDE, tmp_path)
