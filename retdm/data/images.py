"""One image, wherever it comes from, as 8-bit RGB: the only conversion for training, checking and prediction."""

import io
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Union

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from retdm.errors import UserError

if TYPE_CHECKING:  # it takes seconds, and most images are no tensors
    from torch import Tensor
    from typing_extensions import TypeIs

# Endings of the files that are images where a folder is searched.
ENDINGS = {
    ".avif", ".bmp", ".gif", ".heic", ".heif", ".hif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".jxl", ".pgm", ".png",
    ".ppm", ".tif", ".tiff", ".webp",
}  # fmt: skip
SKIP_HINT = "put whole files in their place, or leave such images out with data.on_unreadable=skip"
RANGE_HINT = "data.value_range=[lowest,highest] states the values that are black and white"
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # EXIF orientation -> the turn that sets the image upright
MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}  # channels of an array -> their mode
UNSURE = 2**14  # 16-bit images that stay below it may hold values of 10, 12 or 14 bits, which cameras and scanners give
HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")

Picture = Union[str, os.PathLike[str], bytes, BinaryIO, Image.Image, NDArray[Any], "Tensor"]  # see above
Range = tuple[float, float]


class UnreadableImage(UserError):
    """One image of a set cannot be read; ``data.on_unreadable=skip`` leaves it out.

    Attributes:
        kind: ``missing``, ``empty``, ``unscaled`` (its values have no known range) or ``unreadable``.
    """

    def __init__(self, message: str, hint: str = SKIP_HINT, kind: str = "unreadable") -> None:
        super().__init__(message, hint)
        self.kind = kind


class _Unscaled(ValueError):
    """Values of more than 8 bits whose range nobody stated."""


def checked_range(values: Sequence[float] | None) -> Range | None:
    """``value_range`` as a setting. Raises ``UserError`` unless it is two numbers, the lower first, or None."""
    if values is None:
        return None
    numbers = isinstance(values, Sequence) and all(isinstance(value, int | float) for value in values)
    if not numbers or len(values) != 2 or not -np.inf < values[0] < values[1] < np.inf:
        raise UserError(f"value_range={values} is no range", "two numbers, the lower first: [0,4095]")
    return float(values[0]), float(values[1])


def read_image(file: Path | BinaryIO, value_range: Range | None = None, name: str = "the image") -> Image.Image:
    """The image in a file as 8-bit RGB, turned upright by its EXIF orientation.

    Transparent pixels lie on white; CMYK, palettes and grey are converted. Values of more than 8 bits are scaled, from
    ``value_range`` to 0 and 255, where the file does not state its own (PGM, JPEG 2000, TIFF of 9 to 15 bits). Without
    one, 16-bit images reach from 0 to 65,535, unless their highest value fits into fewer bits: those, and
    32-bit integers and floats, are refused, for a range of each image's own would make all images equally bright.

    Args:
        file: its path, or opened to read bytes.
        value_range: the values that become 0 and 255; 8-bit images do not read it.
        name: its name in errors, where it has no path.

    Raises:
        UnreadableImage: the file is missing, empty, cut short, no image, of a format that needs a package which is not
            installed, or its values have no known range.
    """
    with _named(str(file) if isinstance(file, Path) else name), _opened(file) as image:
        return _rgb(image, value_range)


def as_rgb(picture: Picture, value_range: Range | None = None, name: str = "the image") -> Image.Image:
    """The image in any of the forms that hold one, as 8-bit RGB.

    Args:
        picture: a path, a file's bytes, an opened file, a PIL image; an array (H, W) or (H, W, C) or a tensor (H, W) or
            (C, H, W), where C = 1 is grey, 2 grey with alpha, 3 RGB, 4 RGB with alpha. Not every origin knows as much:
            an array of a palette image or of CMYK is taken for grey or for RGB with alpha.
        value_range: as in :func:`read_image`; booleans and uint8 do not read it. Without one, floats in an array or a
            tensor span [0, 1] where all of them lie there.
        name: its name in errors, where it has no path.

    Raises:
        UnreadableImage: as in :func:`read_image`, or the array has another shape or no pixels.
        UserError: it is none of these.
    """
    if isinstance(picture, str | os.PathLike):
        return read_image(Path(picture), value_range)
    if isinstance(picture, bytes | bytearray | memoryview):
        return read_image(io.BytesIO(picture), value_range, name)
    if hasattr(picture, "read"):
        return read_image(picture, value_range, name)  # type: ignore[arg-type]
    with _named(name):
        if isinstance(picture, Image.Image):
            return _rgb(picture, value_range)
        if is_tensor(picture):
            picture = picture.detach().cpu()
            return _of_array((picture.permute(1, 2, 0) if picture.ndim == 3 else picture).numpy(), value_range)
        if isinstance(picture, np.ndarray):
            return _of_array(picture, value_range)
    raise UserError(
        f"{name} is of type {type(picture).__name__}, which is none of an image",
        "give a path, a file's bytes, an opened file, a PIL image, an array (H, W, 3) or a tensor (3, H, W)",
    )


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Turn any failure inside into an ``UnreadableImage`` whose message begins with ``name``."""
    try:
        yield
    except (UnreadableImage, MemoryError):
        raise
    except _Unscaled as error:
        raise UnreadableImage(f"{name} {error}", RANGE_HINT, "unscaled") from error
    except EOFError as error:
        raise UnreadableImage(f"{name} is empty (0 bytes)", kind="empty") from error
    except Exception as error:  # Pillow's decoders raise nearly anything on broken bytes
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        if isinstance(error, Image.DecompressionBombError):
            most = 2 * (Image.MAX_IMAGE_PIXELS or 0)
            reason = f"it has more than {most:,} pixels, as files do that are made to fill memory; make it smaller"
        elif isinstance(error, UnidentifiedImageError):  # Pillow names the address of what was read from memory
            reason = "cannot identify its format"
        kind = "missing" if isinstance(error, FileNotFoundError) else "unreadable"
        raise UnreadableImage(f"{name} cannot be read as an image: {reason}", kind=kind) from error


def _opened(file: Path | BinaryIO) -> Image.Image:
    if isinstance(file, Path):
        if file.stat().st_size == 0:
            raise EOFError
        try:
            return Image.open(file)
        except UnidentifiedImageError:
            with file.open("rb") as opened:
                _bring_plugin(opened.read(16))
            return Image.open(file)
    if getattr(file, "seekable", lambda: False)():
        file.seek(0)
    content = file.read()
    if not isinstance(content, bytes):
        raise ValueError("it was opened as text; open it with 'rb'")
    if not content:
        raise EOFError
    try:
        return Image.open(io.BytesIO(content))
    except UnidentifiedImageError:
        _bring_plugin(content[:16])
        return Image.open(io.BytesIO(content))


def _bring_plugin(head: bytes) -> None:
    """Register the package by which Pillow reads the format of a file that begins with ``head``."""
    if head[4:8] == b"ftyp" and head[8:12] in HEIF_BRANDS:
        kind, package, extra = "HEIC", "pillow_heif", "heif"
    elif head.startswith((b"\xff\x0a", b"\0\0\0\x0cJXL ")):
        kind, package, extra = "JPEG XL", "pillow_jxl", "jxl"
    elif head[4:12] in (b"ftypavif", b"ftypavis"):
        raise ValueError("it is AVIF, which this build of Pillow cannot read: pip install -U pillow")
    else:
        return
    if find_spec(package) is None:
        raise ValueError(f'it is {kind}, which needs a package more: pip install "retdm[{extra}]"')
    plugin = import_module(package)
    if package == "pillow_heif":  # the other one registers itself
        plugin.register_heif_opener()


def _rgb(image: Image.Image, value_range: Range | None) -> Image.Image:
    stated, deep = _stated_range(image), _has_deep_colours(image)
    image.load()
    # ImageOps.exif_transpose would also write the EXIF block anew, and fails on blocks that are broken elsewhere.
    turn = TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    if turn is not None:
        image = image.transpose(turn)
    if image.mode == "F" or image.mode.startswith("I"):
        values = np.asarray(image)
        if image.format in ("PNG", "PPM"):  # of 16 bits, where Pillow gives them as 32
            values = values.astype(np.uint16)
        image = Image.fromarray(_to_8_bits(values, stated or value_range))
    elif deep:
        _refuse_dark(image, value_range)
    if image.has_transparency_data:
        layers = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layers.size, "white"), layers)
    if image.mode == "RGB" and turn is None:
        return image
    rgb = image.convert("RGB")
    rgb.info = {}  # or its orientation would turn it once more
    return rgb


def _of_array(values: NDArray[Any], value_range: Range | None) -> Image.Image:
    channels = values.shape[2] if values.ndim == 3 else 1
    if values.ndim not in (2, 3) or channels not in MODES or 0 in values.shape:
        raise ValueError(
            f"its shape is {values.shape}; give an array (H, W) or (H, W, C), or a tensor (C, H, W), of 1 to 4 channels"
        )
    if values.dtype == bool:
        values = values * np.uint8(255)
    elif values.dtype != np.uint8:
        if value_range is None and values.dtype.kind == "f" and (values >= 0).all() and (values <= 1).all():
            value_range = (0, 1)
        values = _to_8_bits(values, value_range)
    pixels = np.ascontiguousarray(values.reshape(*values.shape[:2], channels))
    size = (values.shape[1], values.shape[0])
    return _rgb(Image.frombytes(MODES[channels], size, pixels.tobytes()), value_range)


def _to_8_bits(values: NDArray[Any], value_range: Range | None) -> NDArray[np.uint8]:
    """``value_range`` to 0 and 255, what lies outside to the nearer of both."""
    if values.dtype.kind not in "iuf":
        raise ValueError(f"its values are {values.dtype}, which are no brightness")
    if not np.isfinite(values).all():
        raise ValueError("some of its values are infinite or no numbers")
    if value_range is None:
        top = values.max()
        if values.dtype.kind != "u" or values.dtype.itemsize != 2:
            raise _Unscaled(f"has {values.dtype} values, {values.min():.6g} to {top:.6g}, whose range is not stated")
        if 0 < top < UNSURE:
            bits = next(bits for bits in (8, 10, 12, 14) if top < 2**bits)
            raise _Unscaled(f"has 16-bit values up to {top}, whose range is not stated, such as [0,{2**bits - 1}]")
        value_range = (0, 65535)
    low, high = value_range
    scaled = (values.astype(np.float64) - low) * (255 / (high - low))
    return scaled.round().clip(0, 255).astype(np.uint8)


def _stated_range(image: Image.Image) -> Range | None:
    """The range that a file itself states, read before it is decoded; None where it states none."""
    if image.format == "TIFF":
        bits = image.tag_v2.get(258, (0,))[0]  # type: ignore[attr-defined]  # BitsPerSample
        return (0, 2**bits - 1) if 8 < bits < 16 else None
    # Pillow scales these by the range in their head.
    scaled = image.format == "JPEG2000" or (image.format == "PPM" and _decoding(image).startswith("ppm"))
    return (0, 65535) if scaled else None


def _has_deep_colours(image: Image.Image) -> bool:
    """Colours of 16 bits, of which Pillow gives the high byte alone."""
    return image.mode in ("RGB", "RGBA", "LA") and ";16" in _decoding(image)


def _decoding(image: Image.Image) -> str:
    """How a file's pixels will be decoded, in Pillow's words; empty once they are, and where there is no file."""
    tile = getattr(image, "tile", None)
    return f"{tile[0][0]} {tile[0][3]}" if tile else ""


def _refuse_dark(image: Image.Image, value_range: Range | None) -> None:
    top = max(high for _, high in image.convert("RGB").getextrema())  # type: ignore[misc]
    if value_range not in (None, (0, 65535)):
        raise ValueError("it has 16-bit colours, of which only the range [0,65535] can be read; make it 8-bit")
    if value_range is None and 0 < top < UNSURE // 256:
        raise ValueError("it has 16-bit colours that use fewer bits, so it would look black; make it 8-bit")


def is_tensor(value: Any) -> "TypeIs[Tensor]":
    """True for a tensor of PyTorch, which is not imported to ask."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def cached_side(image_size: int) -> int:
    """Side of the cached square for images of ``image_size``: 8/7 of it, as 256 is to 224."""
    return round(image_size * 8 / 7)
