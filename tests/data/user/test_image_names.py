"""Names in label files, and the image files that they mean."""

import logging
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest

from retdm.data.user.image_names import ImageNames
from retdm.errors import UserError

NFC, NFD = "café.jpg", unicodedata.normalize("NFD", "café.jpg")
FILES = ("a.jpg", "B b.PNG", "in/c.jpg", "in/d.jpg", "twice.jpg", "twice.png", NFD)
Resolve = Callable[..., list[str]]


@pytest.fixture
def resolve(tmp_path: Path) -> Resolve:
    folder = tmp_path / "photos"
    (folder / "in").mkdir(parents=True)
    for name in FILES:
        (folder / name).touch()
    images = ImageNames(folder)
    return lambda *names: images.resolve(names, lambda i: f"line {i + 2}", folder / "labels.csv")


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("A.JPG", "a.jpg"),
        ("b b.png", "B b.PNG"),
        ("B%20b.PNG", "B b.PNG"),
        ("b%20B", "B b.PNG"),
        ("in/c", "in/c.jpg"),
        (NFC, NFD),
        ("in/../a.jpg", "a.jpg"),
        (".\\in\\c.jpg", "in/c.jpg"),
        ("../photos/a.jpg", "a.jpg"),
    ],
)
def test_a_name_that_can_mean_one_file_is_that_file(
    resolve: Resolve, name: str, file: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert resolve("in/d.jpg", name) == ["in/d.jpg", file]
    assert ("are not quite those of their files" in caplog.text) == (name[0] != "." and ".." not in name)


@pytest.mark.parametrize(
    ("name", "there"), [("twice", "'twice.jpg' and 'twice.png'"), ("c.jpg", "'in/c.jpg'"), ("a.jpeg", "'a.jpg'")]
)
def test_a_name_of_no_file_stays_and_the_near_one_is_logged(
    resolve: Resolve, name: str, there: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert resolve("in/d.jpg", name) == ["in/d.jpg", name]
    assert "1 of 2 names are of no file in" in caplog.text and f"there is {there}" in caplog.text


def test_absolute_names_in_the_folder_are_names(resolve: Resolve, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "photos")
    assert resolve(f"{tmp_path}/photos/a.jpg", "in/c.jpg") == ["a.jpg", "in/c.jpg"]
    absolute = [f"{tmp_path}/link/a.jpg", f"{tmp_path}/photos/in/c.jpg"]
    assert ImageNames(tmp_path / "link").resolve(absolute, str, Path()) == ["a.jpg", "in/c.jpg"]


@pytest.mark.parametrize("name", ["/etc/a.jpg", "C:\\in\\c.jpg", "../a.jpg", ".."])
def test_a_name_out_of_the_folder_is_refused_beside_others(resolve: Resolve, name: str) -> None:
    with pytest.raises(UserError, match=r"line 3: .* leads out of"):
        resolve("a.jpg", name)


@pytest.mark.parametrize("name", ["", "a\0.jpg", f"{'9' * 300}.jpg", f"{'a/' * 3000}1.jpg"])
def test_a_name_that_no_file_can_have_is_refused(resolve: Resolve, name: str) -> None:
    with pytest.raises(UserError, match="line 3: '.*' is no file name"):
        resolve("a.jpg", name)


@pytest.mark.parametrize("name", ["away.jpg", "away/secret.jpg"])
def test_a_link_out_of_the_folder_is_refused_and_one_inside_is_not(resolve: Resolve, tmp_path: Path, name: str) -> None:
    (tmp_path / "secret.jpg").touch()
    (tmp_path / "photos/away.jpg").symlink_to(tmp_path / "secret.jpg")
    (tmp_path / "photos/away").symlink_to(tmp_path)
    (tmp_path / "photos/inner.jpg").symlink_to("a.jpg")
    assert resolve("inner.jpg", "a.jpg") == ["inner.jpg", "a.jpg"]
    with pytest.raises(UserError, match=f"'{name}' is a link that leads out of"):
        resolve("a.jpg", name)


@pytest.mark.parametrize("before", ["images/", "/home/me/", "C:\\me\\photos\\", "photos/"])
def test_folders_before_every_name_that_are_not_there_are_left_out(
    resolve: Resolve, before: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert resolve(f"{before}a.jpg", f"{before}in/c.jpg", f"{before}gone.jpg") == ["a.jpg", "in/c.jpg", "gone.jpg"]
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2
    assert "before each name are left out" in caplog.text and "1 of 3 names are of no file" in caplog.text


def test_the_one_folder_that_has_all_images_is_found(resolve: Resolve, caplog: pytest.LogCaptureFixture) -> None:
    assert resolve("c.jpg", "d.jpg") == ["in/c.jpg", "in/d.jpg"]
    assert "the images are in the folder 'in'" in caplog.text


def test_images_that_are_all_absent_are_an_error_with_the_folder_above(resolve: Resolve, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"line 2: there is no 'x.jpg' in .*, nor any other image that labels.csv"):
        resolve("x.jpg", "y.jpg")
    (tmp_path / "others").mkdir()
    (tmp_path / "others" / "x.jpg").touch()
    with pytest.raises(UserError, match=rf"there is one in {tmp_path}: data.root={tmp_path}"):
        resolve("others/x.jpg", "others/y.jpg")
