"""Bags: what is taken, padded and counted, against plain lists; and maps that are read only where they are taken."""

from typing import Any

import numpy as np
import pytest

from retdm.bags import Bags, RegionBags

SIZES = [2, 1, 4, 1, 3]


@pytest.fixture
def bags() -> Bags:
    instances = np.random.default_rng(0).normal(size=(sum(SIZES), 3)).astype(np.float32)
    return Bags(instances, np.cumsum([0, *SIZES]), np.array([7, 3, 9, 0, 4]))


def listed(bags: Bags) -> list[Any]:
    ends = zip(bags.offsets, bags.offsets[1:], strict=False)
    return [(place, bags.instances[a:b].tolist()) for place, (a, b) in zip(bags.index.tolist(), ends, strict=True)]


@pytest.mark.parametrize(
    "chosen, places",
    [
        (slice(1, 3), [1, 2]),
        (slice(3, 100), [3, 4]),
        (np.array([4, 0, 4]), [4, 0, 4]),
        (np.array([False, True, False, True, True]), [1, 3, 4]),
        (np.zeros(5, bool), []),
    ],
)
def test_taken_bags_are_those_of_a_list(bags: Bags, chosen: Any, places: list[int]) -> None:
    taken = bags.take(chosen)
    assert listed(taken) == [listed(bags)[place] for place in places] and len(taken) == len(places)
    assert taken.instances.dtype == np.float32 and taken.offsets.dtype == taken.index.dtype == np.int64


def test_every_instance_has_its_place_in_the_padded_array_and_its_bags_number(bags: Bags) -> None:
    padded, mask = bags.pad()
    assert padded.shape == (5, 4, 3) and padded.dtype == np.float64 and bags.pad(np.float32)[0].dtype == np.float32
    assert mask.tolist() == [[place < size for place in range(4)] for size in SIZES] == bags.mask.tolist()

    np.testing.assert_array_equal(padded[mask], bags.instances)
    assert (padded[~mask] == 0).all()
    assert bags.bag_index().tolist() == [bag for bag, size in enumerate(SIZES) for _ in range(size)]
    assert bags.sizes.tolist() == SIZES


def test_instances_are_scaled_in_float64(bags: Bags) -> None:
    shift, spread = np.array([1.0, 2.0, 3.0]), np.array([0.1, 1.0, 3.0])
    scaled = bags.scaled(shift, spread)
    np.testing.assert_array_equal(scaled.instances, (bags.instances.astype(np.float64) - shift) / spread)
    assert scaled.offsets is bags.offsets and scaled.index is bags.index


class Read:
    """Maps that note which rows were asked for."""

    def __init__(self, maps: np.ndarray) -> None:
        self.maps, self.shape, self.asked = maps, maps.shape, [False] * len(maps)

    def __getitem__(self, rows: Any) -> np.ndarray:
        for row in np.arange(len(self.maps))[rows]:
            self.asked[row] = True
        return self.maps[rows]


@pytest.mark.parametrize("chosen", [slice(1, 3), np.array([2, 1]), np.array([False, True, True, False])])
def test_regions_are_read_row_by_row_and_only_where_they_are_taken(chosen: Any) -> None:
    maps = Read(np.random.default_rng(0).normal(size=(4, 5, 2, 3)).astype(np.float16))
    bags = RegionBags(maps)
    assert len(bags) == 4 and bags.offsets.tolist() == [0, 6, 12, 18, 24] and not any(maps.asked)
    taken = bags.take(chosen)
    assert maps.asked == [False, True, True, False]
    assert taken.index.tolist() == np.arange(4)[chosen].tolist() and taken.offsets.tolist() == [0, 6, 12]
    regions = [[maps.maps[image, :, i, j] for i in range(2) for j in range(3)] for image in taken.index]
    np.testing.assert_array_equal(taken.instances, np.concatenate(regions).astype(np.float32))
    assert taken.instances.dtype == np.float32
