"""Views of images: crops, flips, and the test view."""

from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.v2 import functional as transform

from retdm.data import augment  # by the module: `test_view` itself would be taken for a test

SIZES = (256, 224, 192, 168)


def test_the_cached_side_is_to_the_image_as_256_is_to_224() -> None:
    assert [augment.cached_side(size) for size in (224, 448, 64, 8)] == [256, 512, 73, 9]


def windows(side: int, draws: int = 4000) -> Counter[tuple[int, int, int, int]]:
    generator = np.random.default_rng(0)
    return Counter(augment.crop_window(generator, side) for _ in range(draws))


def test_windows_of_256_are_the_papers_sizes_at_five_places_with_neighbouring_sides() -> None:
    expected = set()
    for i, height in enumerate(SIZES):
        for j, width in enumerate(SIZES):
            if abs(i - j) <= 1:
                low, right = 256 - height, 256 - width
                places = {(0, 0), (0, right), (low, 0), (low, right), (low // 2, right // 2)}
                expected |= {(top, left, height, width) for top, left in places}
    found = windows(256)
    assert set(found) == expected  # each is drawn, and nothing else
    assert {(h, w) for _, _, h, w in found} == {
        (256, 256), (256, 224), (224, 256), (224, 224), (224, 192), (192, 224), (192, 192), (192, 168), (168, 192),
        (168, 168),
    }  # fmt: skip


def test_five_places_are_drawn_equally_often() -> None:
    found = windows(256)
    square = {place: count for place, count in found.items() if place[2:] == (168, 168)}
    assert len(square) == 5
    expected = sum(square.values()) / 5
    assert all(abs(count - expected) < 5 * expected**0.5 for count in square.values())


@pytest.mark.parametrize("size", [8, 16, 64, 225])
def test_windows_lie_inside_the_cached_square_at_other_sizes(size: int) -> None:
    side = augment.cached_side(size)
    for top, left, height, width in windows(side, 500):
        assert min(top, left) >= 0
        assert top + height <= side
        assert left + width <= side
        assert min(height, width) >= 0.6 * side


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (18, 18, 3), dtype=np.uint8)


def test_a_training_view_is_a_function_of_seed_epoch_and_index(image: np.ndarray) -> None:
    view = augment.train_view(image, 16, 1, 2, 3)
    np.random.seed(5)  # noqa: NPY002
    assert torch.equal(augment.train_view(image, 16, 1, 2, 3), view)
    for changed in (0, 1, 2):  # of 40 other seeds, epochs or indices some give another window
        others = [augment.train_view(image, 16, *(n + i * (place == changed) for place, n in enumerate((1, 2, 3))))
                  for i in range(1, 41)]  # fmt: skip
        assert any(not torch.equal(other, view) for other in others)


def test_a_training_view_is_a_window_or_its_mirror_image_and_both_come(image: np.ndarray) -> None:
    pixels = torch.from_numpy(image).permute(2, 0, 1)
    crops = {
        window: transform.resize(
            pixels[:, window[0] : window[0] + window[2], window[1] : window[1] + window[3]], [16, 16], antialias=True
        )
        for window in windows(18)
    }
    kinds: Counter[str] = Counter()
    for index in range(200):
        view = augment.train_view(image, 16, 0, 0, index)
        straight = any(torch.equal(view, crop) for crop in crops.values())
        # Mirrored before it is resized, which may round otherwise than after.
        mirrored = any((view.int() - crop.flip(2).int()).abs().max() <= 1 for crop in crops.values())
        assert straight or mirrored
        kinds["straight" if straight else "mirrored"] += 1
    assert 70 < kinds["mirrored"] < 130


def test_views_are_uint8_of_the_wanted_size_and_leave_the_image_alone(image: np.ndarray) -> None:
    image = image.copy()
    image.flags.writeable = False  # as a memory map that is opened for reading
    for view in (augment.train_view(image, 16, 0, 0, 0), augment.test_view(image, 16)):
        assert view.dtype == torch.uint8
        assert view.shape == (3, 16, 16)


def test_the_test_view_is_the_whole_image_resized_by_pillow_alone(image: np.ndarray) -> None:
    resized = np.asarray(Image.fromarray(image).resize((16, 16), Image.Resampling.BILINEAR))
    assert np.array_equal(augment.test_view(image, 16).permute(1, 2, 0), resized)
    assert np.array_equal(augment.test_view(image, 18).permute(1, 2, 0), image)
    pixels = torch.from_numpy(image).permute(2, 0, 1)
    other = transform.resize(pixels, [16, 16], antialias=True)
    assert (augment.test_view(image, 16).int() - other.int()).abs().max() <= 2  # the training views' way of resizing
