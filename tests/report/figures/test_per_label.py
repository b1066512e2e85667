from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from figure_checks import assert_nothing_is_cut, cells, panel
from matplotlib.figure import Figure
from report_runs import read

from retdm.display.figure_text import label_names
from retdm.report.figures.draw_per_label import draw_co_occurrence, draw_label_precision
from retdm.report.figures.per_label import co_occurrence, label_precision
from retdm.report.figures.style import styles_of

Make = Callable[..., Path]


def test_labels_stand_best_first_at_their_mean_with_the_range_over_splits(make: Make, tmp_path: Path) -> None:
    make("bce", 0, ap=(0.5, 0.8, None))
    make("bce", 1, ap=(0.7, 0.9, None))
    (drawn,) = label_precision(read(tmp_path / "runs")[1], ["bce"])
    assert isinstance(drawn.figure, Figure)
    (axes,) = drawn.figure.axes
    assert [text.get_text() for text in axes.get_yticklabels()] == [
        r"<b>\$x  2",
        "sea  2",
    ]  # 2.5 test images on average
    marks = next(line for line in axes.get_lines() if line.get_marker() == "o")
    np.testing.assert_allclose(np.asarray(marks.get_xdata()), [0.85, 0.6])
    (ranges,) = axes.collections
    segments = np.array(ranges.get_segments())  # type: ignore[attr-defined]
    np.testing.assert_allclose(segments[:, :, 0], np.array([[0.8, 0.9], [0.5, 0.7]]))


def test_without_any_average_precision_there_is_no_figure_of_it(make: Make, tmp_path: Path) -> None:
    make("bce", 0, ap=(None, None, None))
    assert list(label_precision(read(tmp_path / "runs")[1], ["bce"])) == []


def test_of_more_labels_than_fit_the_best_and_the_worst_are_shown() -> None:
    values = np.linspace(1, 0.01, 100)[None]
    names = [f"label {j}" for j in range(100)]
    figure = draw_label_precision("t", names, [1.0] * 100, {"bce": values}, styles_of([("bce", "bce")], ["bce"]))
    shown = [text.get_text() for axes in figure.axes for text in axes.get_yticklabels()]
    assert shown == [f"label {j}  1" for j in (*range(41), *range(59, 100))]


def test_shares_of_labels_together_are_those_counted_by_hand(make: Make, tmp_path: Path) -> None:
    target = np.array([[1, 1, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], np.float32)
    known = np.ones((4, 3), bool)
    known[2, 1] = False
    scores = np.array([[0.9, 0.4, 0], [0.6, 0.6, 0], [0.7, 0.9, 0.9], [0.1, 0.2, 0.5]], np.float32)
    make("bce", 0, arrays={"scores": scores, "target": target, "known": known})
    (drawn,) = co_occurrence(read(tmp_path / "runs")[1])
    # Row 2 says nothing of label 1. True: label 0 in rows 0 and 1, of which one has label 1. Label 2 is nowhere.
    nan = np.nan
    true = cells(panel(drawn, "true"))
    np.testing.assert_allclose(true, [[nan, 50, 0], [50, nan, 0], [nan, nan, nan]])
    # Decided: {0}, {0, 1}, {0, 2} and an unknown, {2}.
    decided = cells(panel(drawn, "predicted"))
    np.testing.assert_allclose(decided, [[nan, 50, 100 / 3], [100, nan, 0], [50, 0, nan]])


def test_labels_are_decided_by_the_rule_of_the_run(make: Make, tmp_path: Path) -> None:
    target = np.array([[1, 1, 0]] * 4, np.float32)
    scores = np.array([[0.4, 0.4, 0.1]] * 4, np.float32)  # the threshold found on validation is 0.3
    make("bce", 0, arrays={"scores": scores, "target": target, "known": target > -1}, decide="validation")
    (drawn,) = co_occurrence(read(tmp_path / "runs")[1])
    decided = cells(panel(drawn, "predicted"))
    np.testing.assert_allclose(decided[:2, :2], [[np.nan, 100], [100, np.nan]])


def test_a_run_without_predictions_is_in_no_figure_of_labels_together(make: Make, tmp_path: Path) -> None:
    make("bce", 0)
    assert list(co_occurrence(read(tmp_path / "runs")[1])) == []


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("count", [1, 23, 81])
def test_no_text_is_cut_at_the_edge(count: int) -> None:
    rng = np.random.default_rng(0)
    labels = [f"a rather long label, number {j}"[-9 - j % 20 :] for j in range(count)]
    names = ["bce", "retdm", "a method with quite a long name · metric=0.1 · reconstruction=0.03"]
    styles = styles_of([(name, name) for name in names], names)
    shares = rng.random((min(count, 24),) * 2)
    values = {name: rng.random((3, count)) for name in names}
    assert_nothing_is_cut(draw_label_precision("t", labels, [9999.0] * count, values, styles))
    assert_nothing_is_cut(draw_co_occurrence("t", label_names(labels[:24], 18), shares, dict.fromkeys(names, shares)))
