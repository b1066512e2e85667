"""What holds for every fitted method."""

import inspect
from pathlib import Path
from types import UnionType
from typing import Any, get_args

import numpy as np
import pytest
import torch
from fitted_toys import CASES, batch_of, fitted, made, scored, subset, toy_for

from retdm.errors import UserError
from retdm.methods.fitted import FittedMethod

EVERY = pytest.mark.parametrize("name", CASES)


@EVERY
def test_scores_are_probabilities_that_know_the_labels_of_new_rows_and_the_same_twice(name: str) -> None:
    given, new = toy_for(name, 80, seed=4), toy_for(name, 50, seed=5)
    scores, again = (scored(fitted(name, given), new.examples) for _ in range(2))
    assert np.array_equal(scores, again)
    assert scores.dtype == np.float64 and scores.shape == (50, 3) and 0 <= scores.min() <= scores.max() <= 1
    for label in (0, 1):
        positive = new.target[:, label] == 1
        higher = scores[positive, label][:, None] - scores[~positive, label]
        assert (higher > 0).mean() + (higher == 0).mean() / 2 > 0.75


@EVERY
@pytest.mark.parametrize("value", [0, 1])
def test_a_constant_label_scores_its_smoothed_prior_everywhere(name: str, value: int) -> None:
    given, new = toy_for(name), toy_for(name, 9, seed=3)
    given.target[:, 2] = value
    given.known[10:, 2] = False
    assert scored(fitted(name, given), new.examples)[:, 2] == pytest.approx((10 * value + 1) / 12)


@EVERY
@pytest.mark.parametrize("value", [0, 1])
def test_where_all_rows_have_one_label_set_every_label_scores_its_prior(name: str, value: int) -> None:
    given = toy_for(name, 14)
    given.target[:] = value
    assert scored(fitted(name, given), given.examples) == pytest.approx(np.full((14, 3), (14 * value + 1) / 16))


@EVERY
def test_unknown_cells_teach_nothing(name: str) -> None:
    given = toy_for(name)
    everything = scored(fitted(name, given), given.examples)
    given.known[::3, 0] = False
    left_out = scored(fitted(name, given), given.examples)
    given.target[::3, 0] ^= 1
    assert np.array_equal(scored(fitted(name, given), given.examples), left_out)
    assert not np.allclose(everything, left_out)


@EVERY
def test_a_row_scores_alone_what_it_scores_in_a_batch(name: str) -> None:
    given = toy_for(name)
    method = fitted(name, given)
    alone = [scored(method, subset(given.examples, np.array([i]))) for i in range(8)]
    np.testing.assert_allclose(np.concatenate(alone), scored(method, given.examples)[:8], atol=1e-9)
    if method.scores_instances:
        batch = batch_of(given.examples)
        instances = method.instance_scores(batch)[batch.mask].numpy()
        assert instances.shape == (len(given.examples.instances), 3)
        assert 0 <= instances.min() <= instances.max() <= 1 and instances.std() > 0.01
        first = batch_of(given.examples.take(slice(0, 1)))
        np.testing.assert_allclose(method.instance_scores(first)[first.mask], instances[: int(first.mask.sum())], 1e-6)


@EVERY
def test_copies_of_few_rows_and_full_and_empty_label_sets_are_no_trouble(name: str) -> None:
    few = toy_for(name, 6)
    copies = np.repeat(np.arange(6), 4)
    target = np.array([[1, 0, 0], [1, 1, 1], [0, 0, 0], [1, 1, 0], [0, 1, 0], [1, 1, 1]], np.uint8)[copies]
    examples = subset(few.examples, copies)
    method = made(name)
    method.fit(examples, target, np.ones_like(target))
    scores = scored(method, examples)
    assert 0 <= scores.min() <= scores.max() <= 1
    np.testing.assert_allclose(scores[::4], scores[3::4], atol=1e-9)


@EVERY
def test_a_checkpoint_brings_back_all_that_scores_need(name: str, tmp_path: Path) -> None:
    given = toy_for(name)
    method = fitted(name, given)
    torch.save(method.state_dict(), tmp_path / "state.pt")
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    for other in (made(name), fitted(name, given.take(np.arange(20)))):
        other.load_state_dict(state)
        assert np.array_equal(scored(other, given.examples), scored(method, given.examples))
        if method.scores_instances:
            batch = batch_of(given.examples)
            assert torch.equal(other.instance_scores(batch), method.instance_scores(batch))
    for buffer in method.fitted_buffers:
        with pytest.raises(RuntimeError, match=buffer):
            made(name).load_state_dict({key: value for key, value in state.items() if key != buffer})


@EVERY
def test_scoring_before_fitting_is_an_error(name: str) -> None:
    given, method = toy_for(name, 20), made(name)
    message = f"{type(method).__name__} is not fitted yet"
    with pytest.raises(UserError, match=message):
        method.scores(batch_of(given.examples))
    if method.scores_instances:
        with pytest.raises(UserError, match=message):
            method.instance_scores(batch_of(given.examples))
    method.load_state_dict(made(name).state_dict())
    assert not method.is_fitted
    method.fit(*given)
    assert method.is_fitted and np.isfinite(scored(method, given.examples)).all()


@EVERY
def test_a_method_declares_that_it_scores_instances_where_it_does(name: str) -> None:
    method = made(name)
    assert method.scores_instances == ("instance_decision" in vars(type(method)))
    assert method.has_thresholds == ("thresholds" in method.fitted_buffers)


@pytest.mark.parametrize("kind", sorted({kind for kind, _ in CASES.values()}, key=lambda kind: kind.__name__))
def test_every_number_among_the_settings_declares_its_range(kind: type[FittedMethod]) -> None:
    parameters = inspect.signature(kind).parameters.values()
    bare = []
    for each in parameters:
        kinds = get_args(each.annotation) if isinstance(each.annotation, UnionType) else (each.annotation,)
        bare += [each.name] if int in kinds or float in kinds else []
    assert set(bare) <= {"margin"}  # which may be any number


def test_what_would_not_be_in_a_checkpoint_cannot_be_fitted() -> None:
    with pytest.raises(AssertionError, match="widths"):
        made("ml_knn").set_fitted(widths=np.zeros(3))


def test_details_are_plain_values_with_the_settings_that_tuning_chooses() -> None:
    plain: Any = (int, float, str, list, dict)
    for name in CASES:
        method = fitted(name, toy_for(name, 30))
        details = method.details()
        assert set(method.tuned) <= set(details) and all(isinstance(value, plain) for value in details.values())
