"""One image as 8-bit RGB: the same by every way in, scaled by a range that is known, or refused in one line."""

import io
import struct
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps, features

from retdm.data import images
from retdm.data.images import UnreadableImage, as_rgb, read_image
from retdm.errors import UserError
from retdm.runs.process import prepare_process

SHADES = (np.arange(6 * 9 * 3).reshape(6, 9, 3) * 1.5).astype(np.uint8)


# ---- one file


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_is_applied(tmp_path: Path, orientation: int) -> None:
    stored = np.zeros((8, 16, 3), np.uint8)
    stored[:, :8, 0] = stored[:4, :, 1] = 255  # red at the left, green at the top of the stored pixels
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(stored).save(tmp_path / "a.png", exif=exif)
    expected = ImageOps.exif_transpose(Image.open(tmp_path / "a.png"))
    upright = read_image(tmp_path / "a.png")
    assert upright.size == expected.size and upright.tobytes() == expected.tobytes()
    if orientation == 6:  # a camera held upright, turned clockwise to see it: left becomes top
        assert upright.size == (8, 16) and upright.getpixel((7, 0)) == (255, 255, 0)


def test_a_broken_exif_block_costs_neither_image_nor_orientation(tmp_path: Path) -> None:
    tags = struct.pack(">HHII", 0x0112, 3, 1, 6 << 16) + struct.pack(">HHI4s", 0x011A, 2, 2, b"x\0\0\0")
    exif = b"Exif\0\0MM\0*\0\0\0\x08" + struct.pack(">H", 2) + tags + bytes(4)  # resolution as text
    Image.new("RGB", (6, 4), "red").save(tmp_path / "a.jpg", exif=exif)
    with pytest.raises(TypeError):
        ImageOps.exif_transpose(Image.open(tmp_path / "a.jpg"))
    assert read_image(tmp_path / "a.jpg").size == (4, 6)


def test_sixteen_bit_grey_is_scaled_and_not_clipped(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 256, 32768, 65535]], np.uint16)).save(tmp_path / "a.png")
    assert np.asarray(read_image(tmp_path / "a.png"))[0, :, 1].tolist() == [0, 1, 128, 255]


def test_transparent_pixels_and_palette_entries_lie_on_white(tmp_path: Path) -> None:
    rgba = np.array([[[255, 0, 0, 0], [255, 0, 0, 255], [0, 0, 0, 51]]], np.uint8)
    Image.fromarray(rgba).save(tmp_path / "a.png")
    assert np.asarray(read_image(tmp_path / "a.png"))[0].tolist() == [[255, 255, 255], [255, 0, 0], [204, 204, 204]]
    image = Image.fromarray(np.array([[0, 1]], np.uint8), mode="P")
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.save(tmp_path / "a.png", transparency=0)
    assert np.asarray(read_image(tmp_path / "a.png"))[0].tolist() == [[255, 255, 255], [40, 50, 60]]


@pytest.mark.parametrize(
    ("mode", "colour", "suffix", "expected"),
    [
        ("CMYK", (0, 255, 255, 0), "tif", (255, 0, 0)),
        ("L", 77, "png", (77, 77, 77)),
        ("1", 1, "png", (255, 255, 255)),
    ],
)
def test_other_modes_become_rgb(
    tmp_path: Path, mode: str, colour: Any, suffix: str, expected: tuple[int, int, int]
) -> None:
    Image.new(mode, (3, 3), colour).save(tmp_path / f"a.{suffix}")
    assert read_image(tmp_path / f"a.{suffix}").getpixel((1, 1)) == expected


def _cut_short(file: Path) -> None:
    Image.effect_noise((64, 64), 90).convert("RGB").save(file)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


FAULTS = {
    "is empty": lambda file: file.touch(),
    "cannot be read as an image: .*truncated": _cut_short,
    "cannot be read as an image: cannot identify": lambda file: file.write_text("<html>not found</html>"),
    "cannot be read as an image: No such file": lambda file: None,
    "cannot be read as an image: Is a directory": lambda file: file.mkdir(),
    "more than 200 pixels": lambda file: Image.new("1", (15, 15)).save(file, "PNG"),
}


@pytest.mark.parametrize("message", FAULTS)
def test_an_unreadable_image_is_named_with_the_key_that_skips_it(
    tmp_path: Path, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "pixels" in message:  # Pillow's own guard, which no test can afford to meet at its real size
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    FAULTS[message](tmp_path / "12.jpg")
    with pytest.raises(UnreadableImage, match=message) as caught:
        read_image(tmp_path / "12.jpg")
    assert str(tmp_path / "12.jpg") in caught.value.message
    assert "data.on_unreadable=skip" in caught.value.hint


def test_a_large_photograph_is_read_and_commands_do_not_warn_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("L", (15, 10)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        prepare_process()
        assert read_image(tmp_path / "a.png").size == (15, 10)
    assert not warned


# ---- all ways in


def _turned(file: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(SHADES).save(file, "PNG", exif=exif)


def _half_transparent(file: Path) -> None:
    alpha = np.arange(54).reshape(6, 9, 1) * 4
    Image.fromarray(np.concatenate([SHADES, alpha.astype(np.uint8)], axis=2)).save(file, "PNG")


ODD: dict[str, Callable[[Path], None]] = {
    "turned by EXIF": _turned,
    "alpha": _half_transparent,
    "16 bits": lambda file: Image.fromarray(SHADES[..., 0].astype(np.uint16) * 256 + 255).save(file, "PNG"),
    "palette": lambda file: Image.fromarray(SHADES).quantize(8).save(file, "PNG"),
    "a transparent colour": lambda file: Image.fromarray(SHADES).save(file, "PNG", transparency=(0, 1, 3)),
    "CMYK": lambda file: Image.fromarray(SHADES).convert("CMYK").save(file, "TIFF"),
    "grey with alpha": lambda file: Image.fromarray(SHADES[..., :2]).save(file, "PNG"),
}


@pytest.mark.parametrize("kind", ODD)
def test_every_way_in_gives_the_same_pixels(tmp_path: Path, kind: str) -> None:
    ODD[kind](file := tmp_path / "a.image")
    expected = read_image(file)
    assert expected.mode == "RGB"
    loaded = Image.open(file)
    loaded.load()
    read_to_its_end = io.BytesIO(file.read_bytes())
    read_to_its_end.read()
    whole = [np.asarray(Image.open(file))] if kind in ("alpha", "16 bits", "grey with alpha") else []
    with file.open("rb") as opened:
        for given in (
            str(file),
            file.read_bytes(),
            opened,
            read_to_its_end,
            Image.open(file),
            loaded,
            expected,
            *whole,
        ):
            assert as_rgb(given).size == expected.size
            assert as_rgb(given).tobytes() == expected.tobytes()


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_arrays_and_tensors_of_8_bits_are_read_and_no_range_is(channels: int) -> None:
    values = np.concatenate([SHADES, SHADES[..., :1]], axis=2)[..., :channels]
    pil = Image.fromarray(values.squeeze(2) if channels == 1 else values)
    expected = np.asarray(as_rgb(pil))
    given: list[Any] = [values, torch.from_numpy(values).permute(2, 0, 1), np.asfortranarray(values)]
    given += [values[..., 0], torch.from_numpy(values[..., 0])] if channels == 1 else []
    for each in given:
        assert np.array_equal(as_rgb(each), expected) and np.array_equal(as_rgb(each, (0, 4095)), expected)
    assert np.asarray(as_rgb(np.array([[True, False]])))[0].tolist() == [[255] * 3, [0] * 3]


def test_the_given_image_stays_as_it_is(tmp_path: Path) -> None:
    ODD["turned by EXIF"](tmp_path / "a.png")
    given = Image.open(tmp_path / "a.png")
    as_rgb(given)
    assert given.size == (9, 6) and given.getexif()[0x0112] == 6


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (np.zeros((3, 8, 8), np.uint8), r"image 7 cannot be read as an image: its shape is \(3, 8, 8\)"),
        (np.zeros((0, 8, 3), np.uint8), r"its shape is \(0, 8, 3\)"),
        (torch.zeros(8, 8, 3, dtype=torch.uint8), r"its shape is \(8, 3, 8\)"),
        (np.zeros((8, 8), complex), "its values are complex128"),
        (np.full((8, 8), np.nan), "infinite or no numbers"),
        (b"", r"image 7 is empty \(0 bytes\)"),
        (b"<html>", "image 7 cannot be read as an image: cannot identify its format\n"),
        (io.StringIO("x"), "opened as text"),
        ({"a": 1}, "image 7 is of type dict"),
        ([[1]], "image 7 is of type list"),
    ],
)
def test_what_is_no_image_is_named_in_one_line(given: Any, says: str) -> None:
    with pytest.raises(UserError, match=says) as error:
        as_rgb(given, name="image 7")
    assert "\n" not in error.value.message


# ---- formats that Pillow reads by other packages

HEIC, JXL, AVIF = b"\0\0\0\x1cftypheic\0\0\0\0", b"\0\0\0\x0cJXL \r\n\x87\n", b"\0\0\0 ftypavif\0\0\0\0"


@pytest.mark.parametrize(
    ("head", "kind", "extra"), [(HEIC, "HEIC", "heif"), (JXL, "JPEG XL", "jxl"), (b"\xff\n", "JPEG XL", "jxl")]
)
def test_a_format_whose_package_is_absent_names_the_extra(
    tmp_path: Path, head: bytes, kind: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "find_spec", lambda package: None)
    (tmp_path / "a.image").write_bytes(head + bytes(99))
    for given in (tmp_path / "a.image", head + bytes(99)):
        with pytest.raises(UnreadableImage) as error:
            as_rgb(given)
        assert error.value.message.endswith(f'it is {kind}, which needs a package more: pip install "retdm[{extra}]"')


@pytest.mark.parametrize(("head", "package"), [(HEIC, "pillow_heif"), (JXL, "pillow_jxl")])
def test_a_format_whose_package_is_there_is_asked_of_it(
    head: bytes, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def register() -> None:
        monkeypatch.setitem(
            Image.OPEN, "NEW", (lambda *_: Image.fromarray(SHADES), lambda start: start.startswith(head))
        )
        monkeypatch.setattr(Image, "ID", [*Image.ID, "NEW"])

    brought: list[str] = []

    def bring(name: str) -> Any:
        brought.append(name)
        register()
        return SimpleNamespace(register_heif_opener=lambda: None)

    monkeypatch.setattr(images, "find_spec", lambda name: name)
    monkeypatch.setattr(images, "import_module", bring)
    assert np.array_equal(as_rgb(head.ljust(99, b"\0")), SHADES)
    assert brought == [package]


@pytest.mark.skipif(not features.check("avif"), reason="this build of Pillow has no AVIF")
def test_avif_is_read(tmp_path: Path) -> None:
    Image.fromarray(SHADES).resize((64, 48)).save(tmp_path / "a.avif")
    assert read_image(tmp_path / "a.avif").size == (64, 48)
