import numpy as np
import pandas as pd
import pytest

import retdm
from retdm import criteria

DRAW = np.random.default_rng(0)
SCORES = DRAW.random((30, 4)).round(2)
TARGETS = (DRAW.random((30, 4)) < 0.4).astype(float)
KNOWN = DRAW.random((30, 4)) < 0.8
GIVEN = np.where(KNOWN, TARGETS, np.nan)


@pytest.mark.parametrize(("rule", "threshold"), [("half", 0.5), ("top3", 0.5), ("validation", 0.3)])
def test_it_is_the_criteria_of_known_cells(rule: str, threshold: float) -> None:
    decided = criteria.decide(SCORES, rule, threshold)
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
    ],
)
def test_what_is_none_is_refused(scores: np.ndarray, targets: np.ndarray, message: str) -> None:
    with pytest.raises(retdm.UserError, match=message):
        retdm.evaluate(scores, targets)


def test_an_unknown_rule_is_refused() -> None:
    with pytest.raises(retdm.UserError, match="no decision rule 'top'"):
        retdm.evaluate(SCORES, TARGETS, decide="top")
