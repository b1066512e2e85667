from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from report_runs import read, write_history

from retdm.report.figures import write
from retdm.report.figures.write import predictions, write_figures

Make = Callable[..., Path]


def test_the_picture_is_that_of_the_last_stage_of_the_group_best_on_validation(make: Make, tmp_path: Path) -> None:
    for method, value in (("bce", 0.8), ("retdm", 0.9)):
        folder = make(method, 0, validation={"mAP": value}, test={"mAP": 1 - value}, stages=(("a", 1), ("b", 1)))
        (folder / "pictures").mkdir()
        for stage, colour in (("a", "red"), ("b", "blue")):
            Image.new("RGB", (8, 8), colour).save(folder / "pictures" / f"predictions-{stage}.png")
    (drawn,) = predictions(read(tmp_path / "runs")[1])
    assert isinstance(drawn.figure, Path)
    assert drawn.figure.name == "predictions-b.png"
    assert "retdm" in drawn.title


def test_every_figure_is_written_with_its_title_and_caption(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write, "DPI", 20)
    rng = np.random.default_rng(0)
    target = np.eye(3, dtype=np.float32)[rng.integers(0, 3, 9)]
    for size in (10, 20):
        arrays = {"scores": rng.random((9, 3)), "target": target, "known": target > -1}
        folder = make("bce", 0, train_size=size, images=size, arrays=arrays, stages=(("a", 1),))
        write_history(folder, ["a"], train_loss=[1.0])
        (folder / "pictures").mkdir()
        Image.new("RGB", (8, 8), "red").save(folder / "pictures" / "predictions-a.png")
    make("bce", 0, data="own set/../x")
    written = write_figures(tmp_path / "out", read(tmp_path / "runs")[1])
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
    assert write_figures(tmp_path / "out", read(tmp_path / "runs")[1]) == []
    assert not (tmp_path / "out").exists()
