"""Charts of a run: precision against recall as scikit-learn has it, training by epoch."""

import dataclasses
from pathlib import Path

import numpy as np
from report_runs import Make, write_history
from sklearn.calibration import calibration_curve
from sklearn.metrics import precision_recall_curve

from retdm.criteria.ranking import ranks
from retdm.report.one_run.curves import STEPS, curve, overall_chart, reliability_chart, training_charts
from retdm.report.one_run.evaluated import evaluated
from retdm.report.read import read_run
from retdm.report.training import training_of


def test_a_curve_has_the_points_of_scikit_learn_at_positives() -> None:
    g = np.random.default_rng(1)
    target = g.random(50) < 0.3
    for scores in (g.random(50), g.integers(0, 6, 50) / 5):  # with ties, too
        ours = curve(ranks(scores[None], target[None], np.ones((1, 50), bool)), 0)
        precision, recall, _ = precision_recall_curve(target, scores)
        theirs = {(round(float(r), 4), round(float(p), 4)) for r, p in zip(recall, precision, strict=True)}
        assert set(ours[1:]) <= theirs
        assert ours[0][0] == 0 and ours[-1][0] == 1
        assert [r for r, _ in ours] == sorted(r for r, _ in ours)


def test_a_curve_of_many_positives_has_few_points() -> None:
    g = np.random.default_rng(1)
    found = curve(ranks(g.random((1, 5000)), g.random((1, 5000)) < 0.5, np.ones((1, 5000), bool)), 0)
    assert len(found) == STEPS + 1 and found[-1][0] == 1


def test_the_dot_is_where_the_run_decides(make_run: Make) -> None:
    run = read_run(make_run("run", 60, ["a", "b", "c"], unknown=0.2))
    assert run is not None
    of = evaluated(run)
    assert of is not None
    recall, precision = (of.found["criteria"][name] for name in ("O-R", "O-P"))
    (dot,) = [each for each in overall_chart(of).lines if each.kind == "two dot"]
    x, y = map(float, dot.points.split(","))
    assert recall is not None and precision is not None
    assert abs(x - 100 * recall) < 0.01 and abs(100 - y - 100 * precision) < 0.01


def test_scores_stand_beside_what_they_come_to_before_and_after_calibration(make_run: Make) -> None:
    run = read_run(make_run("plain", 60, ["a", "b", "c"]))
    assert run is not None
    of = evaluated(run)
    assert of is not None and of.raw is None
    chart = reliability_chart(of)
    assert chart is not None and [each.kind for each in chart.lines] == ["ideal dashed", "one"]
    share, score = calibration_curve(of.target.ravel(), of.scores.ravel(), n_bins=10, strategy="quantile")
    points = [[float(number) for number in pair.split(",")] for pair in chart.lines[1].points.split()]
    assert np.allclose(points, np.stack([100 * score, 100 - 100 * share], axis=1), atol=0.01)
    raw = np.clip(2 * of.scores, 0, 1)
    both = reliability_chart(dataclasses.replace(of, raw=raw))
    assert both is not None and [each.kind for each in both.lines] == ["ideal dashed", "two", "one"]
    assert both.lines[2] == chart.lines[1] and " before calibration, " in both.note


def test_losses_are_broken_between_stages_and_stages_are_bands(make_run: Make) -> None:
    folder = make_run("run", 10, ["a", "b"])
    stages = ["label_embedding", "joint", "joint"]
    write_history(folder, stages, train_loss=[2.0, 1.0, None], validation_mAP=[0.2, 0.5, 0.4])
    run = read_run(folder)
    assert run is not None
    training = training_of(run)
    assert training is not None
    loss, score = training_charts(training)
    assert [len(each.points.split()) for each in loss.lines] == [1, 1]  # nothing logged is nothing drawn
    assert [len(each.points.split()) for each in score.lines] == [3]
    assert loss.bands == [(0, 33.33), (33.33, 66.67)]
    assert score.says == "best .500 after epoch 2, at the end .400"


def test_a_single_stage_needs_no_bands_and_a_run_without_epochs_has_no_charts(make_run: Make, tmp_path: Path) -> None:
    folder = make_run("run", 10, ["a", "b"])
    run = read_run(folder)
    assert run is not None and training_of(run) is None
    write_history(folder, ["joint", "joint"], train_loss=[-2.0, -1.0])
    training = training_of(run)
    assert training is not None
    (loss,) = training_charts(training)
    assert loss.bands == [] and loss.y_ticks[0][1] == "-2.0"


def test_values_that_no_chart_can_hold_are_not_drawn(make_run: Make) -> None:
    folder = make_run("run", 10, ["a", "b"])
    write_history(
        folder, ["joint"] * 4, train_loss=[2.0, 1e308, float("inf"), 1.0], validation_mAP=[0.2, 0.3, 0.4, -1e308]
    )
    run = read_run(folder)
    assert run is not None
    training = training_of(run)
    assert training is not None
    assert training.train_loss == {1: 2.0, 4: 1.0}
    assert [len(each.lines[0].points.split()) for each in training_charts(training)] == [2, 3]
