"""The image cache: decoded once, checked, rebuilt, shared."""

import errno
import multiprocessing
import pickle
import shutil
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from retdm.commands import cache as cache_command
from retdm.data import cached_array
from retdm.data.image_cache import CachedImages, DecodedImages, Fault, open_images
from retdm.data.images import UnreadableImage
from retdm.data.preparation import Preparation
from retdm.data.source import ImageSource
from retdm.errors import UserError

COUNT, SIDE = 20, 12


class Drawn(ImageSource):
    """20 images of one size each; writes down which ones were read, whatever process read them."""

    names = ["a"]
    targets = np.zeros((COUNT, 1), np.uint8)
    known = np.ones((COUNT, 1), bool)
    ids = [str(i) for i in range(COUNT)]

    def __init__(
        self, notes: Path, fingerprint: str = "drawn", unreadable: tuple[int, ...] = (), breaks: int = -1
    ) -> None:
        self.notes, self.fingerprint, self.unreadable, self.breaks = notes, fingerprint, unreadable, breaks

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


def open_cache(source: Drawn, side: int, folder: Path, limit: float = 8.0) -> CachedImages:
    images, _ = open_images(source, side, folder, limit)
    assert isinstance(images, CachedImages)
    return images


@pytest.fixture
def source(tmp_path: Path) -> Drawn:
    return Drawn(tmp_path / "reads.txt")


ONCE = Counter(map(str, range(COUNT)))


def test_images_are_decoded_once_at_the_asked_side(source: Drawn, tmp_path: Path) -> None:
    cached = open_cache(source, SIDE, tmp_path / "new" / "cache")
    assert len(cached) == COUNT
    for i in range(COUNT):
        image = Image.fromarray(source.pixels(i)).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
        assert np.array_equal(cached[i], np.asarray(image))
    again = open_cache(source, SIDE, tmp_path / "new" / "cache")
    assert all(np.array_equal(again[i], cached[i]) for i in range(COUNT))
    assert source.reads() == ONCE


@pytest.mark.parametrize("how", [Preparation("bicubic"), Preparation(crop=0.5)])
def test_images_that_are_prepared_otherwise_are_another_cache(source: Drawn, tmp_path: Path, how: Preparation) -> None:
    whole = open_cache(source, SIDE, tmp_path)
    other, _ = open_images(source, SIDE, tmp_path, preparation=how)
    for i in range(0, COUNT, 2):  # the others have the side of the cache
        expected = how.cached(Image.fromarray(source.pixels(i)), SIDE)
        assert np.array_equal(other[i], expected) and not np.array_equal(other[i], whole[i])


def test_pixels_cannot_be_written_by_mistake(source: Drawn, tmp_path: Path) -> None:
    cached = open_cache(source, SIDE, tmp_path)
    with pytest.raises(ValueError, match="read-only"):
        cached[0][0] = 0


def test_another_side_or_source_has_a_cache_of_its_own(source: Drawn, tmp_path: Path) -> None:
    first = open_cache(source, SIDE, tmp_path)
    assert open_cache(source, SIDE + 1, tmp_path)[0].shape == (SIDE + 1, SIDE + 1, 3)
    assert open_cache(Drawn(source.notes, "changed"), SIDE, tmp_path).blocks.file != first.blocks.file
    assert source.reads() == Counter({str(i): 3 for i in range(COUNT)})


def test_unreadable_images_are_black_and_tried_again_by_each_opening(tmp_path: Path) -> None:
    source = Drawn(tmp_path / "reads.txt", unreadable=(3, 17))
    for _ in range(2):
        cached, scan = open_images(source, SIDE, tmp_path)
        assert scan.faults == {row: Fault("unreadable", f"image {row} is broken") for row in (3, 17)}
        assert not cached[3].any() and cached[17].shape == (SIDE, SIDE, 3)
        assert np.array_equal(cached[5], source.pixels(5))
    assert source.reads()["5"] == 1


def test_an_image_that_was_mended_is_there_at_the_next_opening(tmp_path: Path) -> None:
    source = Drawn(tmp_path / "reads.txt", unreadable=(3, 17))
    before, _ = open_images(source, SIDE, tmp_path)
    source.unreadable = (17,)
    cached, scan = open_images(source, SIDE, tmp_path)
    assert scan.faults == {17: Fault("unreadable", "image 17 is broken")}
    assert np.array_equal(cached[3], source.pixels(3)) and not cached[17].any()
    assert np.array_equal(before[19], source.pixels(19))  # who has it open keeps what was there
    assert open_cache(source, SIDE, tmp_path).blocks.content == cached.blocks.content != before.blocks.content


def test_a_build_that_dies_half_way_leaves_nothing_that_looks_finished(source: Drawn, tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    breaking = Drawn(source.notes, breaks=11)
    process = multiprocessing.get_context("fork").Process(target=open_cache, args=(breaking, SIDE, folder))
    process.start()
    process.join(60)
    assert process.exitcode == 1
    assert source.reads()["11"] == 1
    assert not list(folder.glob("*.npz"))
    assert not list(folder.glob("*.pixels"))
    cached = open_cache(source, SIDE, folder)  # its lock died with it, and the next one builds it all
    assert np.array_equal(cached[19], source.pixels(19))


def test_a_build_that_was_killed_between_its_two_files_is_done_again(source: Drawn, tmp_path: Path) -> None:
    first = open_cache(source, SIDE, tmp_path)
    first.blocks.file.with_suffix(".npz").unlink()
    first.blocks.file.write_bytes(b"half")
    assert np.array_equal(open_cache(source, SIDE, tmp_path)[19], source.pixels(19))


def test_of_two_processes_that_ask_at_once_one_builds_and_both_get_it(source: Drawn, tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    barrier, results = context.Barrier(2), context.Queue()

    def ask() -> None:
        barrier.wait()
        results.put(int(open_cache(source, SIDE, tmp_path / "cache")[19].sum()))

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

    monkeypatch.setattr(cached_array, "_write", refuse)
    with pytest.raises(UserError, match="cannot be written"):
        open_cache(source, SIDE, tmp_path)


def test_a_disk_that_is_too_small_is_said_before_any_image_is_read(
    source: Drawn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need = COUNT * SIDE * SIDE * 3
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=need - 1))
    with pytest.raises(UserError, match="the image cache: 8.6e-06 GB are needed"):
        open_cache(source, SIDE, tmp_path)
    assert source.reads() == Counter()
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=need))
    open_cache(source, SIDE, tmp_path)


def test_a_changed_byte_is_found_when_its_image_is_read(source: Drawn, tmp_path: Path) -> None:
    file = open_cache(source, SIDE, tmp_path).blocks.file
    content = bytearray(file.read_bytes())
    content[7 * SIDE * SIDE * 3] ^= 1
    file.write_bytes(content)
    cached = open_cache(source, SIDE, tmp_path)
    assert np.array_equal(cached[5], source.pixels(5))
    with pytest.raises(UserError, match="block 7 has a wrong checksum"):
        cached[7]


class Smooth(Drawn):
    """Images that JPEG is good at: one colour each."""

    @staticmethod
    def pixels(i: int) -> np.ndarray:
        return np.full((64, 64, 3), 12 * i, np.uint8)


def test_above_the_limit_images_are_kept_as_jpeg(tmp_path: Path) -> None:
    source = Smooth(tmp_path / "reads.txt", "smooth")
    plain, small = (open_cache(source, 64, tmp_path, limit) for limit in (1.0, 1e-9))
    assert (
        small.blocks.file.suffix == ".jpeg" and small.blocks.file.stat().st_size * 5 < plain.blocks.file.stat().st_size
    )
    for i in range(COUNT):
        assert small[i].shape == (64, 64, 3)
        assert np.abs(small[i].astype(int) - plain[i]).max() <= 2


def test_without_a_cache_images_come_from_their_files_and_nothing_is_written(source: Drawn, tmp_path: Path) -> None:
    source.unreadable = (3,)
    images, scan = open_images(source, SIDE, None)
    assert isinstance(images, DecodedImages) and len(images) == COUNT
    assert scan.faults == {3: Fault("unreadable", "image 3 is broken")}
    cached = open_cache(source, SIDE, tmp_path / "cache")
    before = source.reads()["5"]
    assert np.array_equal(images[5], cached[5]) and np.array_equal(images[5], cached[5])
    assert source.reads()["5"] == before + 2


def test_a_loading_process_maps_the_file_instead_of_getting_the_pixels(source: Drawn, tmp_path: Path) -> None:
    cached = open_cache(source, SIDE, tmp_path)
    sent = pickle.dumps(cached)
    assert len(sent) < cached.blocks.file.stat().st_size / 4
    assert np.array_equal(pickle.loads(sent)[5], cached[5])


def test_the_command_lists_and_clears_caches_and_nothing_else(
    source: Drawn, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    open_cache(source, SIDE, tmp_path)
    (tmp_path / "notes.npz").write_text("mine")
    cache_command.main([str(tmp_path)])
    assert "1 caches, 0 MB" in capsys.readouterr().out
    assert len(list(tmp_path.iterdir())) == 5  # pixels, notes, lock; the source's own list of reads; mine
    cache_command.main(["clear", str(tmp_path)])
    assert sorted(file.name for file in tmp_path.iterdir()) == ["notes.npz", "reads.txt"]
    with pytest.raises(UserError, match="cache takes one folder, not a b"):
        cache_command.main(["clear", "a", "b"])
    with pytest.raises(UserError, match="there is no folder claer"):
        cache_command.main(["claer"])
