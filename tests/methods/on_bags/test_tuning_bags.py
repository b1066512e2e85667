"""Tuning of methods on bags: that it takes what a plain loop over the folds takes, says so, and is off unless asked."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from bag_toys import LABELS, Toy, check_reloads, scored, toy

from retdm.backbones import NoBackbone
from retdm.methods.on_bags.bag_embedding import BagEmbedding
from retdm.methods.on_bags.bag_of_words import BagOfWords
from retdm.methods.on_bags.base import TunedBagMethod, wrong_pairs
from retdm.methods.on_bags.emd_svm import EMDSVM
from retdm.methods.on_bags.kisar import KISAR
from retdm.methods.on_bags.mi_svm import MiSVM
from retdm.methods.on_bags.mimlfast import MIMLfast
from retdm.methods.on_bags.mimlknn import MIMLkNN
from retdm.methods.on_bags.mimlsvm import MIMLSVM
from retdm.methods.on_bags.ranklsim import RankLossSIM

# Candidates of which the first is the worst, so that a method which tunes nothing is found out.
SMALL: dict[str, tuple[type[TunedBagMethod], dict[str, Any], list[Any]]] = {
    "kisar": (KISAR, {"prototypes": 6, "rounds": 3}, [1e-3, 1.0, 50.0]),
    "mi_svm": (MiSVM, {"rounds": 3}, [1e-3, 1e-2, 3.0]),
    "mi_svm_witness": (MiSVM, {"rounds": 3, "witness": True}, [1e-3, 1e-2, 3.0]),
    "mimlfast": (MIMLfast, {"variant": "minibatch", "eta": 0.05}, [[2, 3.0, 1, 1], [6, 3.0, 2, 2], [6, 3.0, 2, 8]]),
    "bag_embedding": (BagEmbedding, {}, [1e-3, 0.1, 10.0]),
    "bag_of_words": (BagOfWords, {"words": 6}, [1e-6, 1e-3, 30.0]),
    "ranklsim": (RankLossSIM, {"rounds": 1, "steps": 200}, [1e3, 1e-2]),
    "mimlsvm": (MIMLSVM, {}, [[1e3, 1e-6], [1e-6, 1e-6], [0.02, 10.0]]),
    "mimlknn": (MIMLkNN, {}, [[39, 39], [1, 30], [3, 3]]),
    "emd_svm": (EMDSVM, {}, [1e-6, 1e-5, 10.0]),
}
LOOPED = ["kisar", "mi_svm", "mi_svm_witness", "mimlfast"]  # the others by their own libraries, in their own tests


def made(name: str, **settings: Any) -> TunedBagMethod:
    kind, small, _ = SMALL[name]
    return kind(NoBackbone(4), LABELS, **{**small, **settings})


def tuned(name: str, given: Toy, **settings: Any) -> TunedBagMethod:
    method = made(name, tune=True, candidates=SMALL[name][2], **settings)
    method.fit(*given)
    return method


def cross_validation_loss(name: str, scores: np.ndarray, target: np.ndarray) -> float:
    if name != "mimlfast":
        return float(((scores >= 0.5) != (target == 1)).sum())
    total = 0.0
    for row, marks in zip(scores, target, strict=True):
        pairs = [(p, q) for p in np.flatnonzero(marks) for q in np.flatnonzero(marks == 0)]
        total += sum(row[p] <= row[q] for p, q in pairs) / max(1, len(pairs))
    return total


@pytest.mark.parametrize("name", LOOPED)
def test_tuning_takes_the_candidate_that_a_plain_loop_over_the_folds_takes(name: str) -> None:
    given, losses, seed = toy(n=40), [], 3
    fold = np.random.default_rng(seed).permutation(40) % 5
    for candidate in SMALL[name][2]:
        settings = dict(zip(SMALL[name][0].tuned, np.atleast_1d(np.array(candidate, object)), strict=True))
        losses.append(0.0)
        for held in range(5):
            model = made(name, seed=seed, **settings)
            rows = fold != held
            model.fit(given.examples.take(rows), given.target[rows], given.known[rows])
            losses[-1] += cross_validation_loss(name, scored(model, given.examples.take(~rows)), given.target[~rows])
    best = int(np.argmin(losses))
    assert best > 0 and losses[best] < losses[0]
    method = tuned(name, given, seed=seed)
    wanted = dict(zip(method.tuned, method.candidates[best], strict=True))
    assert wanted.items() <= method.details().items()
    alone = made(name, seed=seed, **wanted)
    alone.fit(*given)
    assert np.array_equal(scored(method, given.examples), scored(alone, given.examples))


@pytest.mark.parametrize("name", SMALL)
def test_what_was_tuned_comes_back_with_the_checkpoint(name: str) -> None:
    given = toy(n=40)
    method, fresh = tuned(name, given), made(name, tune=True, candidates=SMALL[name][2])
    assert int(method.chosen) > 0
    check_reloads(method, fresh, replace(given.examples, index=np.full(40, -1)))
    assert {key: fresh.details()[key] for key in method.tuned} == {key: method.details()[key] for key in method.tuned}


@pytest.mark.parametrize("name", SMALL)
def test_nothing_is_tuned_unless_it_is_asked_for(name: str) -> None:
    given = toy(n=40)
    method = made(name, candidates=SMALL[name][2])
    before = {key: getattr(method, key) for key in method.tuned}
    method.fit(*given)
    assert {key: getattr(method, key) for key in method.tuned} == before
    assert int(method.chosen) == -1


def test_a_checkpoint_from_before_there_was_tuning_still_loads() -> None:
    given = toy()
    method = made("kisar")
    method.fit(*given)
    state = method.state_dict()
    del state["chosen"]
    fresh = made("kisar")
    fresh.load_state_dict(state)
    assert np.array_equal(scored(fresh, given.examples), scored(method, given.examples))


def test_the_earlier_of_two_that_are_as_good_is_taken() -> None:
    method = made("bag_embedding", tune=True, candidates=[7.0, 7.0 + 1e-9])
    method.fit(*toy())
    assert method.details()["C"] == 7.0


def test_wrong_pairs_leave_out_unknown_cells_and_count_ties() -> None:
    scores = np.array([[0.9, 0.5, 0.5, 0.1], [0.2, 0.8, 0.3, 0.4], [0.1, 0.2, 0.3, 0.4]])
    target = np.array([[0, 1, 0, 0], [1, 0, 1, 0], [1, 1, 1, 1]])
    known = np.ones((3, 4), bool)
    assert wrong_pairs(scores, target, known) == pytest.approx(2 / 3 + 4 / 4)  # the last bag lacks nothing
    known[0, 0] = known[1, 1] = False
    assert wrong_pairs(scores, target, known) == pytest.approx(1 / 2 + 2 / 2)


def test_wrong_cells_are_counted_at_a_methods_own_thresholds() -> None:
    method = made("ranklsim")
    method.set_fitted(thresholds=torch.tensor([0.2, 0.5, 0.9]))
    scores, target = np.array([[0.3, 0.3, 0.8], [0.1, 0.5, 0.95]]), np.array([[0, 0, 0], [0, 0, 1]])
    assert method.cross_validation_loss(scores, target, np.ones((2, 3), bool)) == 2
    assert method.cross_validation_loss(scores, target, np.array([[0, 1, 1], [1, 1, 1]], bool)) == 1
