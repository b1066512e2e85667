from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from figure_checks import assert_nothing_is_cut
from report_runs import read, write_history

from retdm.report.figures.draw_training import draw_convergence
from retdm.report.figures.style import styles_of
from retdm.report.figures.training import convergence
from retdm.report.training import Training, training_of

Make = Callable[..., Path]


def test_losses_and_validation_map_are_drawn_by_epoch_with_the_stages(make: Make, tmp_path: Path) -> None:
    folder = make("retdm", 0)
    scores: list[float | None] = [0.5, 0.6, 0.7]
    write_history(folder, ["first", "joint", "joint"], train_loss=[3.0, 8.0, None], validation_mAP=scores)
    training = training_of(read(tmp_path / "runs")[1][0].runs[0])
    assert training == Training([("first", 1, 1), ("joint", 2, 3)], {1: 3.0, 2: 8.0}, {}, {1: 0.5, 2: 0.6, 3: 0.7})
    (drawn,) = convergence(read(tmp_path / "runs")[1], ["retdm"])
    left, right = drawn.figure.axes  # type: ignore[union-attr]
    # The loss is broken where a stage begins, the score is not.
    assert [len(np.asarray(line.get_xdata())) for line in left.get_lines()] == [1, 0, 1, 0]
    assert [len(np.asarray(line.get_xdata())) for line in right.get_lines()] == [3]
    assert [text.get_text() for text in right.texts] == ["1", "2"]
    assert left.get_title(loc="left") == "retdm: 1 first, 2 joint"


def test_a_run_of_no_epochs_has_no_curves(make: Make, tmp_path: Path) -> None:
    make("retdm", 0, stages=(("first", 1),))
    assert list(convergence(read(tmp_path / "runs")[1], ["retdm"])) == []


def test_a_hundred_epochs_are_drawn_without_marks() -> None:
    training = Training([("a", 1, 60), ("b", 61, 100)], {e: 1 / e for e in range(1, 101)}, {}, {})
    figure = draw_convergence("t", {"bce": training}, styles_of([("bce", "bce")], ["bce"]))
    assert figure.axes[0].get_xlim() == (0.5, 100.5)
    assert {line.get_markersize() for line in figure.axes[0].get_lines()} == {0}


@pytest.mark.filterwarnings("error")
def test_of_a_long_title_the_name_is_shortened_and_nothing_is_cut() -> None:
    name = "a method · " + " · ".join(f"a_long_setting_{j}=0.{j}" for j in range(9))
    stages = [("classification", 1, 1), ("label_embedding", 2, 2), ("joint", 3, 3)]
    figure = draw_convergence("t", {name: Training(stages, {1: 1.0}, {}, {})}, styles_of([(name, name)], [name]))
    title = figure.axes[0].get_title(loc="left")
    assert title.startswith("a method · ") and title.endswith("…: 1 classification, 2 label embedding, 3 joint")
    assert_nothing_is_cut(figure)
