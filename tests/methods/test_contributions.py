"""What each stage adds to the scores of a logistic regression, and where a run writes it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from retdm.backbones.vgg import VGGSmall
from retdm.commands.train import train
from retdm.methods.on_features.logistic import Logistic
from retdm.runs.settings import RunSettings

LABELS = ["a", "b", "c"]


def logits_of(scores: np.ndarray) -> np.ndarray:
    return np.log(scores / (1 - scores))


@pytest.fixture
def features() -> np.ndarray:
    rng = np.random.default_rng(0)
    width = sum(Logistic(VGGSmall(channels=[8, 8]), LABELS).widths.values())
    return np.abs(rng.normal(size=(60, width))).astype(np.float32)


@pytest.mark.parametrize("standardise", [False, True])
def test_the_stages_contributions_and_the_intercept_sum_to_the_logit(features: np.ndarray, standardise: bool) -> None:
    method = Logistic(VGGSmall(channels=[8, 8]), LABELS, standardise=standardise)
    target = np.stack([features[:, 0] > 0.7, features[:, -1] > features[:, 5], features[:, 0] > 99], 1)
    method.fit(features, target.astype(np.uint8), np.ones_like(target))
    found = method.explain(features)
    assert found["contributions"].shape == (60, 3, 3) and found["contributions"].dtype == np.float32
    assert found["stages"].tolist() == ["1", "2", "fc"]
    scores = method.decision(torch.from_numpy(features).double()).numpy()
    logits = found["contributions"].sum(2) + found["intercepts"]
    np.testing.assert_allclose(logits, logits_of(scores), atol=1e-4)
    assert (found["contributions"][:, 2] == 0).all()  # a label of one class has no line


def test_a_stage_adds_nothing_but_what_its_own_features_give(features: np.ndarray) -> None:
    method = Logistic(VGGSmall(channels=[8, 8]), LABELS)
    method.coefficients.copy_(torch.from_numpy(np.random.default_rng(1).normal(size=method.coefficients.shape)))
    before = method.contributions(torch.from_numpy(features))
    first, second = method.widths["1"], method.widths["2"]
    features[:, first : first + second] += 1
    after = method.contributions(torch.from_numpy(features))
    moved = (after - before).abs().amax(dim=(0, 1))
    assert moved[1] > 0.1 and moved[0] == moved[2] == 0


def test_details_tell_how_many_features_each_stage_of_the_view_has() -> None:
    method = Logistic(VGGSmall(channels=[8, 8]), LABELS, features=["2", "fc"])
    details = method.details()
    assert list(details["widths"]) == ["2", "fc"] == list(details["selected"]["a"])
    assert sum(details["widths"].values()) == method.coefficients.shape[1]


def test_a_run_leaves_the_contributions_of_its_test_part_and_pictures_of_some(
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
