"""A picture on its way to the network's square: the part that is shown, and the filter that resizes it."""

import numpy as np
import pytest
from PIL import Image

from retdm.data.preparation import WHOLE, Preparation, window

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)


@pytest.mark.parametrize("name", ["bilinear", "bicubic", "lanczos"])
def test_it_resizes_by_pillows_filter_of_that_name(name: str) -> None:
    expected = Image.fromarray(PIXELS).resize((20, 20), Image.Resampling[name.upper()])
    assert np.array_equal(Preparation(name).cached(Image.fromarray(PIXELS), 20), expected)
    square = PIXELS[:, :40]
    expected = Image.fromarray(square).resize((20, 20), Image.Resampling[name.upper()])
    assert np.array_equal(Preparation(name).resized(square, 20), expected)


def test_the_whole_picture_of_the_right_size_stays_as_it_is() -> None:
    picture = Image.fromarray(PIXELS[:, :40])
    assert WHOLE.cached(picture, 40) is picture
    assert np.shares_memory(WHOLE.resized(PIXELS[:, :40], 40), PIXELS)


def test_a_crop_keeps_its_share_of_each_side_around_the_centre() -> None:
    assert window((60, 40), 0.5) == (15, 10, 45, 30)
    assert window((60, 40), 1.0) == (0, 0, 60, 40)
    shown = Preparation(crop=0.5).shown(Image.fromarray(PIXELS))
    assert np.array_equal(shown, PIXELS[10:30, 15:45])
    assert np.array_equal(Preparation(crop=0.5).cached(Image.fromarray(PIXELS), 20), shown.resize((20, 20), 2))
