import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from figure_checks import assert_nothing_is_cut, cells, heights, panel
from matplotlib.figure import Figure
from report_runs import read

from retdm.report.figures.draw_over_settings import draw_heat_map, draw_learning_curves, draw_setting_curve
from retdm.report.figures.over_settings import characteristics, learning_curves, settings, weak_labels
from retdm.report.figures.style import COLOURS, styles_of

Make = Callable[..., Path]


def test_a_learning_curve_stands_at_the_mean_over_splits_over_the_number_of_training_images(
    make: Make, tmp_path: Path
) -> None:
    for split, value in enumerate((0.6, 0.8)):
        make("bce", split, train_size=None, images=100, test={"average_precision": value + 0.1})
        make("bce", split, train_size=30, images=30, test={"average_precision": value})
    (drawn,) = learning_curves(read(tmp_path / "runs")[1], ["bce"], {})
    axes = panel(drawn, "average precision ↑")
    (bars,) = axes.containers
    line, _, (whiskers,) = bars.lines  # type: ignore[attr-defined]
    np.testing.assert_allclose(line.get_xydata(), [[30, 0.7], [100, 0.8]])
    deviation = np.std((0.6, 0.8), ddof=1)
    np.testing.assert_allclose(whiskers.get_segments()[0][:, 1], [0.7 - deviation, 0.7 + deviation])


def test_there_is_a_panel_for_each_of_the_five_criteria_and_a_line_for_the_best_earlier_method(
    make: Make, tmp_path: Path
) -> None:
    for size in (30, 60):
        make("bce", 0, train_size=size, images=size)
    earlier = {"one_error": ("MIML$fast", 0.35), "coverage": ("other", 1.0)}
    (drawn,) = learning_curves(read(tmp_path / "runs")[1], ["bce"], earlier)
    assert isinstance(drawn.figure, Figure)
    titles = [axes.get_title() for axes in drawn.figure.axes if axes.get_title()]
    assert titles == [
        "average precision ↑",
        "coverage normalised ↓",
        "hamming loss ↓",
        "one error ↓",
        "ranking loss ↓",
    ]
    (text,) = panel(drawn, "one error").texts
    assert text.get_text() == r"MIML\$fast 0.350"
    assert not list(panel(drawn, "hamming loss").texts)
    assert "earlier" in drawn.caption


def test_sizes_stand_on_a_logarithmic_axis_and_every_method_is_in_one_picture(make: Make, tmp_path: Path) -> None:
    sizes = [25, 50, 100, 200]
    for method in ("l1lr", "lr"):
        for size in sizes:
            make(method, 0, train_size=size, images=size)
    (drawn,) = learning_curves(read(tmp_path / "runs")[1], ["l1lr", "lr"], {})
    axes = panel(drawn, "hamming loss")
    assert axes.get_xscale() == "log"
    assert [text.get_text() for text in axes.get_xticklabels()] == ["200", "100", "50", "25"]
    assert isinstance(drawn.figure, Figure)
    (legend,) = (each.get_legend() for each in drawn.figure.axes if each.get_legend())
    assert [text.get_text() for text in legend.get_texts()] == ["l1lr", "lr"]


def test_criteria_stand_over_the_share_of_labels_that_is_known(make: Make, tmp_path: Path) -> None:
    for split, value in enumerate((0.6, 0.8)):
        for observe, more in ((None, 0.1), ("share:0.1", 0.0), ("single_positive", -0.1)):
            make("bce", split, observe=observe, test={"mAP": value + more})
    make("asl", 0, observe="share:0.1")  # alone it makes no line
    (drawn,) = weak_labels(read(tmp_path / "runs")[1])
    (bars,) = panel(drawn, "mAP").containers
    np.testing.assert_allclose(bars.lines[0].get_xydata(), [[0.1, 0.7], [1, 0.8]])  # type: ignore[attr-defined]
    assert panel(drawn, "mAP").get_xscale() == "linear"


def test_ticks_of_near_sizes_are_left_out_so_that_the_rest_can_be_read() -> None:
    sizes = [10.0, 100.0, 990.0, 1000.0]
    points = {"a": {size: {"mAP": np.array([0.5])} for size in sizes}}
    figure = draw_learning_curves("t", points, styles_of([("a", "a")], ["a"]), ["mAP"], {})
    assert [text.get_text() for text in figure.axes[0].get_xticklabels()] == ["1000", "100", "10"]


def test_a_run_that_learned_from_validation_too_stands_over_the_images_of_both(make: Make, tmp_path: Path) -> None:
    for size in (30, 60):
        folder = make("bce", 0, train_size=size, images=size)
        config = yaml.safe_load((folder / "config.yaml").read_text())
        (folder / "config.yaml").write_text(yaml.safe_dump(config | {"refit": True}))
        parts = {"train": list(range(size)), "validation": list(range(10)), "test": []}
        (folder / "split.json").write_text(json.dumps(parts))
    (drawn,) = learning_curves(read(tmp_path / "runs")[1], ["bce"], {})
    ((line, *_),) = (bars.lines for bars in panel(drawn, "one error").containers)  # type: ignore[attr-defined]
    assert line.get_xdata().tolist() == [40, 70]


def test_one_size_is_no_learning_curve(make: Make, tmp_path: Path) -> None:
    make("bce", 0, train_size=30, images=30)
    make("retdm", 0, train_size=60, images=60)
    assert list(learning_curves(read(tmp_path / "runs")[1], ["bce", "retdm"], {})) == []


def test_a_heat_map_has_each_mean_in_its_cell_and_frames_the_best(make: Make, tmp_path: Path) -> None:
    for metric, reconstruction, value in ((0, 0.1, 0.5), (1, 0.1, 0.6), (0, 1, 0.9)):
        for split, off in enumerate((-0.01, 0.01)):
            weights = {"metric": metric, "reconstruction": reconstruction}
            make("retdm", split, weights=weights, validation={"mAP": value + off})
    (drawn,) = settings(read(tmp_path / "runs")[1], ["retdm"])
    axes = panel(drawn, "mAP")
    np.testing.assert_allclose(cells(axes), [[0.5, 0.6], [0.9, np.nan]])
    assert [text.get_text() for text in axes.get_xticklabels()] == ["0", "1"]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["0.1", "1"]
    assert axes.get_xlabel() == "method.weights.metric"
    (frame,) = axes.patches
    x, y = frame.get_bbox().x0 + 0.46, frame.get_bbox().y0 + 0.46  # type: ignore[attr-defined]
    assert (round(x), round(y)) == (0, 1)


def test_of_a_loss_the_least_cell_is_the_best() -> None:
    figure = draw_heat_map("t", ("a", "b"), ([0, 1], [0, 1]), {"hamming_loss": np.array([[0.4, 0.1], [0.3, np.nan]])})
    (frame,) = figure.axes[0].patches
    assert round(frame.get_bbox().x0 + 0.46) == 1 and round(frame.get_bbox().y0 + 0.46) == 0  # type: ignore[attr-defined]


def test_one_numeric_setting_gives_a_curve_on_the_validation_part(make: Make, tmp_path: Path) -> None:
    for metric, value in ((0, 0.5), (0.1, 0.7), (1, 0.6)):
        make("retdm", 0, weights={"metric": metric}, validation={"mAP": value}, test={"mAP": 0.1})
    make("bce", 0)
    (drawn,) = settings(read(tmp_path / "runs")[1], ["bce", "retdm"])
    assert "validation" in drawn.title
    assert heights(panel(drawn, "mAP"), COLOURS[1]) == [0.5, 0.7, 0.6]


@pytest.mark.parametrize(
    "weights",
    [
        [{"a": x, "b": x, "c": x} for x in (0, 1, 2)],
        [{"rule": x} for x in ("one", "two", "three")],
        [{"a": x, "b": x} for x in (0, 1, 2)],
        [{"a": x} for x in (False, True)],
    ],
    ids=["three settings", "words", "pairs on a line", "truth values"],
)
def test_what_is_neither_a_curve_nor_a_grid_is_not_drawn(
    make: Make, tmp_path: Path, weights: list[dict[str, Any]]
) -> None:
    for each in weights:
        make("retdm", 0, weights=each)
    assert list(settings(read(tmp_path / "runs")[1], ["retdm"])) == []


def test_each_difficulty_gives_a_panel_of_the_runs_where_the_others_are_as_usual(make: Make, tmp_path: Path) -> None:
    hard: list[tuple[dict[str, float], float]] = [
        ({}, 0.9), ({"alike": 0.5}, 0.8), ({"alike": 1}, 0.7), ({"label_noise": 0.4}, 0.6),
        ({"alike": 1, "label_noise": 0.4}, 0.1),
    ]  # fmt: skip
    for levels, value in hard:
        make("mil", 0, characteristics=levels, test={"mAP": value, "instance_average_precision": value / 2})
        make("bce", 0, characteristics=levels, test={"mAP": value / 3})
    bag, instance = characteristics(read(tmp_path / "runs")[1], ["bce", "mil"])
    assert heights(panel(bag, "instances share their light"), COLOURS[1]) == [0.9, 0.8, 0.7]
    assert heights(panel(bag, "wrong labels to learn from"), COLOURS[1]) == [0.9, 0.6]
    assert heights(panel(bag, "instances share their light"), COLOURS[0]) == pytest.approx([0.3, 0.8 / 3, 0.7 / 3])
    assert heights(panel(instance, "wrong labels to learn from"), COLOURS[1]) == [0.45, 0.3]
    assert instance.title.startswith("What instance average precision suffers")


def test_runs_of_one_level_give_no_panel(make: Make, tmp_path: Path) -> None:
    for method in ("mil", "bce"):
        make(method, 0, characteristics={"alike": 0.5})
        make(method, 1, characteristics={"alike": 0.5})
    assert list(characteristics(read(tmp_path / "runs")[1], ["bce", "mil"])) == []


@pytest.mark.filterwarnings("error")
def test_no_name_of_a_line_is_cut_at_the_edge() -> None:
    names = ["bce", "a method with quite a long name · metric=0.1 · reconstruction=0.03"]
    styles = styles_of([(name, name) for name in names], names)
    points = {name: {size: {"mAP": np.array([0.2, 0.3])} for size in (20.0, 2000.0)} for name in names}
    assert_nothing_is_cut(draw_learning_curves("t", points, styles, ["mAP"], {"mAP": ("a long name of a method", 0.1)}))
    assert_nothing_is_cut(draw_setting_curve("t", "method.weights.metric", points, styles, ["mAP"]))
