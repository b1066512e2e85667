"""The drawn landscapes: determinism, masks, label sets, sides, and that no plain colour gives a label away."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from retdm.data.synthetic.label_sets import LABEL_SETS
from retdm.data.synthetic.source import Synthetic


@pytest.fixture(scope="module")
def source() -> Synthetic:
    return Synthetic(size=240, seed=0, side=64)


@pytest.fixture(scope="module")
def pictures(source: Synthetic) -> np.ndarray:
    return np.stack([np.asarray(source.read(i)) for i in range(len(source))])


def pixels(source: Synthetic, i: int) -> np.ndarray:
    return np.asarray(source.read(i))


def test_the_drawn_set_is_a_source(source: Synthetic) -> None:
    assert source.names == ["desert", "mountains", "sea", "sunset", "trees"]
    assert len(source) == 240 and source.split is None
    assert source.targets.shape == (240, 5) and source.targets.dtype == np.uint8
    assert source.known.dtype == bool and source.known.shape == (240, 5) and source.known.all()
    assert source.ids[0] == "00000" and source.ids[239] == "00239" and len(set(source.ids)) == 240
    assert source.read(3).mode == "RGB" and source.read(3).size == (64, 64)
    assert source.masks(3).shape == (5, 64, 64) and source.masks(3).dtype == bool


def test_an_image_and_its_labels_do_not_depend_on_the_size_of_the_set(source: Synthetic) -> None:
    small = Synthetic(size=7, seed=0, side=64)
    assert np.array_equal(small.targets, source.targets[:7])
    for i in range(7):
        assert np.array_equal(pixels(small, i), pixels(source, i))
        assert np.array_equal(small.masks(i), source.masks(i))


def test_an_image_does_not_depend_on_what_was_read_before(source: Synthetic, pictures: np.ndarray) -> None:
    fresh = Synthetic(size=240, seed=0, side=64)
    for i in (200, 5, 5, 91):
        assert np.array_equal(pixels(fresh, i), pictures[i])


def test_images_differ_from_one_another_and_seeds_give_other_images(source: Synthetic, pictures: np.ndarray) -> None:
    other = Synthetic(size=20, seed=1, side=64)
    assert (other.targets != source.targets[:20]).any()
    assert len({p.tobytes() for p in pictures}) == len(pictures)
    for i in range(20):
        assert not np.array_equal(pixels(other, i), pictures[i])


def test_the_fingerprint_differs_with_every_argument() -> None:
    prints = [Synthetic(*a).fingerprint for a in ((2, 0, 32), (3, 0, 32), (2, 1, 32), (2, 0, 48))]
    assert len(set(prints)) == 4
    assert Synthetic(2, 0, 32).fingerprint == prints[0] and prints[0].startswith("Synthetic")


@pytest.mark.parametrize("side, count", [(16, 200), (32, 120), (224, 8)])
def test_masks_are_visible_for_present_labels_and_empty_for_absent_ones(side: int, count: int) -> None:
    drawn = Synthetic(size=count, seed=3, side=side)
    for i in range(count):
        seen = drawn.masks(i).reshape(5, -1).any(axis=1)
        assert np.array_equal(seen, drawn.targets[i] == 1), (i, side)


def test_a_pixel_shows_at_most_one_label(source: Synthetic) -> None:
    for i in range(40):
        assert source.masks(i).sum(axis=0).max() <= 1


def test_masks_lie_where_the_things_are(source: Synthetic, pictures: np.ndarray) -> None:
    """Desert and sea are not in the top rows; a sunset's pixels are brighter than the rest of the sky's."""
    brighter = []
    for i in range(len(source)):
        masks = source.masks(i)
        sunset = masks[3]
        assert not masks[[0, 2]][:, :8].any()
        if sunset.any():
            top = np.zeros_like(sunset)
            top[:20] = True
            rest = top & ~masks.any(axis=0)
            if rest.any():
                brighter.append(pictures[i][sunset].mean() > pictures[i][rest].mean())
    assert len(brighter) > 30 and np.mean(brighter) > 0.8


def test_the_table_is_that_of_miml_scene() -> None:
    """The counts that the publisher states: images, images of each label, images of two labels or more."""
    sets = np.array([s for s, _ in LABEL_SETS])
    counts = np.array([c for _, c in LABEL_SETS])
    assert len({tuple(s) for s in sets}) == 20 and counts.sum() == 2000
    assert (sets * counts[:, None]).sum(axis=0).tolist() == [409, 458, 580, 465, 560]
    assert counts[sets.sum(axis=1) >= 2].sum() == 457 and sets.sum(axis=1).min() == 1


def test_label_sets_are_drawn_with_the_frequencies_of_the_table() -> None:
    """Each count of 2,000 draws within 4 standard deviations of the binomial, plus one for the rarest sets."""
    targets = Synthetic(size=2000, seed=0, side=16).targets
    assert all(tuple(row) in {s for s, _ in LABEL_SETS} for row in targets.tolist())
    for labels, count in LABEL_SETS:
        drawn = (targets == labels).all(axis=1).sum()
        deviation = np.sqrt(count * (1 - count / 2000))
        assert abs(drawn - count) <= 4 * deviation + 1, (labels, drawn, count)


def shrunk(image: np.ndarray, side: int) -> np.ndarray:
    """Block means: (k * side, k * side, 3) -> (side, side, 3)."""
    k = len(image) // side
    return image.reshape(side, k, side, k, 3).mean(axis=(1, 3))


@pytest.mark.parametrize("side", [32, 224])
def test_another_side_shows_the_same_scene(source: Synthetic, side: int) -> None:
    """Block means of 16 x 16 agree within a few of 256 levels for one scene, and by far not between two."""
    other = Synthetic(size=10, seed=0, side=side)
    assert np.array_equal(other.targets, source.targets[:10])
    here = [shrunk(pixels(source, i), 16) for i in range(10)]
    there = [shrunk(pixels(other, i), 16) for i in range(10)]
    same = [np.abs(a - b).mean() for a, b in zip(here, there, strict=True)]
    unlike = [np.abs(a - b).mean() for a, b in zip(here, there[1:], strict=False)]
    assert max(same) < 8 < np.median(unlike)
    for i in range(10):
        shares = source.masks(i).mean(axis=(1, 2)) - other.masks(i).mean(axis=(1, 2))
        assert np.abs(shares).max() < 0.03


def test_no_mean_of_a_colour_channel_gives_a_label_away(source: Synthetic, pictures: np.ndarray) -> None:
    """A threshold on one channel's mean ranks a random image with the label above one without it at 76 % at most.

    One half is chance; 240 images give a standard error of about .04.
    """
    means = pictures.mean(axis=(1, 2))
    for label, name in enumerate(source.names):
        for channel in range(3):
            area = roc_auc_score(source.targets[:, label], means[:, channel])
            assert max(area, 1 - area) < 0.76, (name, channel)


def test_pictures_are_neither_flat_nor_burnt_out(pictures: np.ndarray) -> None:
    """Every picture has contrast, and seldom is half of one pure white or black."""
    spread = pictures.mean(axis=3).std(axis=(1, 2))
    burnt = ((pictures == 255) | (pictures == 0)).all(axis=3).mean(axis=(1, 2))
    assert spread.min() > 4 and (burnt > 0.5).mean() < 0.03


@pytest.mark.parametrize("i", [-1, 240])
def test_an_index_out_of_range_is_refused(source: Synthetic, i: int) -> None:
    with pytest.raises(IndexError):
        source.read(i)
