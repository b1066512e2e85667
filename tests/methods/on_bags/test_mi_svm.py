"""mi-SVM and MI-SVM: their rounds as in a plain loop, their loss, and the instances that they find."""

from functools import partial
from typing import Any

import fitted_toys
import numpy as np
import pytest
import torch
from fitted_toys import Toy, batch_of, decisions, scored, toy
from sklearn.svm import SVC, LinearSVC

from retdm.methods.on_bags import mi_svm

fitted = partial(fitted_toys.fitted, "mi_svm", rounds=8)

BOTH = pytest.mark.parametrize("witness", [False, True])
KERNELS = pytest.mark.parametrize("kernel", ["rbf", "linear"])


def by_a_plain_loop(given: Toy, label: int, witness: bool, kernel: str, rounds: int) -> tuple[Any, list[np.ndarray]]:
    """(scikit-learn's last machine, the bags standardised)."""
    x = given.examples.instances.astype(np.float64)
    bags = [(given.bag(i) - x.mean(0)) / x.std(0) for i in range(len(given.target))]
    model: Any = SVC(gamma=1 / 4) if kernel == "rbf" else LinearSVC(dual=False)
    chosen = [np.full(len(bag), bool(target)) for bag, target in zip(bags, given.target[:, label], strict=True)]
    witnesses = [bag.mean(0) for bag in bags]
    for _ in range(rounds):
        rows, signs = [], []
        for bag, target, own, one in zip(bags, given.target[:, label], chosen, witnesses, strict=True):
            rows += [one] if witness and target else list(bag)
            signs += [True] if witness and target else list(own)
        model.fit(np.array(rows), signs)
        for i, bag in enumerate(bags):
            if given.target[i, label]:
                values = model.decision_function(bag)
                chosen[i] = values > 0
                chosen[i][values.argmax()] = True
                witnesses[i] = bag[values.argmax()]
    return model, bags


@BOTH
@KERNELS
def test_scores_are_those_of_a_plain_loop_over_scikit_learn(witness: bool, kernel: Any) -> None:
    given = toy()
    method = fitted(given, witness=witness, kernel=kernel)
    scores = scored(method, given.examples)
    instances = method.instance_scores(batch_of(given.examples)).numpy()
    for label in (0, 1):
        model, bags = by_a_plain_loop(given, label, witness, kernel, 8)
        for i, bag in enumerate(bags):
            values = model.decision_function(bag)
            np.testing.assert_allclose(decisions(instances[i, : len(bag), label]), values, atol=1e-6)
            np.testing.assert_allclose(decisions(scores[i, label]), values.max(), atol=1e-6)
    assert scores[:, 2] == pytest.approx(1 / 62)  # no positive in 60 bags


@BOTH
def test_one_round_ends_with_the_first_machine(witness: bool) -> None:
    given = toy()
    model, bags = by_a_plain_loop(given, 1, witness, "rbf", 1)
    scores = scored(fitted(given, witness=witness, rounds=1), given.examples)
    expected = [model.decision_function(bag).max() for bag in bags]
    np.testing.assert_allclose(decisions(scores[:, 1]), expected, atol=1e-6)


@BOTH
@KERNELS
def test_the_objective_falls_and_is_that_of_the_definition(witness: bool, kernel: Any) -> None:
    method = fitted(toy(), witness=witness, kernel=kernel)
    objective = method.details()["objective"]
    assert len(objective) > 1
    assert (np.diff(objective) <= 1e-3 * np.array(objective[:-1])).all()  # the solvers stop a little early
    assert objective[-1] < 0.9 * objective[0]
    if kernel == "linear" and not witness:
        first = 0.0
        given = toy()
        x = given.examples.instances.astype(np.float64)
        x = (x - x.mean(0)) / x.std(0)
        for label in (0, 1):
            signs = np.repeat(given.target[:, label], np.diff(given.examples.offsets)) * 2.0 - 1
            model = LinearSVC(dual=False).fit(x, signs)
            first += ((model.coef_**2).sum() + model.intercept_[0] ** 2) / 2
            first += (np.maximum(0, 1 - signs * model.decision_function(x)) ** 2).sum()
        assert objective[0] == pytest.approx(first)


@BOTH
def test_the_instances_that_have_a_label_stand_out(witness: bool) -> None:
    given = toy()
    found = fitted(given, witness=witness).instance_scores(batch_of(given.examples))
    for label in (0, 1):
        x = batch_of(given.examples).bag[..., label]
        has = x > 3  # the toy adds 5
        high = found[..., label] >= 0.5
        assert (high == has)[batch_of(given.examples).mask].float().mean() > 0.95


@BOTH
def test_threads_fit_what_one_fits(witness: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = fitted(toy(), witness=witness)
    monkeypatch.setattr(mi_svm, "SMALL", 0)
    assert torch.equal(fitted(toy(), witness=witness).weights, plain.weights)
