import pytest

from retdm.report.one_run.charts import Scale, around, line


@pytest.mark.parametrize(
    "values, low, high, expected",
    [
        ([0.12, 0.47], None, None, (0.1, 0.5)),
        ([0.2, 1.49], 0, None, (0, 1.5)),
        ([0.61, 0.93], None, 1, (0.6, 1)),
        ([2.0, 2.0], None, None, (2, 3)),
        ([1.0], None, 1, (0, 1)),
        ([-3.2, 7.0], None, None, (-5, 10)),
        ([4e-7, 9e-7], 0, None, (0, 1e-6)),
        ([], None, None, (0, 1)),
    ],
)
def test_a_scale_has_round_ends_around_its_values(
    values: list[float], low: float | None, high: float | None, expected: tuple[float, float]
) -> None:
    assert around(values, low, high) == pytest.approx(expected)


def test_ticks_are_round_numbers_inside_the_scale() -> None:
    assert Scale(0, 1).ticks() == [(0, "0.0"), (50, "0.5"), (100, "1.0")]
    epochs = [(pytest.approx(100 * (i - 0.5) / 12, abs=0.01), str(i)) for i in range(2, 13, 2)]
    assert Scale(0.5, 12.5).ticks(8) == epochs
    assert [text for _, text in Scale(0.2, 0.45).ticks()] == ["0.2", "0.3", "0.4"]


def test_a_line_is_drawn_from_the_upper_left_corner_with_dots_where_points_are_few() -> None:
    few = line("one", [(0, 0), (1, 1), (2, 0.5)], Scale(0, 2), Scale(0, 1))
    assert few.points == "0,100 50,0 100,50"
    assert few.marks == "M0,100h0M50,0h0M100,50h0"
    assert line("one", [(i, i) for i in range(100)], Scale(0, 99), Scale(0, 99)).marks == ""
