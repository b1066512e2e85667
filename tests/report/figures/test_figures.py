import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from PIL import Image

from retdm.figure_text import label_names
from retdm.report.figures import write as figures
from retdm.report.figures.draw_over_settings import draw_heat_map, draw_learning_curves, draw_setting_curve
from retdm.report.figures.draw_per_label import draw_co_occurrence, draw_label_precision
from retdm.report.figures.draw_training import Training, draw_convergence
from retdm.report.figures.over_settings import characteristics, learning_curves, settings
from retdm.report.figures.per_label import co_occurrence, label_precision
from retdm.report.figures.shown_groups import Drawn, choose
from retdm.report.figures.style import COLOURS, styles_of
from retdm.report.figures.training import convergence, training_of
from retdm.report.figures.write import predictions, write_figures
from retdm.report.groups import Group, group_runs
from retdm.report.read import find_runs
from retdm.training.history import append_epoch

LABELS = ("sea", "<b>$x", "tree$")
CRITERIA = {"mAP": 0.8, "O-F1": 0.7, "average_precision": 0.9, "coverage_normalised": 0.2, "hamming_loss": 0.1}
CRITERIA |= {"one_error": 0.15, "ranking_loss": 0.05}

Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """``make("retdm", 0, weights={"metric": 0.1}, test={"mAP": 0.9})``: a finished run's folder of 4 test images."""

    def made(
        method: str,
        split: int,
        *,
        data: str = "scene",
        characteristics: Mapping[str, float] | None = None,
        train_size: int | None = None,
        images: int = 40,
        weights: Mapping[str, Any] | None = None,
        test: Mapping[str, float | None] | None = None,
        validation: Mapping[str, float | None] | None = None,
        ap: tuple[float | None, ...] = (0.9, 0.8, None),
        scores: np.ndarray | None = None,
        target: np.ndarray | None = None,
        known: np.ndarray | None = None,
        decide: str = "half",
        stages: tuple[tuple[str, int], ...] = (),
    ) -> Path:
        folder = tmp_path / "runs" / f"{len(list(tmp_path.glob('runs/*'))):03d}"
        folder.mkdir(parents=True)
        of_data: dict[str, Any] = {"name": data, "split": split, "train_size": train_size}
        if characteristics is not None:
            of_data["characteristics"] = {"alike": 0.0, "label_noise": 0.0} | dict(characteristics)
        of_method = {"weights": dict(weights or {}), "decide": decide}
        identity = {"data": of_data, "method": {"name": method, **of_method}, "backbone": {"name": "net"}, "seed": 0}
        config = {
            "choices": {"data": data, "method": method, "backbone": "net"},
            "data": of_data,
            "method": of_method,
            "identity": identity,
        }
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        rows = zip(LABELS, ap, strict=True)
        metrics = {
            "test": CRITERIA | dict(test or {}),
            "validation": CRITERIA | dict(validation or {}),
            "per_label": {label: {"AP": value, "positives": 2 + split} for label, value in rows},
            "threshold": 0.3,
            "stages": [{"stage": stage, "epochs": epochs} for stage, epochs in stages],
            "seconds": 60.0,
            "images": images,
        }
        (folder / "metrics.json").write_text(json.dumps(metrics))
        (folder / "split.json").write_text(json.dumps({"train": list(range(images)), "validation": [], "test": []}))
        if scores is not None:
            assert target is not None
            everything = np.ones(target.shape, dtype=bool)
            np.savez(
                folder / "predictions.npz",
                index=np.arange(len(scores)),
                scores=scores,
                target=target,
                known=everything if known is None else known,
                labels=np.array(LABELS),
            )
        return folder

    return made


def groups_in(folder: Path) -> list[Group]:
    return group_runs(find_runs([folder / "runs"]))


def panel(drawn: Drawn, title: str) -> Axes:
    assert isinstance(drawn.figure, Figure)
    return next(axes for axes in drawn.figure.axes if axes.get_title().startswith(title))


def cells(axes: Axes) -> np.ndarray:
    values = axes.images[0].get_array()
    assert values is not None
    return np.ma.filled(np.ma.asarray(values, dtype=float), np.nan)


def heights(axes: Axes, colour: str) -> list[float]:
    (line,) = (each for each in axes.get_lines() if to_hex(each.get_color()) == colour and each.get_marker() == "o")
    return [float(value) for value in np.asarray(line.get_ydata())]


# Learning curves


def test_a_learning_curve_stands_at_the_mean_over_splits_over_the_number_of_training_images(
    make: Make, tmp_path: Path
) -> None:
    for split, value in enumerate((0.6, 0.8)):
        make("bce", split, train_size=None, images=100, test={"average_precision": value + 0.1})
        make("bce", split, train_size=30, images=30, test={"average_precision": value})
    (drawn,) = learning_curves(groups_in(tmp_path), ["bce"], {})
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
    (drawn,) = learning_curves(groups_in(tmp_path), ["bce"], earlier)
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
    (drawn,) = learning_curves(groups_in(tmp_path), ["l1lr", "lr"], {})
    axes = panel(drawn, "hamming loss")
    assert axes.get_xscale() == "log"
    assert [text.get_text() for text in axes.get_xticklabels()] == ["200", "100", "50", "25"]
    assert isinstance(drawn.figure, Figure)
    (legend,) = (each.get_legend() for each in drawn.figure.axes if each.get_legend())
    assert [text.get_text() for text in legend.get_texts()] == ["l1lr", "lr"]


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
    (drawn,) = learning_curves(groups_in(tmp_path), ["bce"], {})
    ((line, *_),) = (bars.lines for bars in panel(drawn, "one error").containers)  # type: ignore[attr-defined]
    assert line.get_xdata().tolist() == [40, 70]


def test_one_size_is_no_learning_curve(make: Make, tmp_path: Path) -> None:
    make("bce", 0, train_size=30, images=30)
    make("retdm", 0, train_size=60, images=60)
    assert list(learning_curves(groups_in(tmp_path), ["bce", "retdm"], {})) == []


# Settings


def test_a_heat_map_has_each_mean_in_its_cell_and_frames_the_best(make: Make, tmp_path: Path) -> None:
    for metric, reconstruction, value in ((0, 0.1, 0.5), (1, 0.1, 0.6), (0, 1, 0.9)):
        for split, off in enumerate((-0.01, 0.01)):
            weights = {"metric": metric, "reconstruction": reconstruction}
            make("retdm", split, weights=weights, validation={"mAP": value + off})
    (drawn,) = settings(groups_in(tmp_path), ["retdm"])
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
    (drawn,) = settings(groups_in(tmp_path), ["bce", "retdm"])
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
    assert list(settings(groups_in(tmp_path), ["retdm"])) == []


# Characteristics


def test_each_difficulty_gives_a_panel_of_the_runs_where_the_others_are_as_usual(make: Make, tmp_path: Path) -> None:
    hard: list[tuple[dict[str, float], float]] = [
        ({}, 0.9), ({"alike": 0.5}, 0.8), ({"alike": 1}, 0.7), ({"label_noise": 0.4}, 0.6),
        ({"alike": 1, "label_noise": 0.4}, 0.1),
    ]  # fmt: skip
    for levels, value in hard:
        make("mil", 0, characteristics=levels, test={"mAP": value, "instance_average_precision": value / 2})
        make("bce", 0, characteristics=levels, test={"mAP": value / 3})
    bag, instance = characteristics(groups_in(tmp_path), ["bce", "mil"])
    assert heights(panel(bag, "instances share their light"), COLOURS[1]) == [0.9, 0.8, 0.7]
    assert heights(panel(bag, "wrong labels to learn from"), COLOURS[1]) == [0.9, 0.6]
    assert heights(panel(bag, "instances share their light"), COLOURS[0]) == pytest.approx([0.3, 0.8 / 3, 0.7 / 3])
    assert heights(panel(instance, "wrong labels to learn from"), COLOURS[1]) == [0.45, 0.3]
    assert instance.title.startswith("What instance average precision suffers")


def test_runs_of_one_level_give_no_panel(make: Make, tmp_path: Path) -> None:
    for method in ("mil", "bce"):
        make(method, 0, characteristics={"alike": 0.5})
        make(method, 1, characteristics={"alike": 0.5})
    assert list(characteristics(groups_in(tmp_path), ["bce", "mil"])) == []


# Labels


def test_labels_stand_best_first_at_their_mean_with_the_range_over_splits(make: Make, tmp_path: Path) -> None:
    make("bce", 0, ap=(0.5, 0.8, None))
    make("bce", 1, ap=(0.7, 0.9, None))
    (drawn,) = label_precision(groups_in(tmp_path), ["bce"])
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
    assert list(label_precision(groups_in(tmp_path), ["bce"])) == []


def test_of_more_labels_than_fit_the_best_and_the_worst_are_shown() -> None:
    values = np.linspace(1, 0.01, 100)[None]
    names = [f"label {j}" for j in range(100)]
    figure = draw_label_precision("t", names, [1.0] * 100, {"bce": values}, styles_of([("bce", "bce")], ["bce"]))
    shown = [text.get_text() for axes in figure.axes for text in axes.get_yticklabels()]
    assert shown == [f"label {j}  1" for j in (*range(41), *range(59, 100))]


# Co-occurrence


def test_shares_of_labels_together_are_those_counted_by_hand(make: Make, tmp_path: Path) -> None:
    target = np.array([[1, 1, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], np.float32)
    known = np.ones((4, 3), bool)
    known[2, 1] = False
    scores = np.array([[0.9, 0.4, 0], [0.6, 0.6, 0], [0.7, 0.9, 0.9], [0.1, 0.2, 0.5]], np.float32)
    make("bce", 0, scores=scores, target=target, known=known)
    (drawn,) = co_occurrence(groups_in(tmp_path))
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
    make("bce", 0, scores=scores, target=target, decide="validation")
    (drawn,) = co_occurrence(groups_in(tmp_path))
    decided = cells(panel(drawn, "predicted"))
    np.testing.assert_allclose(decided[:2, :2], [[np.nan, 100], [100, np.nan]])


def test_a_run_without_predictions_is_in_no_figure_of_labels_together(make: Make, tmp_path: Path) -> None:
    make("bce", 0)
    assert list(co_occurrence(groups_in(tmp_path))) == []


# Training


def write_history(folder: Path, stages: list[str], **values: list[float | None]) -> None:
    """An epoch for each stage named; ``values`` by part and name, as ``train_loss``."""
    for epoch, stage in enumerate(stages, 1):
        line: dict[str, Any] = {"epoch": epoch, "stage": stage, "train": {}, "validation": {}}
        for key, of_epochs in values.items():
            part, _, name = key.partition("_")
            line[part][name] = of_epochs[epoch - 1]
        append_epoch(folder / "history.jsonl", line)


def test_losses_and_validation_map_are_drawn_by_epoch_with_the_stages(make: Make, tmp_path: Path) -> None:
    folder = make("retdm", 0)
    scores: list[float | None] = [0.5, 0.6, 0.7]
    write_history(folder, ["first", "joint", "joint"], train_loss=[3.0, 8.0, None], validation_mAP=scores)
    training = training_of(groups_in(tmp_path)[0].runs[0])
    assert training == Training([("first", 1, 1), ("joint", 2, 3)], {1: 3.0, 2: 8.0}, {}, {1: 0.5, 2: 0.6, 3: 0.7})
    (drawn,) = convergence(groups_in(tmp_path), ["retdm"])
    left, right = drawn.figure.axes  # type: ignore[union-attr]
    # The loss is broken where a stage begins, the score is not.
    assert [len(np.asarray(line.get_xdata())) for line in left.get_lines()] == [1, 0, 1, 0]
    assert [len(np.asarray(line.get_xdata())) for line in right.get_lines()] == [3]
    assert [text.get_text() for text in right.texts] == ["1", "2"]
    assert left.get_title(loc="left") == "retdm: 1 first, 2 joint"


def test_a_run_of_no_epochs_has_no_curves(make: Make, tmp_path: Path) -> None:
    make("retdm", 0, stages=(("first", 1),))
    assert list(convergence(groups_in(tmp_path), ["retdm"])) == []


def test_the_picture_is_that_of_the_last_stage_of_the_group_best_on_validation(make: Make, tmp_path: Path) -> None:
    for method, value in (("bce", 0.8), ("retdm", 0.9)):
        folder = make(method, 0, validation={"mAP": value}, test={"mAP": 1 - value}, stages=(("a", 1), ("b", 1)))
        (folder / "pictures").mkdir()
        for stage, colour in (("a", "red"), ("b", "blue")):
            Image.new("RGB", (8, 8), colour).save(folder / "pictures" / f"predictions-{stage}.png")
    (drawn,) = predictions(groups_in(tmp_path))
    assert isinstance(drawn.figure, Path)
    assert drawn.figure.name == "predictions-b.png"
    assert "retdm" in drawn.title


# All of them


def test_of_too_many_groups_the_best_of_each_method_is_shown_in_the_order_of_all(make: Make, tmp_path: Path) -> None:
    for metric in range(4):
        make("retdm", 0, weights={"metric": metric}, validation={"mAP": None if metric == 3 else 0.5 + 0.1 * metric})
    make("bce", 0, validation={"mAP": 0.1})
    groups = groups_in(tmp_path)
    assert [group.name for group in choose(groups, 4)] == ["scene · bce · net", "scene · retdm · net · metric=2"]
    assert choose(groups, 5) == groups


def test_a_method_has_one_colour_in_all_figures_and_its_groups_differ_in_marker() -> None:
    methods = ["bce", "l1", "retdm"]
    few = styles_of([("retdm", "retdm")], methods)
    many = styles_of([("bce", "bce"), ("retdm", "retdm · 1"), ("retdm", "retdm · 2")], methods)
    assert few["retdm"].colour == many["retdm · 1"].colour == many["retdm · 2"].colour != many["bce"].colour
    assert many["retdm · 1"].marker != many["retdm · 2"].marker
    assert few["retdm"].marker == many["retdm · 1"].marker


def test_every_figure_is_written_with_its_title_and_caption(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures, "DPI", 20)
    rng = np.random.default_rng(0)
    target = np.eye(3, dtype=np.float32)[rng.integers(0, 3, 9)]
    for size in (10, 20):
        folder = make(
            "bce", 0, train_size=size, images=size, scores=rng.random((9, 3)), target=target, stages=(("a", 1),)
        )
        write_history(folder, ["a"], train_loss=[1.0])
        (folder / "pictures").mkdir()
        Image.new("RGB", (8, 8), "red").save(folder / "pictures" / "predictions-a.png")
    make("bce", 0, data="own set/../x")
    written = write_figures(tmp_path / "out", groups_in(tmp_path))
    assert [path.relative_to(tmp_path / "out" / "figures").name for path in written] == [
        "label_precision-own_set_.._x.png",
        "learning_curves-scene.png",
        "label_precision-scene.png",
        "convergence-scene.png",
        "co_occurrence-scene.png",
        "predictions-scene.png",
    ]
    assert sorted(path.name for path in (tmp_path / "out" / "figures").iterdir()) == sorted(
        path.name for path in written
    )
    for path in written:
        with Image.open(path) as image:
            assert len(image.info["Title"]) > 20 and len(image.info["Description"]) > 20


def test_runs_that_leave_nothing_to_draw_give_no_figure(make: Make, tmp_path: Path) -> None:
    make("bce", 0, ap=(None, None, None))
    assert write_figures(tmp_path / "out", groups_in(tmp_path)) == []
    assert not (tmp_path / "out").exists()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("count", [1, 23, 81])
def test_no_text_is_cut_at_the_edge(count: int) -> None:
    rng = np.random.default_rng(0)
    labels = [f"a rather long label, number {j}"[-9 - j % 20 :] for j in range(count)]
    names = ["bce", "retdm", "a method with quite a long name · metric=0.1 · reconstruction=0.03"]
    styles = styles_of([(name, name) for name in names], names)
    shares = rng.random((min(count, 24),) * 2)
    values = {name: rng.random((3, count)) for name in names}
    fits(draw_label_precision("t", labels, [9999.0] * count, values, styles))
    fits(draw_co_occurrence("t", label_names(labels[:24], 18), shares, dict.fromkeys(names, shares)))


@pytest.mark.filterwarnings("error")
def test_no_name_of_a_line_is_cut_at_the_edge() -> None:
    names = ["bce", "a method with quite a long name · metric=0.1 · reconstruction=0.03"]
    styles = styles_of([(name, name) for name in names], names)
    points = {name: {size: {"mAP": np.array([0.2, 0.3])} for size in (20.0, 2000.0)} for name in names}
    fits(draw_learning_curves("t", points, styles, ["mAP"], {"mAP": ("a long name of a method", 0.1)}))
    fits(draw_setting_curve("t", "method.weights.metric", points, styles, ["mAP"]))


def fits(figure: Figure) -> None:
    figure.set_dpi(30)
    figure.draw_without_rendering()
    taken = figure.get_tightbbox()
    assert figure.get_figwidth() == 9
    assert taken.x0 >= 0 and taken.y0 >= 0
    assert taken.x1 <= figure.get_figwidth() and taken.y1 <= figure.get_figheight()


def test_a_history_with_a_hundred_epochs_is_drawn() -> None:
    training = Training([("a", 1, 60), ("b", 61, 100)], {e: 1 / e for e in range(1, 101)}, {}, {})
    figure = draw_convergence("t", {"bce": training}, styles_of([("bce", "bce")], ["bce"]))
    assert figure.axes[0].get_xlim() == (0.5, 100.5)
