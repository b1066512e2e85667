"""Views of images: crops, flips, changes, mixtures, and the test view."""

from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.v2 import functional as transform

from retdm.batch import Batch, tensors_of
from retdm.data import augment  # by the module: `test_view` itself would be taken for a test
from retdm.data.images import cached_side
from retdm.data.preparation import WHOLE, Preparation

SIZES = (256, 224, 192, 168)


def test_the_cached_side_is_to_the_image_as_256_is_to_224() -> None:
    assert [cached_side(size) for size in (224, 448, 64, 8)] == [256, 512, 73, 9]


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
    side = cached_side(size)
    for top, left, height, width in windows(side, 500):
        assert min(top, left) >= 0
        assert top + height <= side
        assert left + width <= side
        assert min(height, width) >= 0.6 * side


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (18, 18, 3), dtype=np.uint8)


def drawn(how: augment.Augmentation, image: np.ndarray, *key: int) -> torch.Tensor:
    return how.view(image, 16, np.random.default_rng(key))


@pytest.mark.parametrize("how", [augment.Crops(), augment.Light(), augment.Strong()])
def test_a_training_view_is_a_function_of_seed_epoch_and_index(how: augment.Augmentation, image: np.ndarray) -> None:
    before = torch.get_rng_state()
    view = drawn(how, image, 1, 2, 3)
    assert torch.equal(torch.get_rng_state(), before)  # torchvision draws from it
    np.random.seed(5)  # noqa: NPY002
    torch.manual_seed(5)
    assert torch.equal(drawn(how, image, 1, 2, 3), view)
    for changed in (0, 1, 2):  # of 40 other seeds, epochs or indices some give another view
        others = [drawn(how, image, *(n + i * (place == changed) for place, n in enumerate((1, 2, 3))))
                  for i in range(1, 41)]  # fmt: skip
        assert any(not torch.equal(other, view) for other in others)


def test_a_view_of_crops_is_a_window_or_its_mirror_image_and_both_come(image: np.ndarray) -> None:
    pixels = torch.from_numpy(image).permute(2, 0, 1)
    crops = {
        window: transform.resize(
            pixels[:, window[0] : window[0] + window[2], window[1] : window[1] + window[3]], [16, 16], antialias=True
        )
        for window in windows(18)
    }
    kinds: Counter[str] = Counter()
    for index in range(200):
        view = drawn(augment.Crops(), image, 0, 0, index)
        straight = any(torch.equal(view, crop) for crop in crops.values())
        # Mirrored before it is resized, which may round otherwise than after.
        mirrored = any((view.int() - crop.flip(2).int()).abs().max() <= 1 for crop in crops.values())
        assert straight or mirrored
        kinds["straight" if straight else "mirrored"] += 1
    assert 70 < kinds["mirrored"] < 130


def test_views_are_uint8_of_the_wanted_size_and_leave_the_image_alone(image: np.ndarray) -> None:
    image = image.copy()
    image.flags.writeable = False  # as a memory map that is opened for reading
    kinds = (augment.Crops(), augment.Light(), augment.Strong(), augment.Whole())
    views = [drawn(how, image, 0, 0, n) for how in kinds for n in range(20)]
    for view in (*views, augment.test_view(image, 16, WHOLE)):
        assert view.dtype == torch.uint8
        assert view.shape == (3, 16, 16)


def test_the_test_view_is_the_whole_image_resized_by_pillow_alone(image: np.ndarray) -> None:
    resized = np.asarray(Image.fromarray(image).resize((16, 16), Image.Resampling.BILINEAR))
    assert np.array_equal(augment.test_view(image, 16, WHOLE).permute(1, 2, 0), resized)
    assert np.array_equal(augment.test_view(image, 18, WHOLE).permute(1, 2, 0), image)
    pixels = torch.from_numpy(image).permute(2, 0, 1)
    other = transform.resize(pixels, [16, 16], antialias=True)  # the training views' way
    assert (augment.test_view(image, 16, WHOLE).int() - other.int()).abs().max() <= 2


def test_whole_images_are_test_views(image: np.ndarray) -> None:
    assert torch.equal(drawn(augment.Whole(), image, 1, 2, 3), augment.test_view(image, 16, WHOLE))


@pytest.mark.parametrize("how", [augment.Crops(), augment.Light(), augment.Strong(), augment.Whole()])
def test_every_view_is_resized_as_the_weights_say(how: augment.Augmentation) -> None:
    image = np.random.default_rng(0).integers(0, 256, (18, 18, 3), np.uint8)
    views = [how.view(image, 16, np.random.default_rng(5), Preparation(name)) for name in ("bilinear", "bicubic")]
    assert not torch.equal(*views)
    assert torch.equal(views[0], how.view(image, 16, np.random.default_rng(5)))


def ramps(side: int) -> np.ndarray:
    """An image in which red grows to the right and green downwards, by one a pixel."""
    across = np.arange(side, dtype=np.uint8)
    return np.stack(np.broadcast_arrays(across, across[:, None], 0), -1)


def window_of(view: torch.Tensor) -> tuple[float, float, float, float]:
    """Left, right, top and bottom of the window of ``ramps`` that a view shows, left above right where mirrored; each
    to about a pixel, for a pixel at the edge is a mean over several."""
    red, green = view[0].float().mean(0), view[1].float().mean(1)
    return red[0].item(), red[-1].item(), green[0].item(), green[-1].item()


@pytest.mark.parametrize("scale", [0.35, 0.8, 1.0])
def test_light_shows_windows_inside_the_image_no_smaller_than_the_scale_and_half_of_them_mirrored(scale: float) -> None:
    side, how = 200, augment.Light(scale=scale)
    areas, mirrored = [], 0
    for index in range(200):
        view = how.view(ramps(side), 50, np.random.default_rng((0, 0, index)))
        left, right, top, bottom = window_of(view)
        mirrored += left > right
        left, right = sorted((left, right))
        assert min(left, top) >= 0 and max(right, bottom) <= side - 1 and top < bottom
        scaled = 50 / 49  # the first and last of 50 pixels lie half a pixel inside the window
        areas.append((right - left) * scaled * (bottom - top) * scaled / side**2)
    assert scale - 0.03 < min(areas) < scale + 0.05
    assert 0.9 < max(areas) < 1.03
    assert 70 < mirrored < 130


def test_strong_is_a_view_of_light_that_is_changed_further_most_of_the_time() -> None:
    image, light, strong = ramps(200), augment.Light(), augment.Strong()
    pairs = [
        (
            light.view(image, 50, np.random.default_rng((0, 0, i))),
            strong.view(image, 50, np.random.default_rng((0, 0, i))),
        )
        for i in range(200)
    ]
    equal = sum(torch.equal(a, b) for a, b in pairs)
    assert 5 < equal < 80  # one of its fourteen changes is none, others may be of strength 0


def batch_of(seed: int, rows: int = 40) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    image = torch.randint(0, 256, (rows, 3, 12, 12), generator=generator, dtype=torch.uint8)
    known = torch.rand(rows, 5, generator=generator) < 0.8
    target = torch.randint(0, 2, (rows, 5), generator=generator).float().where(known, 0)
    return Batch(torch.arange(rows) + 7, image, target, known)


def mix(**alphas: float) -> tuple[Batch, Batch, Batch]:
    one, other = batch_of(0), batch_of(1)
    generators = [np.random.default_rng((3, row)) for row in range(40)]
    return one, other, augment.mixed(one, other, generators, **{"mixup": 0.0, "cutmix": 0.0} | alphas)


def shares_of(one: Batch, other: Batch, mixed: Batch) -> list[float | None]:
    """The first image's share in each row's labels, as a plain loop finds it; None where it cannot be told."""
    shares: list[float | None] = []
    for row in range(40):
        found = set()
        for label in range(5):
            a, b, m = (float(batch.target[row, label]) for batch in (one, other, mixed))
            if not (one.known[row, label] and other.known[row, label]):
                assert m == 0 and not mixed.known[row, label]
                continue
            assert mixed.known[row, label]
            if a == b:
                assert m == pytest.approx(a)
            else:
                found.add(round(m if a == 1 else 1 - m, 5))
        assert len(found) <= 1
        shares.append(found.pop() if found else None)
    return shares


def test_mixup_mixes_pixels_and_labels_in_one_share_a_row() -> None:
    one, other, mixed = mix(mixup=0.8)
    assert torch.equal(mixed.index, one.index)
    shares = shares_of(one, other, mixed)
    for row, share in enumerate(shares):
        if share is not None:
            pixels = one.image[row].double() * share + other.image[row].double() * (1 - share)
            assert (mixed.image[row].double() - pixels).abs().max() <= 0.51  # rounded
    told = [share for share in shares if share is not None]
    assert len(set(told)) > 20 and min(told) < 0.2 and max(told) > 0.8


def test_cutmix_shows_a_box_of_the_other_image_and_mixes_labels_by_its_area() -> None:
    one, other, mixed = mix(cutmix=1)  # a whole number, as a command may give it
    told = 0
    for row, share in enumerate(shares_of(one, other, mixed)):
        own = (mixed.image[row] == one.image[row]).all(0)
        others = (mixed.image[row] == other.image[row]).all(0)
        assert (own | others).all()
        rows, columns = (~own).any(1), (~own).any(0)
        assert (~own).sum() == rows.sum() * columns.sum()  # a box
        if share is not None:
            assert own.double().mean().item() == pytest.approx(share, abs=1e-4)
            told += 0 < share < 1
    assert told > 15


def test_where_both_are_on_each_row_draws_one_of_them() -> None:
    one, other, mixed = mix(mixup=0.8, cutmix=1.0)
    whole = [((m == a) | (m == b)).all() for a, b, m in zip(one.image, other.image, mixed.image, strict=True)]
    assert 8 < sum(map(bool, whole)) < 32  # cut; the others have pixels of neither image


@pytest.mark.parametrize("alphas", [{"mixup": 0.2}, {"cutmix": 1.0}, {"mixup": 0.2, "cutmix": 1.0}])
def test_a_mixed_row_depends_on_its_own_generator_alone(alphas: dict[str, float]) -> None:
    one, other, mixed = mix(**alphas)
    before = torch.get_rng_state()
    rows = torch.tensor([31, 4, 17])
    parts = [Batch(*(column[rows] for column in tensors_of(batch).values())) for batch in (one, other, mixed)]
    generators = [np.random.default_rng((3, int(row))) for row in rows]
    again = augment.mixed(parts[0], parts[1], generators, **{"mixup": 0.0, "cutmix": 0.0} | alphas)
    assert all(
        torch.equal(a, b) for a, b in zip(tensors_of(again).values(), tensors_of(parts[2]).values(), strict=True)
    )
    assert torch.equal(torch.get_rng_state(), before)
