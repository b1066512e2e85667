from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import pytest

from retdm.ranges import Above, AtLeast, Between
from retdm.settings.types import fits, in_words, mapped


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (int, [0, -3], [True, 1.0, "1", None, [1]]),
        (float, [0, 1.5, -2], [True, "1", None, float("nan"), float("inf")]),
        (str, ["", "none"], [1, None, ["a"]]),
        (bool, [True, False], [0, 1, "true", None]),
        (int | None, [3, None], [2.5, "none"]),
        (str | float, ["spread", 1, 0.5], [True, None]),
        (Sequence[int], [[], [1, 2]], ["12", [1, "2"], [1.5], 3, None]),
        (list[Mapping[str, Any]], [[{"name": "joint"}], [{}]], [["joint"], {"name": "joint"}]),
        (Mapping[str, float] | None, [None, {}, {"metric": 1}], [3, [1.0], {"metric": "x"}, {"metric": None}]),
        (Literal["mean", "sum"], ["sum"], ["max", None]),
        (Any, [None, 3, "x", [1], {}], []),
        (Annotated[float, Above(0)], [1, 0.1], [0, -1, "1", None, True]),
        (Annotated[int, AtLeast(1)] | None, [1, None], [0, 1.5]),
        (Sequence[Annotated[float, Between(0, 1)]], [[0, 1]], [[0, 2]]),
    ],
)
def test_a_value_fits_its_annotation_and_no_other_does(kind: Any, good: list[Any], bad: list[Any]) -> None:
    assert [value for value in good if not fits(value, kind)] == []
    assert [value for value in bad if fits(value, kind)] == []


def test_annotations_are_told_in_words() -> None:
    assert in_words(int | None) == "a whole number or null"
    assert in_words(str | float) == "text or a number"
    assert in_words(bool) == "true or false"
    assert in_words(Sequence[int]) == "a list (each a whole number)"
    assert in_words(Literal["mean", "sum"]) == "one of mean, sum"
    assert in_words(Mapping[str, float]) == "names with values"
    assert in_words(Annotated[float, Above(0)]) == "a number above 0"
    assert in_words(Annotated[int, AtLeast(1)] | None) == "a whole number of at least 1 or null"


def test_the_kind_of_a_mapping_s_values_is_found() -> None:
    assert mapped(Mapping[str, float] | None) is float
    assert mapped(dict[str, int]) is int
    assert mapped(Sequence[int] | None) is None
