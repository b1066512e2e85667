"""Ranges of settings: which numbers they hold, and how a message names them."""

import pytest

from retdm.ranges import Above, AtLeast, AtMost, Between, Range


@pytest.mark.parametrize(
    ("numbers", "held", "not_held", "words"),
    [
        (Above(0), (1e-9, 5), (0, -1), "above 0"),
        (AtLeast(1), (1, 2.5), (0.999, -3), "of at least 1"),
        (AtMost(1), (1, -9), (1.001, 3), "of at most 1"),
        (Between(0, 1), (0, 0.5, 1), (-0.1, 1.1), "from 0 to 1"),
        (Between(0, 1, with_low=False), (0.1, 1), (0,), "above 0 to 1"),
        (Between(0, 1, with_high=False), (0, 0.9), (1,), "from 0 to below 1"),
    ],
)
def test_a_range_holds_its_numbers_and_says_so(
    numbers: Range, held: tuple[float, ...], not_held: tuple[float, ...], words: str
) -> None:
    assert all(value in numbers for value in held)
    assert not any(value in numbers for value in not_held)
    assert numbers.words == words
