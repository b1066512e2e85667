"""Features are those of the network's own forward pass."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from untrained import Untrained

import retdm
from retdm.backbones import Backbone, base
from retdm.backbones.vgg import VGGSmall
from retdm.errors import UserError
from retdm.files import file_hash
from retdm.runs.trained.extractor import Extractor, extractor_of
from retdm.runs.trained.model import Model
from retdm.settings.features import check_features

NETWORK = {"_target_": "retdm.backbones.vgg.VGGSmall", "channels": [8, 16]}
VIEWS = torch.randint(0, 256, (5, 3, 24, 24), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def made(**asked: Any) -> Extractor:
    """As the command makes it; where no run is named, of a ``vgg_small`` for images of 24 x 24."""
    network: dict[str, Any] = {} if "run" in asked else {"backbone": NETWORK, "image_size": 24}
    settings = {
        **dict.fromkeys(("run", "images", "stages", "image_size", "precision", "value_range")),
        **{"backbone": {}, "out": "x.npz", "view": "embedding", "device": "cpu", "batch_size": 4},
        **{"overwrite": False, "user_classes": False, **network, **asked},
    }
    choices = {"backbone": "vgg_small"}
    check_features(settings, choices)
    return extractor_of(settings, choices)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of weights of the small network."""
    file = tmp_path_factory.mktemp("weights") / "small.pt"
    torch.save(VGGSmall([8, 16]).net.state_dict(), file)
    return file


@pytest.fixture(scope="module")
def backbone(weights: Path) -> Backbone:
    """The network alone."""
    return VGGSmall([8, 16], weights=str(weights)).eval()


def normalised(backbone: Backbone, views: Tensor) -> Tensor:
    mean, std = (torch.tensor(numbers).view(3, 1, 1) for numbers in (backbone.transform.mean, backbone.transform.std))
    return (views / 255 - mean) / std


@pytest.mark.parametrize("view", ["embedding", "multilevel", "maps"])
def test_features_are_the_backbones_own(weights: Path, backbone: Backbone, view: str) -> None:
    found = made(backbone=NETWORK | {"weights": str(weights)}, view=view)
    with torch.no_grad():
        expected = getattr(backbone, view)(normalised(backbone, VIEWS)).numpy()
    features = found.features(VIEWS)
    assert features.dtype == np.float32 and features.shape == expected.shape
    assert np.allclose(features, expected, atol=1e-5) and np.abs(expected).max() > 0.1
    assert found.about["stages"] == ({"1": 32, "2": 64, "fc": 32} if view == "multilevel" else {})
    assert found.about["weights"]["sha256"] == file_hash(weights)
    assert found.warning == ""


def test_some_stages_are_their_columns_of_all(weights: Path) -> None:
    whole, some = (
        made(backbone=NETWORK | {"weights": str(weights)}, view="multilevel", stages=stages)
        for stages in (None, ["fc", 1])
    )
    features = whole.features(VIEWS)
    assert some.about["stages"] == {"1": 32, "fc": 32}
    assert np.array_equal(some.features(VIEWS), np.concatenate([features[:, :32], features[:, 96:]], 1))


def test_a_network_at_random_warns_and_is_the_same_each_time() -> None:
    torch.manual_seed(7)
    before = torch.get_rng_state()
    one, other = made(), made()
    assert torch.equal(torch.get_rng_state(), before)
    assert "starts at random" in one.warning
    assert np.array_equal(one.features(VIEWS), other.features(VIEWS))
    assert one.about["weights"] == other.about["weights"] != made(backbone=NETWORK | {"convs": 2}).about["weights"]


def test_bfloat16_is_near(weights: Path) -> None:
    network = NETWORK | {"weights": str(weights)}
    exact, rounded = made(backbone=network), made(backbone=network, precision="bf16-mixed")
    assert (exact.about["precision"], rounded.about["precision"]) == ("float32", "bfloat16")
    difference = np.abs(exact.features(VIEWS) - rounded.features(VIEWS))
    assert 0 < difference.max() < 0.05 * np.abs(exact.features(VIEWS)).max()


RUNS = ["method=retdm method.embedding_dim=6", "method=bce", "method=bce method.head=csra", "method=mil"]


@pytest.mark.parametrize("words", RUNS)
def test_the_embedding_of_a_run_is_what_its_model_and_a_search_give(untrained: Untrained, words: str) -> None:
    run = untrained(*words.split())
    found, model = made(run=str(run.path)), retdm.load(run.path)
    views = VIEWS[:, :, :1, :1].expand(5, 3, 32, 32)
    features = found.features(views)
    assert np.array_equal(features, model.embeddings(views)) and np.ptp(features, 0).max() > 0
    assert np.array_equal(found.features(views), model.embed(list(views)))
    assert found.image_size == found.about["image_size"] == 32
    assert found.about["weights"]["sha256"] == file_hash(run.best)


def test_other_views_of_a_run_are_of_its_trained_backbone(untrained: Untrained) -> None:
    run = untrained("method=retdm", "method.embedding_dim=6")
    backbone = retdm.load(run.path).method.encoder.backbone
    views = VIEWS.repeat(1, 1, 2, 2)[:, :, :32, :32]
    with torch.inference_mode():
        image = normalised(backbone, views)
        expected = {"maps": backbone.maps(image), "multilevel": backbone.multilevel(image, ["2", "fc"])}
    for view, stages in (("maps", None), ("multilevel", [2, "fc"])):
        features = made(run=str(run.path), view=view, stages=stages).features(views)
        assert np.allclose(features, expected[view].numpy(), atol=1e-5)


def test_a_fitted_run_gives_the_features_that_it_is_fitted_to(untrained: Untrained) -> None:
    run = untrained("method=l1lr", "method.features=[2,fc]")
    views = VIEWS.repeat(1, 1, 2, 2)[:, :, :32, :32]
    found = made(run=str(run.path))
    assert found.about["stages"] == {"2": 64, "fc": 32}
    assert np.array_equal(found.features(views), retdm.load(run.path).embeddings(views))


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"view": "multilevel", "stages": [1, 7]}, "stages names 7, which is no stage of vgg_small; its stages: 1, 2"),
        ({"view": "multilevel", "stages": []}, "stages=[] names no stage; its stages: 1, 2, fc"),
        ({"image_size": 3}, "images of 3 x 3 are too small for vgg_small; image_size=4 or more"),
        ({"backbone": NETWORK | {"weights": "nowhere.pt"}}, "unknown weights 'nowhere.pt'"),
        ({"backbone": {"_target_": "retdm.backbones.vgg.VGG17"}}, "VGG17"),
        ({"device": "tpu"}, "device=tpu is not known"),
        ({"value_range": [3.0, 1.0]}, "value_range=[3.0, 1.0] is no range"),
    ],
)
def test_what_cannot_be_is_refused(asked: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError) as error:
        made(**asked)
    assert says in f"{error.value.message}; {error.value.hint}"


def test_a_layer_of_the_embedding_that_starts_at_random_is_named(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = base.load_weights
    monkeypatch.setattr(base, "load_weights", lambda *given: replace(load(*given), random=["classifier.3 (512 wide)"]))
    network = NETWORK | {"weights": str(weights)}
    assert "classifier.3 (512 wide)" in made(backbone=network).warning
    assert made(backbone=network, view="maps").warning == ""


def test_a_run_on_bags_has_no_features_of_images(untrained: Untrained, monkeypatch: pytest.MonkeyPatch) -> None:
    load = Model.__init__

    def of_bags(self: Model, *given: Any, **more: Any) -> None:
        load(self, *given, **more)
        self.dim = 9

    run = untrained("method=mil")
    monkeypatch.setattr(Model, "__init__", of_bags)
    with pytest.raises(UserError, match="was trained on bags of instances, not on images"):
        made(run=str(run.path))
