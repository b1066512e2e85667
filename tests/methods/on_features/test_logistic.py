"""Logistic regression: its lines are scikit-learn's, and what each stage of the backbone adds to its scores."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fitted_toys import LABELS, WIDTH, Toy, feature_toy, fitted, made, scored
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from retdm.commands.train import train
from retdm.methods.on_features import logistic
from retdm.settings.run_settings import RunSettings


@pytest.fixture
def given() -> Toy:
    """The first label depends on some features, the second on none, the third is constant."""
    rng = np.random.default_rng(0)
    toy = feature_toy()
    toy.target[:, 0] = toy.examples[:, 3] / 0.13 - toy.examples[:, 5] / 0.16 > 0
    toy.target[:, 1] = rng.random(60) < 0.4
    return toy


def logits_of(scores: np.ndarray) -> np.ndarray:
    return np.log(scores / (1 - scores))


def liblinear(penalty: str, standardise: bool, tolerance: float) -> Any:
    kind = {"l1_ratio": float(penalty == "l1")} if logistic.NEW_NAMES else {"penalty": penalty}
    model = LogisticRegression(solver="liblinear", C=0.7, tol=tolerance, max_iter=10_000, random_state=0, **kind)
    return make_pipeline(StandardScaler(), model) if standardise else model


@pytest.mark.parametrize("standardise", [False, True])
def test_l1_scores_are_those_of_liblinear(given: Toy, standardise: bool) -> None:
    scores = scored(fitted("logistic", given, standardise=standardise, C=0.7, tolerance=1e-4), given.examples)
    x = given.examples.astype(np.float64)
    for label in (0, 1):
        model = liblinear("l1", standardise, 1e-4)
        expected = model.fit(x, given.target[:, label]).predict_proba(x)[:, 1]
        np.testing.assert_allclose(scores[:, label], expected, atol=1e-9)


@pytest.mark.parametrize("standardise", [False, True])
def test_l2_has_the_optimum_of_liblinear(given: Toy, standardise: bool) -> None:
    settings = {"penalty": "l2", "standardise": standardise, "tolerance": 1e-6, "C": 0.7}
    scores = scored(fitted("logistic", given, **settings), given.examples)
    x = given.examples.astype(np.float64)
    for label in (0, 1):
        model = liblinear("l2", standardise, 1e-10)
        expected = model.fit(x, given.target[:, label]).predict_proba(x)[:, 1]
        np.testing.assert_allclose(scores[:, label], expected, atol=1e-5)


def test_the_coarser_the_tolerance_the_further_l2_stays_from_its_optimum(given: Toy) -> None:
    given.target[:, 2] = given.target[:, 0]

    def objective(tolerance: float) -> float:
        method = fitted("logistic", given, penalty="l2", C=0.7, tolerance=tolerance)
        lines = torch.cat([method.coefficients, method.intercepts[:, None]], 1)
        logits = torch.from_numpy(given.examples).double() @ lines[:, :-1].T + lines[:, -1]
        signs = 1 - 2.0 * torch.from_numpy(given.target)
        return float((lines**2).sum() / 2 + 0.7 * torch.nn.functional.softplus(signs * logits).sum())

    found = [objective(tolerance) for tolerance in (1e-8, 1e-4, 1e-1)]
    assert found == sorted(found) and found[0] < found[2]
    assert found[1] - found[0] < 1e-6 * found[0]


@pytest.mark.parametrize("penalty", ["l1", "l2"])
def test_tuning_chooses_the_c_of_a_plain_cross_validation(given: Toy, penalty: str) -> None:
    given.known[::5, 1] = False
    method = fitted("logistic", given, penalty=penalty, tolerance=1e-6, tune=True)
    fold = np.random.default_rng(0).permutation(60) % 5
    losses = {}
    for C in method.candidates["C"]:
        losses[C] = 0.0
        for held in range(5):
            part = fitted("logistic", given.take(fold != held), penalty=penalty, tolerance=1e-6, C=C)
            rest = given.take(fold == held)
            scores = scored(part, rest.examples)
            wrong = np.where(rest.target > 0, 1 - scores, scores)
            losses[C] -= np.log1p(-wrong[rest.known]).sum()
    assert min(losses, key=lambda C: losses[C]) == method.C


def test_a_label_is_fitted_to_the_rows_where_it_is_known(given: Toy) -> None:
    given.known[::3, 0] = False
    alone = given.take(given.known[:, 0])
    lines = [fitted("logistic", rows).coefficients[0] for rows in (given, alone)]
    assert lines[0].any() and torch.equal(*lines)


@pytest.mark.slow
def test_processes_fit_what_one_fits(given: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for small in (10**9, 0):
        monkeypatch.setattr(logistic, "SMALL", small)
        found.append(fitted("logistic", given).coefficients)
    assert torch.equal(*found)


def test_l1_selects_and_details_count_what_it_selected_by_stage(given: Toy) -> None:
    method = fitted("logistic", given)
    details = method.details()
    assert details["widths"] == {"1": 32, "2": 32, "fc": 16}
    for j, label in enumerate(LABELS):
        start = 0
        for stage, width in details["widths"].items():
            nonzero = sum(value != 0 for value in method.coefficients[j, start : start + width].tolist())
            assert details["selected"][label][stage] == nonzero
            start += width
    assert 0 < sum(details["selected"]["a"].values()) < WIDTH
    assert sum(details["selected"]["c"].values()) == 0
    assert list(made("logistic", features=["2", "fc"]).widths) == ["2", "fc"]


@pytest.mark.parametrize("standardise", [False, True])
def test_the_stages_contributions_and_the_intercept_sum_to_the_logit(given: Toy, standardise: bool) -> None:
    method = fitted("logistic", given, standardise=standardise)
    found = method.explain(given.examples)
    assert found["contributions"].shape == (60, 3, 3) and found["contributions"].dtype == np.float32
    assert found["stages"].tolist() == ["1", "2", "fc"]
    logits = found["contributions"].sum(2) + found["intercepts"]
    np.testing.assert_allclose(logits, logits_of(scored(method, given.examples)), atol=1e-4)
    assert (found["contributions"][:, 2] == 0).all()  # a constant label has coefficients of 0


def test_a_stage_adds_nothing_but_what_its_own_features_give(given: Toy) -> None:
    method = made("logistic")
    method.set_fitted(coefficients=np.random.default_rng(1).normal(size=(3, WIDTH)))
    before = method.contributions(torch.from_numpy(given.examples))
    given.examples[:, 32:64] += 1
    after = method.contributions(torch.from_numpy(given.examples))
    moved = (after - before).abs().amax(dim=(0, 1))
    assert moved[1] > 0.1 and moved[0] == moved[2] == 0


def test_a_run_leaves_the_contributions_of_its_test_split_and_pictures_of_some(
    tiny: Callable[..., RunSettings], tmp_path: Path
) -> None:
    settings = tiny("method=l1lr")
    settings.data["cache"] = str(tmp_path / "cache")
    folder = train(settings)
    rows = np.load(folder / "predictions.npz")
    logits = rows["contributions"].sum(2) + rows["intercepts"]
    np.testing.assert_allclose(logits, logits_of(rows["scores"]), atol=1e-4)
    drawn = ("embedding", "labels", "precision_recall", "predictions")  # as a network's
    assert sorted(path.name for path in (folder / "pictures").glob("*.png")) == [f"{name}-fitted.png" for name in drawn]
    pictures = sorted((folder / "pictures").glob("*.jpg"))
    assert 1 <= len(pictures) <= 6
    for path in pictures:
        assert int(path.stem.removeprefix("test-")) in rows["index"]
        with Image.open(path) as image:
            assert max(image.size) <= 224
