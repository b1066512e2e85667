"""Runs of several folds: what is averaged, what is drawn, what is compared."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from report_runs import read, write_run

from retdm.report.about import left_out
from retdm.report.figures.write import settings
from retdm.report.groups import split_names
from retdm.report.results import result_tables
from retdm.report.uncertainty.significance import compare


def test_folds_of_a_setting_are_one_group_and_another_task_than_its_runs_without_folds(tmp_path: Path) -> None:
    for fold in (1, 0):
        write_run(tmp_path / f"{fold}", 0, fold)
    write_run(tmp_path / "second", 1, 0)
    write_run(tmp_path / "whole", 0, refit=True)
    whole, folded = sorted(read(tmp_path)[1], key=lambda group: len(group.runs))
    assert folded.split_folds == [(0, 0), (0, 1), (1, 0)]
    assert (whole.split_folds, whole.folds) == ([(0, 0)], None)
    titles = {table.title.partition(":")[0] for table in result_tables([whole, folded])}
    assert titles == {"scene, folds=5", "scene, folds=null"}


def test_a_group_that_lacks_a_fold_is_named_with_it(tmp_path: Path) -> None:
    for method, folds in (("bce", (0, 1, 2)), ("retdm", (1,))):
        for fold in folds:
            write_run(tmp_path / f"{method}{fold}", 0, fold, method=method)
    for table in result_tables(read(tmp_path)[1]):
        assert "retdm · vgg16 does not have split 0 (folds 0, 2), which others have." in table.notes


def test_an_unfinished_run_is_named_with_its_fold(tmp_path: Path) -> None:
    write_run(tmp_path / "a", 3, 2, finished=False)
    (line,) = left_out(*read(tmp_path))
    assert "(scene · bce · vgg16, split 3 (fold 2)) is not finished" in line


@pytest.mark.parametrize(
    "pairs, folds, text",
    [
        ([(3, 0)], None, "split 3"),
        ([(0, 0), (1, 0)], None, "splits 0, 1"),
        ([(0, 0), (0, 3), (2, 1)], 5, "split 0 (folds 0, 3), split 2 (fold 1)"),
    ],
)
def test_splits_and_folds_have_names(pairs: list[tuple[int, int]], folds: int | None, text: str) -> None:
    assert split_names(pairs, folds) == text


def test_two_methods_are_compared_by_the_mean_of_the_folds_that_share_a_test_part(tmp_path: Path) -> None:
    values = {(0, 0): 0.1, (0, 1): 0.3, (1, 0): 0.5, (1, 1): 0.1}
    for (split, fold), value in values.items():
        write_run(tmp_path / f"bce{split}{fold}", split, fold, test={"mAP": 0.5 + value})
        write_run(tmp_path / f"retdm{split}{fold}", split, fold, method="retdm")
    write_run(tmp_path / "alone", 1, 2, test={"mAP": 0.0})  # of one method alone
    first, second = read(tmp_path)[1]
    found = compare(first, second, "mAP")
    assert found is not None and found.n == 2
    assert found.mean == pytest.approx((0.2 + 0.3) / 2)


def test_the_heat_map_is_of_validation_means_over_folds_and_of_runs_that_have_such_a_part(tmp_path: Path) -> None:
    wanted = {(0.1, 0.1): (0.6, 0.7), (0.3, 0.1): (0.2, 0.6), (0.1, 0.3): (0.5, 0.5), (0.3, 0.3): (0.8, 0.9)}
    for (metric, reconstruction), values in wanted.items():
        weights = {"weights": {"metric": metric, "reconstruction": reconstruction}}
        for fold, value in enumerate(values):
            folder = tmp_path / f"{metric}-{reconstruction}-{fold}"
            write_run(folder, 0, fold, settings=weights, validation={"mAP": value}, test={"mAP": 0.99})
    for split in (0, 1):
        write_run(tmp_path / f"final{split}", split, settings=weights, refit=True)
    (drawn,) = settings(read(tmp_path)[1], ["bce"])
    assert isinstance(drawn.figure, Figure)
    assert drawn.caption.startswith("Mean over splits and folds against ")
    values = np.asarray(drawn.figure.axes[0].images[0].get_array())
    np.testing.assert_allclose(values, [[0.65, 0.4], [0.5, 0.85]])
