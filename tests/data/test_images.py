"""One image as 8-bit RGB: the same by every way in, scaled by a range that is known, or refused in one line."""

import io
import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps, features

from retdm.data import images
from retdm.data.images import UnreadableImage, as_rgb, checked_range, read_image
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


def test_transparent_pixels_lie_on_white(tmp_path: Path) -> None:
    rgba = np.array([[[255, 0, 0, 0], [255, 0, 0, 255], [0, 0, 0, 51]]], np.uint8)
    Image.fromarray(rgba).save(tmp_path / "a.png")
    assert np.asarray(read_image(tmp_path / "a.png"))[0].tolist() == [[255, 255, 255], [255, 0, 0], [204, 204, 204]]


def test_a_transparent_palette_entry_lies_on_white(tmp_path: Path) -> None:
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
def test_other_modes_become_rgb(tmp_path: Path, mode: str, colour, suffix: str, expected) -> None:
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
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        prepare_process()
        assert read_image(tmp_path / "a.png").size == (15, 10)
    assert not told


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
    with file.open("rb") as opened:
        for given in (str(file), file.read_bytes(), opened, read_to_its_end, Image.open(file), loaded, expected):
            assert as_rgb(given).size == expected.size
            assert as_rgb(given).tobytes() == expected.tobytes()


@pytest.mark.parametrize("kind", ["alpha", "16 bits", "grey with alpha"])
def test_an_array_that_carries_what_its_file_does_gives_the_same_pixels(tmp_path: Path, kind: str) -> None:
    ODD[kind](file := tmp_path / "a.image")
    assert as_rgb(np.asarray(Image.open(file))).tobytes() == read_image(file).tobytes()


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_arrays_and_tensors_of_all_channels_are_read(channels: int) -> None:
    values = np.concatenate([SHADES, SHADES[..., :1]], axis=2)[..., :channels]
    pil = Image.fromarray(values.squeeze(2) if channels == 1 else values)
    expected = np.asarray(as_rgb(pil))
    given: list[Any] = [values, torch.from_numpy(values).permute(2, 0, 1), np.asfortranarray(values)]
    given += [values[..., 0], torch.from_numpy(values[..., 0])] if channels == 1 else []
    for each in given:
        assert np.array_equal(as_rgb(each), expected)


def test_booleans_are_black_and_white() -> None:
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
        (np.zeros((2, 8, 8, 3), np.uint8), r"its shape is \(2, 8, 8, 3\)"),
        (torch.zeros(8, 8, 3, dtype=torch.uint8), r"its shape is \(8, 3, 8\)"),
        (np.zeros((8, 8), complex), "its values are complex128"),
        (np.full((8, 8), np.nan), "infinite or no numbers"),
        (b"", r"image 7 is empty \(0 bytes\)"),
        (b"<html>", "image 7 cannot be read as an image: cannot identify"),
        (io.StringIO("x"), "opened as text"),
        ({"a": 1}, "image 7 is of type dict"),
        (None, "image 7 is of type NoneType"),
        ([[1]], "image 7 is of type list"),
    ],
)
def test_what_is_no_image_is_told_in_one_line(given: Any, says: str) -> None:
    with pytest.raises(UserError, match=says) as error:
        as_rgb(given, name="image 7")
    assert "\n" not in error.value.message


# ---- values of more than 8 bits


def grey(image: Any) -> list[int]:
    return np.asarray(image)[0, :, 0].tolist()


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_that_may_hold_twelve_need_a_stated_range(tmp_path: Path, suffix: str) -> None:
    values = np.array([[0, 1024, 2048, 4095]], np.uint16)
    Image.fromarray(values).save(file := tmp_path / f"a.{suffix}")
    for given in (file, Image.open(file), values):
        with pytest.raises(
            UnreadableImage, match=r"up to 4095, whose range is not stated, such as \[0,4095\]"
        ) as error:
            as_rgb(given)
        assert error.value.kind == "unscaled" and "data.value_range" in error.value.hint
        assert grey(as_rgb(given, (0, 4095))) == [0, 64, 128, 255]
        assert grey(as_rgb(given, (0, 65535))) == [0, 4, 8, 16]  # of an image that is that dark


def test_one_range_for_all_keeps_brightness_between_images() -> None:
    dark, light = np.full((2, 2), 1000, np.uint16), np.full((2, 2), 3000, np.uint16)
    assert [grey(as_rgb(each, (0, 4095)))[0] for each in (dark, light)] == [62, 187]


@pytest.mark.parametrize(
    ("values", "value_range", "expected"),
    [
        (np.array([[-5, 0, 5, 10, 99]], np.int32), (0, 10), [0, 0, 128, 255, 255]),
        (np.array([[0, 0.25, 1]], np.float32), (0, 1), [0, 64, 255]),
        (np.array([[0, 128, 255]]), (0, 255), [0, 128, 255]),
    ],
)
def test_integers_of_32_bits_and_floats_need_a_stated_range(
    tmp_path: Path, values: np.ndarray, value_range: tuple[float, float], expected: list[int]
) -> None:
    given: list[Any] = [values]
    if values.dtype.itemsize == 4:
        Image.fromarray(values).save(tmp_path / "a.tif")
        given += [tmp_path / "a.tif", Image.open(tmp_path / "a.tif"), torch.from_numpy(values)]
    for each in given:
        assert grey(as_rgb(each, value_range)) == expected
        with pytest.raises(UnreadableImage, match=f"has {values.dtype} values, .* whose range is not stated"):
            as_rgb(each)


def test_images_of_8_bits_read_no_range(tmp_path: Path) -> None:
    Image.fromarray(SHADES).save(tmp_path / "a.png")
    assert np.array_equal(as_rgb(tmp_path / "a.png", (0, 4095)), SHADES)
    assert np.array_equal(as_rgb(SHADES, (0, 4095)), SHADES)


def test_files_that_state_their_range_are_read_by_it(tmp_path: Path) -> None:
    values = [0, 1000, 3000, 4095]
    (tmp_path / "a.pgm").write_bytes(b"P5 4 1 4095\n" + struct.pack(">4H", *values))
    packed = int("".join(f"{value:012b}" for value in values), 2).to_bytes(6, "big")
    tags = [(256, 4), (257, 1), (258, 12), (259, 1), (262, 1), (273, 8), (277, 1), (278, 1), (279, 6)]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    head = b"II*\0" + struct.pack("<I", 14) + packed
    (tmp_path / "a.tif").write_bytes(head + struct.pack("<H", len(tags)) + entries + bytes(4))
    for name in ("a.pgm", "a.tif"):
        for value_range in (None, (0, 65535)):
            assert grey(read_image(tmp_path / name, value_range)) == [0, 62, 187, 255], name


def test_a_pgm_that_states_nothing_but_its_16_bits_is_not_believed(tmp_path: Path) -> None:
    (tmp_path / "a.pgm").write_bytes(b"P5 2 1 65535\n" + struct.pack(">2H", 0, 1000))
    with pytest.raises(UnreadableImage, match="up to 1000, whose range is not stated, such as .0,1023"):
        read_image(tmp_path / "a.pgm")
    assert grey(read_image(tmp_path / "a.pgm", (0, 1000))) == [0, 255]


def png_of_16_bit_colours(values: list[int]) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    row = b"\0" + b"".join(struct.pack(">3H", value, value, value) for value in values)
    head = struct.pack(">IIBBBBB", len(values), 1, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(row)) + chunk(b"IEND", b"")


def test_colours_of_16_bits_that_use_fewer_are_refused() -> None:
    assert grey(as_rgb(png_of_16_bit_colours([0, 0x8001, 0xFFFF]))) == [0, 128, 255]
    with pytest.raises(UnreadableImage, match="16-bit colours that use fewer bits"):
        as_rgb(png_of_16_bit_colours([0, 1000, 4095]))
    with pytest.raises(UnreadableImage, match=r"only the range \[0,65535\]"):
        as_rgb(png_of_16_bit_colours([0, 1000, 4095]), (0, 4095))
    assert grey(as_rgb(png_of_16_bit_colours([0, 1000, 4095]), (0, 65535))) == [0, 3, 15]


@pytest.mark.parametrize("wrong", [[0], [5, 5], [9, 1], [0, float("inf")], [0, 1, 2], "01", [None, 1], 7])
def test_a_range_is_two_numbers_the_lower_first(wrong: Any) -> None:
    with pytest.raises(UserError, match=r"value_range=.* is no range") as error:
        checked_range(wrong)
    assert "[0,4095]" in error.value.hint
    assert checked_range(None) is None and checked_range([0, 4095]) == (0, 4095)


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
