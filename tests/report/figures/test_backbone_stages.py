"""What linear methods take of each stage: made runs in, table, CSV and figures out."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from figure_checks import assert_nothing_is_cut, panel
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from report_runs import LABELS, read, write_run

from retdm.commands.report import main
from retdm.report.figures.backbone_stages import (
    Explained,
    LabelShare,
    Selection,
    explained,
    selected_csv,
    selecting,
    selection_of,
    selection_table,
)
from retdm.report.figures.draw_backbone_stages import draw_contributions, draw_selection
from retdm.report.figures.write import contributions, selection

STAGES = ["1", "2", "fc"]
WIDTHS = {"1": 10, "2": 20, "fc": 50}
CAT = ([4, 6, 10], [6, 8, 6])  # in split 0 and 1
DOG, OWL = [2, 0, 8], [0, 0, 0]  # nothing is known of owls


def fitted(folder: Path, split: int = 0, *, penalty: str = "l1", widths: bool = True, **more: Any) -> Path:
    """A made run of L1LR that tells what it selected."""
    rows = (CAT[split], DOG, OWL)  # L rows of S numbers
    selected = {label: dict(zip(STAGES, row, strict=True)) for label, row in zip(LABELS, rows, strict=True)}
    metrics = {"selected": selected, **({"widths": WIDTHS} if widths else {})}
    settings = {"penalty": penalty, "decide": "half"}
    return write_run(folder, split, method="l1lr", settings=settings, metrics=metrics, **more)


def explaining(folder: Path) -> Path:
    """A made run of four test images, of which it left pictures of the rows 5 and 9."""
    rng = np.random.default_rng(0)
    values, intercepts = rng.normal(size=(4, 3, 3)).astype(np.float32), np.array([0.5, -0.5, 0.0])
    target = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 0], [0, 0, 1]], np.float32)
    wanted = np.array([[1, 1, -1], [3, -1, 2], [1, 1, 1], [-2, -1, -3]])  # logits
    values[:, :, 2] += wanted - values.sum(2) - intercepts
    known = np.ones((4, 3), bool)
    known[1, 2] = False
    arrays = {"index": np.array([2, 5, 7, 9]), "scores": 1 / (1 + np.exp(-wanted)), "target": target, "known": known}
    arrays |= {"contributions": values, "intercepts": intercepts, "stages": np.array(STAGES)}
    path = fitted(folder, sizes=(2, 1, 4), arrays=arrays)
    split = json.loads((path / "split.json").read_text())
    (path / "split.json").write_text(json.dumps(split | {"test": ["a/2.jpg", "a/5$.jpg", "a/7.jpg", "a/9.jpg"]}))
    (path / "pictures").mkdir()
    for index in (5, 9):
        Image.new("RGB", (8, 6), "red").save(path / "pictures" / f"test-{index}.jpg")
    return path


def bars(axes: Axes) -> np.ndarray:
    """(bars, 2): where each begins and ends, from bottom to top of the list."""
    return np.array([[bar.get_x(), bar.get_x() + bar.get_width()] for bar in axes.patches])  # type: ignore[attr-defined]


# What is selected


def test_counts_and_shares_are_means_over_splits_with_their_deviation(tmp_path: Path) -> None:
    for split in (0, 1):
        fitted(tmp_path / str(split), split)
    (group,) = read(tmp_path)[1]
    found = selection_of(group)
    assert found is not None
    table = selection_table(group, found)
    assert table.columns == ["label", "1 (10)", "2 (20)", "fc (50)", "all (80)"]
    rows = {row[0]: row[1:] for row in table.rows}
    assert rows["cat"] == ["5.0 ± 1.4", "7.0 ± 1.4", "8.0 ± 2.8", "20.0 ± 0.0"]
    assert rows["owl"] == ["0.0 ± 0.0"] * 4
    # Of 20 in cat and 10 in dog; owl has no share.
    shares = [np.mean([4 / 20, 2 / 10]), np.mean([6 / 20, 2 / 10])]
    assert rows["of all selected"][0] == f"{np.mean(shares):.1%} ± {np.std(shares, ddof=1):.1%}"
    # Of the 10 features of stage 1, 4 and 6 for cat, 2 for dog, none for owl.
    own = [(4 + 2) / 30, (6 + 2) / 30]
    assert rows["of the stage's features"][0] == f"{np.mean(own):.1%} ± {np.std(own, ddof=1):.1%}"


def test_the_csv_has_a_row_for_each_label_and_stage_of_every_group(tmp_path: Path) -> None:
    for split in (0, 1):
        fitted(tmp_path / str(split), split)
    fitted(tmp_path / "small", train_size=30)
    rows = list(csv.DictReader(selected_csv(read(tmp_path)[1]).splitlines()))
    assert len(rows) == 2 * 3 * 3
    (row,) = (r for r in rows if (r["label"], r["stage"], r["runs"]) == ("cat", "fc", "2"))
    assert (row["features"], float(row["selected"]), float(row["share"])) == ("50", 8, 0.4)
    assert float(row["selected std"]) == pytest.approx(np.sqrt(8))
    assert {r["setting"] for r in rows} == {"data.train_size=30", "data.train_size=None"}
    assert next(r for r in rows if r["label"] == "owl")["share"] == ""


def test_neither_a_dense_penalty_nor_a_deep_method_selects(tmp_path: Path) -> None:
    fitted(tmp_path / "l2", penalty="l2")
    write_run(tmp_path / "bce")
    groups = read(tmp_path)[1]
    assert selecting(groups) is None and selected_csv(groups) == "" and list(selection(groups)) == []


def test_of_several_groups_the_best_on_validation_is_shown(tmp_path: Path) -> None:
    fitted(tmp_path / "a", train_size=30, validation={"mAP": 0.4})
    fitted(tmp_path / "b", train_size=60, validation={"mAP": 0.9}, test={"mAP": 0.1})
    found = selecting(read(tmp_path)[1])
    assert found is not None and found[0].varied == {"data.train_size": 60}


def test_the_figure_stacks_the_stages_of_each_label_in_order(tmp_path: Path) -> None:
    for split in (0, 1):
        fitted(tmp_path / str(split), split)
    (drawn,) = selection(read(tmp_path)[1])
    assert isinstance(drawn.figure, Figure)
    numbers = bars(panel(drawn.figure, "selected features of each label")).reshape(3, 3, 2)  # stage, label
    np.testing.assert_allclose(numbers[:, 0], [[0, 5], [5, 12], [12, 20]])
    shares = bars(panel(drawn.figure, "% of them")).reshape(3, 3, 2)
    np.testing.assert_allclose(shares[:, 1], [[0, 20], [20, 20], [20, 100]])
    np.testing.assert_allclose(shares[:, 2], 0)  # owl
    own = bars(panel(drawn.figure, "% of the stage's"))[:, 1]
    np.testing.assert_allclose(own, [100 * 7 / 30, 100 * 7 / 60, 100 * 16 / 150])
    names = [text.get_text() for text in panel(drawn.figure, "selected features of each stage").get_yticklabels()]
    assert names == ["1 (10)", "2 (20)", "fc (50)"]
    assert "standardise" in drawn.caption


def test_runs_that_do_not_tell_the_widths_of_stages_are_drawn_without(tmp_path: Path) -> None:
    fitted(tmp_path / "a", widths=False)
    (group,) = read(tmp_path)[1]
    (drawn,) = selection([group])
    assert isinstance(drawn.figure, Figure)
    assert not [axes for axes in drawn.figure.axes if axes.get_title().startswith("% of the stage")]
    found = selection_of(group)
    assert found is not None and found.names == STAGES
    assert [row[0] for row in selection_table(group, found).rows][-1] == "of all selected"


@pytest.mark.filterwarnings("error")
def test_of_more_labels_than_fit_those_are_shown_that_select_most_and_no_name_is_cut() -> None:
    labels = [f"{j} is a rather long label of $x" for j in range(44)]
    counts = np.full((2, 44, 2), 900.0)
    counts[:, [0, 5, 43]] = 1
    figure = draw_selection("t", Selection(labels, ["1", "a long stage's name"], [9999] * 2, counts, True))
    shown = [text.get_text() for text in panel(figure, "selected features of each label").get_yticklabels()]
    assert [int(name.split()[0]) for name in shown] == [j for j in range(43) if j not in (0, 5)]
    assert_nothing_is_cut(figure)


# Single images


def test_an_image_is_told_by_its_true_and_predicted_labels_best_first(tmp_path: Path) -> None:
    run = read(explaining(tmp_path / "run"))[0][0]
    stages, images = explained(run)
    assert stages == STAGES
    assert [image.name for image in images] == ["a/5$.jpg", "a/9.jpg"]
    # Row 5: cat hit, owl predicted and unknown, dog missed. Row 9: owl missed.
    assert [(part.label, part.sign) for part in images[0].labels] == [("cat", ""), ("owl", "?"), ("dog", "−")]
    assert [(part.label, part.sign) for part in images[1].labels] == [("owl", "−")]
    for image in images:
        for part in image.labels:
            logit = np.log(part.score / (1 - part.score))
            assert part.values.sum() + part.intercept == pytest.approx(logit, abs=1e-5)


def test_the_bars_of_an_image_are_its_contributions_and_the_intercept(tmp_path: Path) -> None:
    runs, groups = read(explaining(tmp_path / "run"))
    (drawn,) = contributions(groups)
    assert isinstance(drawn.figure, Figure)
    part = explained(runs[0])[1][0].labels[2]
    axes = panel(drawn.figure, "−dog  .269\nlogit -1.0")
    heights = [bar.get_height() for bar in axes.patches]  # type: ignore[attr-defined]
    np.testing.assert_allclose(heights, [*part.values, -0.5])
    assert [text.get_text() for text in axes.get_xticklabels()] == [*STAGES, "b"]


def test_a_run_without_pictures_or_contributions_explains_nothing(tmp_path: Path) -> None:
    write_run(tmp_path / "bce")
    older = fitted(tmp_path / "older")
    (older / "pictures").mkdir()
    Image.new("RGB", (8, 8)).save(older / "pictures" / "test-0.jpg")
    groups = read(tmp_path)[1]
    assert len(groups) == 2 and list(contributions(groups)) == []


@pytest.mark.filterwarnings("error")
def test_no_heading_of_an_image_is_cut_at_the_edge(tmp_path: Path) -> None:
    Image.new("L", (8, 20)).save(tmp_path / "x.jpg")
    part = LabelShare("a label with a long name $x", "+", 0.5, np.array([-1e3, 2e3, 1.0]), 0.1)
    images = [Explained("a/long/folder/and/a/name_.jpg", tmp_path / "x.jpg", [part] * n) for n in (2, 1, 4)]
    figure = draw_contributions("t", ["1", "2", "a long stage's name"], images, [part.label])
    assert len([axes for axes in figure.axes if axes.get_title().startswith("+a label")]) == 7
    assert_nothing_is_cut(figure)


# The report


def test_the_report_holds_table_csv_and_both_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("retdm.report.figures.write.DPI", 20)
    explaining(tmp_path / "runs" / "run")
    out = tmp_path / "out"
    main([str(tmp_path / "runs"), f"out={out}"])
    text = (out / "report.md").read_text()
    assert "features that l1lr selects of each stage" in text and "| cat | 4.0 | 6.0 | 10.0 | 20.0 |" in text
    for name in ("selected-scene", "contributions-scene"):
        assert f"figures/{name}.png" in text and (out / "figures" / f"{name}.png").exists()
    assert (out / "selected.csv").read_text().count("\n") == 10
    page = (out / "report.html").read_text()
    assert "selects of each stage" in page and "What each stage adds" in page
    assert "selects of each stage" in capsys.readouterr().out
