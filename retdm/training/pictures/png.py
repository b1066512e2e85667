"""Figures as PNG files."""

from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from retdm.files import atomic


def write_picture(path: Path, figure: Figure) -> None:
    """A PNG file, whole or not at all; its folder is made."""
    write_pixels(path, rendered(figure))


def write_pixels(path: Path, pixels: np.ndarray) -> None:
    """The same of uint8 (H, W, 3)."""
    with atomic(path) as part:
        Image.fromarray(pixels).save(part, format="PNG")


def rendered(figure: Figure) -> np.ndarray:
    """A figure as uint8 (H, W, 3)."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.array(canvas.buffer_rgba())[..., :3]
