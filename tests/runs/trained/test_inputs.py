"""Images that a user names, and reading ahead."""

import os
import threading
from pathlib import Path
from typing import Any

import pytest

from retdm.errors import UserError
from retdm.runs.trained.inputs import find_images, read_ahead


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with images and other files, none of which is opened."""
    for name in (
        "b.jpg", "a.PNG", "list.txt", "no ending", ".hidden.jpg", "sub/c.tiff", "sub/deep/d.webp", ".git/e.jpg",
        "we, [you] (1).jpg", "empty/f.txt",
    ):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (["."], ["a.PNG", "b.jpg", "sub/c.tiff", "sub/deep/d.webp", "we, [you] (1).jpg"]),
        (["sub"], ["sub/c.tiff", "sub/deep/d.webp"]),
        (["no ending"], ["no ending"]),
        (["*"], ["a.PNG", "b.jpg", "sub/c.tiff", "sub/deep/d.webp", "we, [you] (1).jpg"]),
        (["*.jpg"], ["b.jpg", "we, [you] (1).jpg"]),
        (["**/*.*i*"], ["sub/c.tiff"]),
        (["we, [you] (1).jpg"], ["we, [you] (1).jpg"]),
        (["sub", "b.jpg", "sub/deep", "b.jpg"], ["sub/c.tiff", "sub/deep/d.webp", "b.jpg"]),
    ],
)
@pytest.mark.usefixtures("tree")
def test_folders_files_and_globs_are_searched_for_images(asked: list[str], expected: list[str]) -> None:
    assert [str(path) for path in find_images(asked)] == expected


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (["b.jpg", "c.jpg"], "there is no c.jpg"),
        (["empty"], "there is no image in empty"),
        (["*.jpeg"], r"there is no image in \*.jpeg"),
        (["*.txt"], r"there is no image in \*.txt"),
    ],
)
@pytest.mark.usefixtures("tree")
def test_what_names_no_image_is_told(asked: list[str], says: str) -> None:
    with pytest.raises(UserError, match=says) as error:
        find_images(asked)
    assert error.value.hint


def test_a_folder_that_may_not_be_read_is_told(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scan = os.scandir

    def scandir(path: Any) -> Any:  # who is root may read everywhere
        if str(path).endswith("deep"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(UserError, match="deep cannot be read: Permission denied"):
        find_images([str(tree)])


def test_reading_ahead_keeps_the_order_and_its_bound() -> None:
    begun: list[int] = []

    def read(i: int) -> int:
        begun.append(i)
        return -i

    reads = read_ahead(range(100), read, 7)
    for taken in range(100):
        assert next(reads) == -taken
        assert max(begun) <= taken + 7
    assert next(reads, None) is None


def test_whoever_stops_early_waits_for_no_file_that_was_not_begun() -> None:
    begun: list[int] = []
    held, first_is_read = threading.Event(), threading.Event()

    def read(i: int) -> int:
        begun.append(i)
        if i == 0:
            first_is_read.set()
        else:
            held.wait(10)
        return i

    reads = read_ahead(range(1000), read, 500)
    assert next(reads) == 0 and first_is_read.is_set()
    threading.Timer(0.05, held.set).start()
    reads.close()  # type: ignore[attr-defined]
    assert len(begun) < 500
