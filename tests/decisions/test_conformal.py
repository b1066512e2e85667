"""Conformal thresholds against loops over every threshold, and against the risk that they promise."""

import numpy as np
import pytest
from awkward import Case

from retdm.decisions.conformal import Risk, conformal_threshold, images_needed, losses
from retdm.decisions.rules import ConformalRule, rule_of
from retdm.decisions.thresholds import NEVER
from retdm.errors import UserError

RISKS: tuple[Risk, ...] = ("missed", "extra")


def loss_in_loops(scores: np.ndarray, target: np.ndarray, known: np.ndarray, threshold: float, risk: str) -> float:
    """Mean over images of the share of labels that is missed, or of missing ones that is predicted."""
    found = []
    for row, labels, given in zip(scores, target, known, strict=True):
        cells = [s for s, t, k in zip(row, labels, given, strict=True) if k and bool(t) == (risk == "missed")]
        wrong = [s for s in cells if (s < threshold) == (risk == "missed")]
        found.append(len(wrong) / len(cells) if cells else 0.0)
    return sum(found) / len(found)


def in_loops(case: Case, risk: str, most: float) -> float:
    """Of all thresholds midway between known scores the highest (missed) or lowest (extra) that keeps the risk."""
    cells = sorted({float(s) for s in case.scores[case.known]})
    every = [0.0, *((a + b) / 2 for a, b in zip([0.0, *cells], cells, strict=False)), NEVER]
    n = len(case.scores)
    good = [t for t in every if (n * loss_in_loops(*case[:3], t, risk) + 1) / (n + 1) <= most + 1e-12]
    return max(good) if risk == "missed" else min(good)


@pytest.mark.parametrize("risk", RISKS)
def test_equals_the_definition_in_loops(case: Case, risk: Risk) -> None:
    for most in (0.03, 0.1, 0.3, 0.6, 0.99):
        found, wanted = conformal_threshold(*case[:3], risk, most), in_loops(case, risk, most)
        assert np.array_equal(case.scores[case.known] >= found, case.scores[case.known] >= wanted), most


def test_losses_are_those_of_the_definition(case: Case) -> None:
    for risk in RISKS:
        for threshold in (0.0, 0.3, 0.6, NEVER):
            found = losses(case.scores >= threshold, case.target, case.known, risk)
            assert found.mean() == pytest.approx(loss_in_loops(*case[:3], threshold, risk))


@pytest.mark.parametrize("risk", RISKS)
def test_the_promised_risk_is_met_on_average_and_not_by_far(risk: Risk) -> None:
    g, n, most, found = np.random.default_rng(0), 40, 0.15, []
    for _ in range(400):
        strength = g.normal(size=(n + 100, 1))  # images differ in how many labels they have
        logits = g.normal(size=(n + 100, 5)) + strength
        target = (g.random(logits.shape) < 1 / (1 + np.exp(-2 * logits))).astype(int)
        scores, known = 1 / (1 + np.exp(-logits)), g.random(logits.shape) < 0.9
        threshold = conformal_threshold(scores[:n], target[:n], known[:n], risk, most)
        found.append(losses(scores[n:] >= threshold, target[n:], known[n:], risk).mean())
    error = np.std(found) / np.sqrt(len(found))  # about .002, the correction is 1 / 41
    assert most - 2 / (n + 1) - 3 * error < np.mean(found) < most + 3 * error


def test_too_few_images_are_told_how_many_are_needed() -> None:
    assert [images_needed(most) for most in (0.5, 0.1, 0.05, 0.01)] == [1, 9, 19, 99]
    scores, known = np.linspace(0.1, 0.9, 19)[:, None], np.ones((19, 1), bool)
    target = np.ones((19, 1))
    assert (scores >= conformal_threshold(scores, target, known, "missed", 0.05)).all()
    with pytest.raises(UserError, match=r"missed:0\.05 needs at least 19 images .* there are 18\n"):
        conformal_threshold(scores[1:], target[1:], known[1:], "missed", 0.05)


def test_the_image_to_be_decided_is_worth_a_whole_loss() -> None:
    # Nine images of one label each: at a risk of .2 a single one of them may be missed, (1 + 1) / 10.
    scores, target = np.linspace(0.1, 0.9, 9)[:, None], np.ones((9, 1))
    threshold = conformal_threshold(scores, target, target > 0, "missed", 0.2)
    assert (scores < threshold).sum() == 1


def test_the_rule_of_a_name_chooses_one_threshold_for_all_labels(case: Case) -> None:
    rule = rule_of("extra:.20")
    assert isinstance(rule, ConformalRule) and rule.needs_rows and not rule.per_label and rule.name == "extra:0.2"
    threshold = rule.choose(*case[:3])
    assert threshold == conformal_threshold(*case[:3], "extra", 0.2)
    assert "at most 0.2 of the labels that an image lacks" in rule.in_words(threshold)
    for wrong in ("missed", "missed:1", "extra:0", "missed>.1", "extra:-.1"):
        with pytest.raises(UserError, match="is one, its number above 0 and below 1, after a colon"):
            rule_of(wrong)
