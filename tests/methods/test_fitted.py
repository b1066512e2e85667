"""Fitted methods: what they learn, and that features, checkpoints and commands treat them like the deep ones."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from makers import image_batch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import retdm
from retdm.backbones.vgg import VGGSmall
from retdm.commands.train import train
from retdm.data import cached_array
from retdm.errors import UserError
from retdm.methods.components.multilevel_encoder import MultilevelEncoder
from retdm.methods.on_features import logistic
from retdm.methods.on_features.logistic import Logistic
from retdm.runs.build import build_data, build_method, with_features
from retdm.runs.settings import RunSettings
from retdm.training import features as feature_cache

LABELS = ["a", "b", "c"]
Tiny = Callable[..., RunSettings]


@pytest.fixture
def problem() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features never negative, of unlike scales; the first label depends on them, the last is constant."""
    rng = np.random.default_rng(0)
    x = np.abs(rng.normal(size=(60, 40))) * rng.uniform(0.1, 5, 40)
    target = np.zeros((60, 3), np.uint8)
    target[:, 0] = x[:, 3] - x[:, 5] > 0
    target[:, 1] = rng.random(60) < 0.4
    return x.astype(np.float32), target, np.ones((60, 3), bool)


def fitted(**settings: Any) -> Logistic:
    method = Logistic(VGGSmall(channels=[8, 8]), LABELS, **settings)
    width = 40  # of the problem, not of the network
    method.coefficients = torch.zeros(3, width, dtype=torch.float64)
    return method


@pytest.mark.parametrize("penalty", ["l1", "l2"])
@pytest.mark.parametrize("standardise", [False, True])
def test_scores_are_those_of_scikit_learn(problem: Any, penalty: Any, standardise: bool) -> None:
    x, target, known = problem
    method = fitted(penalty=penalty, standardise=standardise, C=0.7)
    method.fit(x, target, known)
    scores = method.decision(torch.from_numpy(x).double()).numpy()
    kind = {"l1_ratio": float(penalty == "l1")} if logistic.NEW_NAMES else {"penalty": penalty}
    for label in (0, 1):
        model = LogisticRegression(solver="liblinear", C=0.7, tol=1e-4, max_iter=1000, random_state=0, **kind)
        model = make_pipeline(StandardScaler(), model) if standardise else model
        expected = model.fit(x.astype(np.float64), target[:, label]).predict_proba(x.astype(np.float64))[:, 1]
        np.testing.assert_allclose(scores[:, label], expected, atol=1e-9)
    assert scores[:, 2] == pytest.approx(1 / 62)  # no positive in 60 rows


def test_unknown_cells_teach_nothing(problem: Any) -> None:
    x, target, known = problem
    known = known.copy()
    known[::3, 0] = False
    changed = target.copy()
    changed[::3, 0] ^= 1
    lines = []
    for marks in (target, changed):
        method = fitted()
        method.fit(x, marks, known)
        lines.append(method.coefficients.clone())
    alone = fitted()
    alone.fit(x[known[:, 0]], target[known[:, 0]], known[known[:, 0]])
    assert torch.equal(lines[0], lines[1])
    assert torch.equal(lines[0][0], alone.coefficients[0])


def test_l1_selects_and_details_count_what_it_selected_by_stage() -> None:
    rng = np.random.default_rng(1)
    method = Logistic(VGGSmall(channels=[8, 8]), LABELS)
    widths = method.encoder.widths()
    x = np.abs(rng.normal(size=(80, sum(widths.values())))).astype(np.float32)
    target = np.stack([x[:, 0] > x[:, 1], x[:, -1] > 0.6, x[:, 2] > 9], 1).astype(np.uint8)
    method.fit(x, target, np.ones_like(target, bool))
    details = method.details()
    for j, label in enumerate(LABELS):
        start = 0
        for stage, width in widths.items():
            nonzero = sum(value != 0 for value in method.coefficients[j, start : start + width].tolist())
            assert details["selected"][label][stage] == nonzero
            start += width
    assert 0 < sum(details["selected"]["a"].values()) < sum(widths.values())
    assert sum(details["selected"]["c"].values()) == 0


def test_tuning_takes_the_C_of_the_lowest_loss_over_folds(problem: Any) -> None:
    x, target, known = problem
    method = fitted(tune=True, grid=[100.0, 0.001, 1.0], standardise=True)
    method.fit(x, target, known)
    z = (x.astype(np.float64) - x.mean(0, dtype=np.float64)) / x.std(0, dtype=np.float64)
    fold = np.random.default_rng(0).permutation(60) % 5
    losses = {}
    for C in (0.001, 1.0, 100.0):
        losses[C] = 0.0
        for held in range(5):
            model = fitted(C=C)
            model.fit(z[fold != held], target[fold != held], known[fold != held])
            scores = model.decision(torch.from_numpy(z[fold == held])).numpy()
            for row, marks in zip(scores, target[fold == held], strict=True):
                with np.errstate(divide="ignore"):  # far off is infinitely far
                    losses[C] -= sum(np.log(p if mark else 1 - p) for p, mark in zip(row, marks, strict=True))
    assert min(losses, key=losses.__getitem__) == method.C


@pytest.mark.slow
def test_processes_learn_what_one_learns(problem: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for small in (10**9, 0):
        monkeypatch.setattr(logistic, "SMALL", small)
        method = fitted()
        method.fit(*problem)
        found.append(method.coefficients)
    assert torch.equal(*found)


@pytest.mark.parametrize("view, stages", [("multilevel", None), ("embedding", ["fc"]), (["fc", "1"], ["1", "fc"])])
def test_a_view_is_the_stages_that_it_names_in_the_networks_order(view: Any, stages: list[str] | None) -> None:
    backbone = VGGSmall(channels=[8, 8])
    images = torch.rand(2, 3, 16, 16)
    assert torch.equal(
        MultilevelEncoder(backbone, view)(image_batch(images)), backbone.eval().multilevel(images, stages)
    )


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"features": "deep"}, "method.features=deep"),
        ({"features": ["7"]}, "method.features names 7"),
        ({"C": 0.0}, "method.C=0.0"),
        ({"tune": True, "grid": []}, "method.grid is empty"),
    ],
)
def test_a_setting_that_cannot_be_is_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Logistic(VGGSmall(channels=[8, 8]), LABELS, **settings)


# The commands


@pytest.fixture
def settings(tiny: Tiny, tmp_path: Path) -> Tiny:
    def make(*more: str) -> RunSettings:
        found = tiny("method=l1lr", *more)
        found.data["cache"] = str(tmp_path / "cache")
        return found

    return make


def test_a_run_leaves_what_every_run_leaves_and_is_judged_again_to_the_last_bit(settings: Tiny) -> None:
    from command_line import in_process

    folder = train(settings("refit=true"))
    report = json.loads((folder / "metrics.json").read_text())
    assert report["selected"].keys() == set(report["per_label"])
    assert in_process("test.py", f"run={folder}").code == 0
    again = json.loads((folder / "test.json").read_text())
    for key in ("test", "test_validation_threshold", "validation", "per_label", "threshold"):
        assert again[key] == report[key]
    rows = np.load(folder / "predictions.npz")
    model, data = retdm.load(folder), build_data(settings("refit=true"))
    scores = model.predict([data.source.read(int(i)) for i in rows["index"]])
    np.testing.assert_allclose(scores, rows["scores"], atol=1e-6)


def test_refit_learns_from_validation_too_and_keeps_what_validation_said(settings: Tiny) -> None:
    reports = {}
    for refit in ("false", "true"):
        folder = train(settings(f"refit={refit}"))
        reports[refit] = json.loads((folder / "metrics.json").read_text())
    assert reports["true"]["validation"] == reports["false"]["validation"]
    assert reports["true"]["threshold"] == reports["false"]["threshold"]
    given = settings("refit=true")
    data, method = build_data(given), build_method(given, ["x"] * 5)
    data = with_features(given, data, method)
    method.fit(*data.examples("train", "validation"))  # type: ignore[operator]
    saved = torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]["coefficients"]
    assert torch.equal(saved, method.coefficients)


def test_a_deep_run_with_refit_trains_on_validation_and_reports_none(tiny: Tiny) -> None:
    folder = train(tiny("method=bce", "refit=true"))
    report = json.loads((folder / "metrics.json").read_text())
    assert report["validation"] is None and report["threshold"] is None and report["test"]["mAP"] > 0
    assert "those of validation too" in (folder / "log.txt").read_text()
    with pytest.raises(UserError, match="refit=true: stage end_to_end"):
        train(tiny("method=bce", "refit=true", "schedule.end_to_end.rule=plateau"))


def test_images_are_looked_at_once_for_all_splits_and_views(settings: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[int] = []
    extract = MultilevelEncoder.extract

    def counted(self: MultilevelEncoder, image: torch.Tensor) -> torch.Tensor:
        looks.append(len(image) if image.any() else 0)  # a blank image tells the shape
        return extract(self, image)

    monkeypatch.setattr(MultilevelEncoder, "extract", counted)
    train(settings("data.split=0"))
    assert sum(looks) == 60
    train(settings("data.split=1", "method.features=embedding"))
    train(settings("data.split=1", "method=lr"))
    assert sum(looks) == 60
    train(settings("data.split=0", "seed=3"))  # other random weights are another network
    assert sum(looks) == 120


def test_features_go_on_where_a_killed_computation_stopped(settings: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feature_cache, "SAVED_EVERY", -1.0)
    monkeypatch.setattr(cached_array, "BLOCK", 1)  # a row each
    given, looks = settings(), []
    extract = MultilevelEncoder.extract

    def dies(self: MultilevelEncoder, image: torch.Tensor) -> torch.Tensor:
        if len(looks) == 3:  # the first is of a blank image, which tells the shape
            raise KeyboardInterrupt
        looks.append(len(image))
        return extract(self, image)

    def features_of(given: dict[str, Any]) -> np.ndarray:
        data = build_data(given)
        method = build_method(given, data.labels)
        data = with_features(given, data, method)
        return np.array(data.features)

    with monkeypatch.context() as patch:
        patch.setattr(MultilevelEncoder, "extract", dies)
        with pytest.raises(KeyboardInterrupt):
            features_of(given)
    rest: list[int] = []
    with monkeypatch.context() as patch:
        patch.setattr(MultilevelEncoder, "extract", lambda self, image: rest.append(len(image)) or extract(self, image))
        found = features_of(given)
    assert sum(looks[1:]) + sum(rest[1:]) == 60
    given.data["cache"] = "none"
    assert np.array_equal(found, features_of(given))


def test_several_processes_are_refused(settings: Tiny) -> None:
    given = settings()
    given.trainer["devices"] = 2
    with pytest.raises(UserError, match="l1lr is fitted by one process, not by 2"):
        train(given)


@pytest.fixture(autouse=True)
def quiet() -> None:
    logging.getLogger("pytorch_lightning.utilities.rank_zero").setLevel(logging.WARNING)
