"""Pairs of images that show one picture."""

import numpy as np
import pytest
from PIL import Image

from retdm.data import duplicates as pairs
from retdm.data.duplicates import Pairs, find_pairs, groups_of, signature
from retdm.errors import UserError


def found_in(images: np.ndarray, **how: float) -> Pairs:
    return find_pairs([signature(image) for image in images], **how)


def scenery(n: int, side: int = 48, seed: int = 0) -> np.ndarray:
    """uint8 (n, side, side, 3): smooth pictures of their own each."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (n, 6, 6, 3), dtype=np.uint8)
    return np.stack(
        [np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC)) for image in small]
    )


def test_pairs_are_those_of_plain_loops_over_correlations() -> None:
    images = scenery(40, side=50)  # 50 is no multiple of 16
    noise = np.random.default_rng(1).integers(0, 30, images.shape).astype(np.uint8)
    images[7], images[30], images[31] = images[2], images[2], images[2] // 2 + noise[31] // 10
    images[20], images[39] = images[3] // 2 + noise[20], images[5] // 3 + 40
    thumbnails = []
    for image in images.astype(float):
        edges = [(i * 50 // 16, -(-(i + 1) * 50 // 16)) for i in range(16)]
        small = np.array([[image[a:b, c:d].mean((0, 1)) for c, d in edges] for a, b in edges])
        thumbnails.append((small - small.mean((0, 1))).ravel())
    identical, near = [], []
    for b in range(40):
        copies = [a for a in range(b) if (images[a] == images[b]).all()]
        identical += [(copies[0], b)] if copies else []
        for a in set(range(b)) - set(copies):
            near += [(a, b)] if np.corrcoef(thumbnails[a], thumbnails[b])[0, 1] > 0.97 else []
    found = found_in(images)
    assert found["identical"] == identical == [(2, 7), (2, 30)]
    assert sorted(found["near"]) == sorted(near)
    assert {(2, 31), (7, 31), (30, 31), (3, 20), (5, 39)} == set(near)


def test_pairs_are_found_across_blocks() -> None:
    images = np.random.default_rng(0).integers(0, 256, (2100, 16, 16, 3), dtype=np.uint8)
    images[2050] = images[1] // 2  # blocks of 1,024 rows: first and last
    images[1500] = images[1400] // 2  # both in the second block
    images[2099] = images[0]
    assert found_in(images) == {"identical": [(0, 2099)], "near": [(1, 2050), (1400, 1500)]}


def test_a_mirrored_copy_is_near(monkeypatch: pytest.MonkeyPatch) -> None:
    images = scenery(12)
    images[9] = images[2, :, ::-1] // 2 + 40
    assert found_in(images) == {"identical": [], "near": [(2, 9)]}


def test_sketches_miss_no_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    images = scenery(400, side=16)
    noise = np.random.default_rng(1).integers(0, 26, (100, 16, 16, 3)).astype(np.uint8)
    images[100:200] = images[:100] // 2 + noise  # correlations around the limit
    images[200:250] = images[:50, :, ::-1] // 2 + noise[50:]
    exact = found_in(images)["near"]
    assert exact is not None and 50 < len(exact) < 150
    monkeypatch.setattr(pairs, "FEW", 100)
    monkeypatch.setattr(pairs, "AXES", 8)
    monkeypatch.setattr(pairs, "CHUNK", 7)
    assert found_in(images)["near"] == exact


def test_an_image_of_one_colour_is_near_to_none() -> None:
    images = scenery(4)
    images[1], images[2] = (200, 50, 30), (190, 50, 30)
    assert found_in(images) == {"identical": [], "near": []}


def test_a_higher_threshold_finds_fewer() -> None:
    images = scenery(3)
    images[1] = images[0] // 2 + np.random.default_rng(0).integers(0, 40, images[0].shape).astype(np.uint8)
    assert found_in(images, near=0.9)["near"] == [(0, 1)] and found_in(images, near=0.99999)["near"] == []


def test_near_is_unknown_for_too_many_images_and_for_images_that_are_all_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    images = scenery(30)
    images[1] = images[0]
    alike = images[:1] // 2 + np.arange(30, dtype=np.uint8)[:, None, None, None]  # 435 pairs of 30 images
    assert found_in(alike) == {"identical": [], "near": None}
    monkeypatch.setattr(pairs, "NEAR_LIMIT", 29)
    assert found_in(images) == {"identical": [(0, 1)], "near": None}


def test_images_that_cannot_be_read_make_no_pair() -> None:
    signatures = [signature(image) for image in scenery(4)]
    assert find_pairs([None, signatures[0], None, signatures[0]]) == {"identical": [(1, 3)], "near": []}


def test_groups_are_chains_of_pairs() -> None:
    found = {"identical": [(0, 4), (4, 2)], "near": [(2, 5), (1, 3)]}
    assert groups_of(found, "none", 7) is None
    for keep, chains in (("identical", [[0, 2, 4]]), ("near", [[0, 2, 4, 5], [1, 3]])):
        groups = groups_of(found, keep, 7)
        assert groups is not None
        members = [np.flatnonzero(groups == group).tolist() for group in np.unique(groups)]
        assert sorted(rows for rows in members if len(rows) > 1) == chains
        assert len(groups) == 7


def test_given_groups_are_joined_by_the_pictures_that_they_share() -> None:
    found: Pairs = {"identical": [(0, 4)], "near": None}
    given = np.array([7, 7, 3, 3, 1, 1, 9])
    groups = groups_of(found, "identical", 7, given)
    assert groups is not None
    members = [np.flatnonzero(groups == group).tolist() for group in np.unique(groups)]
    assert sorted(members) == [[0, 1, 4, 5], [2, 3], [6]]
    assert groups_of(found, "none", 7, given) is given


def test_no_pairs_are_groups_of_one() -> None:
    groups = groups_of({"identical": [], "near": []}, "near", 5)
    assert groups is not None and len(set(groups.tolist())) == 5


def test_groups_that_cannot_be_made_say_so() -> None:
    with pytest.raises(UserError, match="near pairs of these 25,000 images are not known"):
        groups_of({"identical": [], "near": None}, "near", 25_000)
    assert groups_of({"identical": [(0, 1)], "near": None}, "identical", 3) is not None
