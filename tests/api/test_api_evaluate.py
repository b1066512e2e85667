from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import retdm
from retdm import criteria, decisions

DRAW = np.random.default_rng(0)
SCORES = DRAW.random((30, 4)).round(2)
TARGETS = (DRAW.random((30, 4)) < 0.4).astype(float)
KNOWN = DRAW.random((30, 4)) < 0.8
GIVEN = np.where(KNOWN, TARGETS, np.nan)


@pytest.mark.parametrize(
    ("rule", "threshold"),
    [("half", None), ("top3", None), ("validation", 0.3), ("train_threshold", [0.1, 0.3, 0.5, 0.7])],
)
def test_it_is_the_criteria_of_known_cells(rule: str, threshold: Any) -> None:
    decided = decisions.decide(SCORES, rule, *([] if threshold is None else [threshold]))
    expected = criteria.evaluate(SCORES, TARGETS, KNOWN, list("abcd"), decided)["criteria"]
    for targets in (GIVEN, pd.DataFrame(GIVEN), pd.DataFrame(GIVEN).astype("Int64"), GIVEN.tolist()):
        assert retdm.evaluate(SCORES, targets, decide=rule, threshold=threshold) == expected
    assert retdm.evaluate(pd.DataFrame(SCORES), GIVEN, decide=rule, threshold=threshold) == expected


def test_unknown_cells_count_nowhere() -> None:
    changed = np.where(KNOWN, SCORES, 1 - SCORES)
    per_cell = ("C-F1", "O-F1", "mAP", "hamming_loss")
    first, second = retdm.evaluate(SCORES, GIVEN), retdm.evaluate(changed, GIVEN)
    assert [first[name] for name in per_cell] == [second[name] for name in per_cell]


@pytest.mark.parametrize(
    ("scores", "targets", "message"),
    [
        (SCORES * 9, TARGETS, "never logits"),
        (SCORES[:, :2], TARGETS, "shape"),
        (SCORES[0], TARGETS, "shape"),
        (np.full_like(SCORES, np.nan), TARGETS, "NaN"),
        (SCORES, TARGETS * 2, r"row \d, column \d: 2.0 is neither 0, 1 nor unknown"),
        (SCORES, TARGETS[0], r"shape \(4,\)"),
        (SCORES + 0j, TARGETS, "something else than numbers"),
        (np.full(SCORES.shape, "high"), TARGETS, "something else than numbers"),
        ({"cat": 0.3}, TARGETS, "something else than numbers"),
        ([[0.1], [0.2, 0.3]], TARGETS, "not equally long"),
    ],
)
def test_what_is_none_is_refused(scores: Any, targets: np.ndarray, message: str) -> None:
    with pytest.raises(retdm.UserError, match=message):
        retdm.evaluate(scores, targets)


def test_an_unknown_rule_is_refused() -> None:
    with pytest.raises(retdm.UserError, match="no decision rule 'top'"):
        retdm.evaluate(SCORES, TARGETS, decide="top")


@pytest.mark.parametrize(
    ("rule", "threshold", "message"),
    [
        ("half", 0.3, "not read by decide='half'"),
        ("validation", None, "needs a threshold"),
        ("validation", np.nan, r"threshold=nan is not one number in \[0, 1\]"),
        ("validation", 2, r"threshold=2.0 is not one number"),
        ("validation", [0.1, 0.2, 0.3, 0.4], "is not one number"),
        ("validation", "high", "something else than numbers"),
        ("train_threshold", [0.1, 0.2], "is not 4 numbers, one a label"),
    ],
)
def test_a_threshold_that_the_rule_cannot_take_is_refused(rule: str, threshold: Any, message: str) -> None:
    with pytest.raises(retdm.UserError, match=message):
        retdm.evaluate(SCORES, TARGETS, decide=rule, threshold=threshold)


def test_tensors_may_be_of_every_type_and_need_gradients() -> None:
    scores = torch.from_numpy(SCORES).bfloat16().requires_grad_()
    expected = retdm.evaluate(scores.detach().float().numpy(), TARGETS)
    assert retdm.evaluate(scores, torch.from_numpy(TARGETS).half()) == expected


def test_tables_whose_columns_differ_in_order_are_refused() -> None:
    scores, targets = pd.DataFrame(SCORES, columns=list("abcd")), pd.DataFrame(TARGETS, columns=list("abdc"))
    with pytest.raises(retdm.UserError, match="another order"):
        retdm.evaluate(scores, targets)
    expected = retdm.evaluate(SCORES[:, [0, 1, 3, 2]], TARGETS)
    assert retdm.evaluate(scores[targets.columns], targets) == pytest.approx(expected, rel=1e-12)
