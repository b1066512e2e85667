"""Images of more than 8 bits: scaled by a range that is known, or refused."""

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from retdm.data.images import UnreadableImage, as_rgb, checked_range, read_image
from retdm.errors import UserError


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


@pytest.mark.parametrize(
    ("values", "value_range", "expected"),
    [
        (np.array([[-5, 0, 5, 10, 99]], np.int32), (0, 10), [0, 0, 128, 255, 255]),
        (np.array([[0, 0.25, 1, 2]], np.float32), (0, 1), [0, 64, 255, 255]),
        (np.array([[-0.5, 0.25, 0.5]], np.float32), (-0.5, 0.5), [0, 191, 255]),
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


def test_floats_in_memory_span_0_to_1_where_all_lie_there_and_those_of_a_file_do_not(tmp_path: Path) -> None:
    values = np.array([[0, 0.25, 1]], np.float32)
    for given in (values, values.astype(np.float16), torch.from_numpy(values)):
        assert grey(as_rgb(given)) == [0, 64, 255]
    assert grey(as_rgb(values, (0, 2))) == [0, 32, 128]
    Image.fromarray(values).save(tmp_path / "a.tif")
    with pytest.raises(UnreadableImage, match="whose range is not stated"):
        as_rgb(tmp_path / "a.tif")


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
    (tmp_path / "a.pgm").write_bytes(b"P5 2 1 65535\n" + struct.pack(">2H", 0, 1000))  # nothing but its 16 bits
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
