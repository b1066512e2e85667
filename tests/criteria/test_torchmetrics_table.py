"""torchmetrics' own multi-label metrics beside the criteria, on small data that has one difficulty each."""

import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor
from torchmetrics.classification import (
    MultilabelAveragePrecision,
    MultilabelCoverageError,
    MultilabelF1Score,
    MultilabelHammingDistance,
    MultilabelPrecision,
    MultilabelRankingAveragePrecision,
    MultilabelRankingLoss,
    MultilabelRecall,
)

from retdm.criteria import evaluate
from retdm.decisions import decide

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "explanation" / "criteria.md"
LABELS = 4
IGNORED = -1

# The metric, the argument `average` where it has one, and what is subtracted from its value.
THEIRS: dict[str, tuple[Any, str | None, float]] = {
    "C-P": (MultilabelPrecision, "macro", 0),
    "C-R": (MultilabelRecall, "macro", 0),
    "C-F1": (MultilabelF1Score, "macro", 0),
    "O-P": (MultilabelPrecision, "micro", 0),
    "O-R": (MultilabelRecall, "micro", 0),
    "O-F1": (MultilabelF1Score, "micro", 0),
    "mAP": (MultilabelAveragePrecision, "macro", 0),
    "hamming_loss": (MultilabelHammingDistance, "micro", 0),
    "ranking_loss": (MultilabelRankingLoss, None, 0),
    "coverage": (MultilabelCoverageError, None, 1),
    "average_precision": (MultilabelRankingAveragePrecision, None, 0),
}


class Case(NamedTuple):
    scores: Tensor
    target: Tensor
    known: Tensor


def cases() -> dict[str, Case]:
    """Eight images and four labels: without a special case, then with one each."""
    g = np.random.default_rng(0)
    scores = torch.tensor(g.permutation(8 * LABELS).reshape(8, LABELS) / (8.0 * LABELS) + 0.01, dtype=torch.float32)
    target = torch.tensor([[1, 0, 0, 1], [0, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 1]] * 2)
    target[4:] = target[4:].flip(1)
    half = scores.clone()
    half[0, 1] = 0.5
    known = torch.ones_like(target, dtype=torch.bool)
    absent = target.clone()
    absent[:, 2] = 0
    absent[absent.sum(1) == 0, 0] = 1
    empty, full = target.clone(), target.clone()
    empty[0], full[0] = 0, 1
    some, column = known.clone(), known.clone()
    some[[0, 3, 6], [1, 2, 0]] = False
    column[:, 2] = False
    return {
        "no special case": Case(scores, target, known),
        "a score of 0.5": Case(half, target, known),
        "tied scores": Case((scores * 4).floor() / 4 + 0.1, target, known),
        "a label without positives": Case(scores, absent, known),
        "an image without labels": Case(scores, empty, known),
        "an image with all labels": Case(scores, full, known),
        "unknown cells": Case(scores, target, some),
        "a label without known cell": Case(scores, absent, column),
    }


def ours(case: Case) -> dict[str, float | None]:
    scores = case.scores.numpy()
    names = [str(i) for i in range(LABELS)]
    return evaluate(scores, case.target.numpy(), case.known.numpy(), names, decide(scores, "half"))["criteria"]


def theirs(name: str, case: Case) -> float | str:
    """The value of torchmetrics' metric; the name of the exception where it raises one."""
    kind, average, less = THEIRS[name]
    averaged = {} if average is None else {"average": average}
    metric = kind(LABELS, ignore_index=None if case.known.all() else IGNORED, **averaged)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            metric.update(case.scores, case.target.where(case.known, IGNORED))
            return float(metric.compute()) - less
    except (IndexError, RuntimeError, ValueError) as error:
        return type(error).__name__


def cell(name: str, case: Case) -> str:
    our, their = ours(case)[name], theirs(name, case)
    if isinstance(their, str):
        return their
    assert our is not None
    return "equal" if abs(our - their) < 1e-6 else f"{their:.3f}, not {our:.3f}"


def words(name: str) -> str:
    kind, average, less = THEIRS[name]
    return f"`{kind.__name__}`" + (f", {average}" if average else "") + (f", minus {less:g}" if less else "")


def table() -> str:
    """The comparison in Markdown, as docs/explanation/criteria.md has it."""
    columns = cases()
    lines = [
        f"| criterion | torchmetrics | {' | '.join(columns)} |",
        "|---" * (len(columns) + 2) + "|",
        *(
            f"| {name} | {words(name)} | {' | '.join(cell(name, case) for case in columns.values())} |"
            for name in THEIRS
        ),
    ]
    return "\n".join(lines)


def test_the_table_in_the_documentation_is_what_this_file_computes() -> None:
    assert table() in DOCUMENT.read_text(), f"docs/explanation/criteria.md needs this table:\n{table()}"


@pytest.mark.parametrize("name", THEIRS)
def test_equal_torchmetrics_without_a_special_case(name: str) -> None:
    assert cell(name, cases()["no special case"]) == "equal"


if __name__ == "__main__":
    print(table())
