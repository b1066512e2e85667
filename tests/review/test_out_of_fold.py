"""Scores out of fold: no row is scored by a fit that saw it."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from retdm.data.modules import ImageData
from retdm.data.splits import folds_of
from retdm.methods.components.linear_probe import STRENGTHS, fit_probe
from retdm.methods.on_features.base import FeatureMethod
from retdm.review.out_of_fold import score_out_of_fold, scores_of_folds
from retdm.runs.build import build_data, build_method
from retdm.settings.run_settings import RunSettings

RNG = np.random.default_rng(0)
X = torch.from_numpy(RNG.standard_normal((30, 4)).astype(np.float32))
TARGET = (X[:, :2].numpy() + 0.5 * RNG.standard_normal((30, 2)) > 0).astype(np.uint8)
KNOWN = np.ones((30, 2), bool)
FOLD = np.arange(30) % 3


@pytest.fixture(params=["probe", "l1lr"])
def method(request: pytest.FixtureRequest, tiny: Callable[..., RunSettings]) -> FeatureMethod | None:
    if request.param == "probe":
        return None
    found = build_method(tiny("method=l1lr"), ["a", "b"])
    assert isinstance(found, FeatureMethod)
    return found


def test_labels_of_a_fold_change_no_score_of_that_fold(method: FeatureMethod | None) -> None:
    before = scores_of_folds(method, X, TARGET, KNOWN, FOLD)
    changed = np.where((FOLD == 1)[:, None], 1 - TARGET, TARGET).astype(np.uint8)
    known = KNOWN.copy()
    known[FOLD != 1] = True
    if method is None:  # whose penalty is chosen by all folds: one alone is given here
        labels = (torch.from_numpy(each) for each in (TARGET, changed))
        one, two = (
            fit_probe(X, each, torch.from_numpy(KNOWN), strengths=STRENGTHS[4:5], folds=FOLD) for each in labels
        )
        np.testing.assert_array_equal(one.scores[FOLD == 1], two.scores[FOLD == 1])
        assert not np.allclose(one.scores[FOLD == 0], two.scores[FOLD == 0])
    else:
        after = scores_of_folds(method, X, changed, KNOWN, FOLD)
        np.testing.assert_array_equal(before[FOLD == 1], after[FOLD == 1])
        assert not np.allclose(before[FOLD == 0], after[FOLD == 0])
    assert ((before > 0.5) == TARGET).mean() > 0.6


def test_copies_of_a_picture_share_a_fold_and_each_image_is_scored_once(tiny: Callable[..., RunSettings]) -> None:
    settings = tiny("method=bce").changed(method={})
    data = build_data(settings)
    assert isinstance(data, ImageData)
    data.pairs = {"identical": [(0, 7), (7, 20)], "near": None}
    scored = score_out_of_fold(settings, data, 3)
    assert scored.rows.tolist() == list(range(60)) and scored.scores.shape == scored.target.shape == (60, 5)
    assert ((scored.scores > 0) & (scored.scores < 1)).all()
    assert scored.words == "logistic regression on features of vgg_small, 3 folds, stratified"
    np.testing.assert_array_equal(scored.scores, score_out_of_fold(settings, data, 3).scores)


@pytest.mark.parametrize("targets", [None, TARGET])
def test_folds_keep_groups_together_and_are_of_one_size(targets: np.ndarray | None) -> None:
    groups = np.arange(30) // 2
    fold = folds_of(30, 3, seed=1, groups=groups, targets=targets)
    assert set(fold) == {0, 1, 2} and (fold[::2] == fold[1::2]).all()
    assert max(abs(np.bincount(fold) - 10)) <= 4
    np.testing.assert_array_equal(fold, folds_of(30, 3, seed=1, groups=groups, targets=targets))
    assert not np.array_equal(fold, folds_of(30, 3, seed=2, groups=groups, targets=targets))
