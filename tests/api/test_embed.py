"""``retdm.embed``: what it takes and gives; the features themselves are tested with the extractor."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import retdm

SMALL: dict[str, Any] = {
    "backbone": "vgg_small",
    "backbone.channels": [8, 16],
    "image_size": 16,
    "device": "cpu",
    "batch_size": 2,
}
PIXELS = np.random.default_rng(0).integers(0, 256, (5, 20, 24, 3), dtype=np.uint8)


def test_images_in_any_form_have_one_embedding_and_a_name(tmp_path: Path) -> None:
    pictures = [Image.fromarray(each) for each in PIXELS]
    for i, picture in enumerate(pictures):
        picture.save(tmp_path / f"{i}.png")
    expected = retdm.embed(PIXELS, **SMALL)
    assert expected.features.shape == (5, 32) and expected.names == [f"image {i}" for i in range(5)]
    assert expected.about["image_size"] == 16
    tensors = torch.from_numpy(PIXELS).permute(0, 3, 1, 2)
    for images in (pictures, tensors, list(PIXELS), (picture for picture in pictures)):
        assert np.array_equal(retdm.embed(images, **SMALL).features, expected.features)
    features, names, _ = retdm.embed(tmp_path, **SMALL)
    assert np.array_equal(features, expected.features)
    assert names == [str(tmp_path / f"{i}.png") for i in range(5)]
    (one,) = retdm.embed(pictures[3], **SMALL).features
    assert np.allclose(one, expected.features[3], atol=1e-5)


def test_no_image_has_no_embedding_of_the_same_width() -> None:
    assert retdm.embed([], **SMALL).features.shape == (0, 32)
    assert retdm.embed([], view="maps", **SMALL).features.shape == (0, 16, 4, 4)


def test_a_run_embeds_as_its_model_does(tiny_run: Path) -> None:
    model = retdm.load(tiny_run)
    found = retdm.embed(PIXELS, run=tiny_run, device="cpu")
    assert np.array_equal(found.features, model.embed(PIXELS))
    assert found.about["weights"]["source"].endswith("best.ckpt")


def test_features_of_a_random_network_are_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "retdm"):
        retdm.embed(PIXELS[0], **SMALL)
    assert ["starts at random" in record.message for record in caplog.records] == [True]


@pytest.mark.parametrize(
    ("images", "settings", "says"),
    [
        (PIXELS, {}, "which network?"),
        (PIXELS, {"backbone": "vgg_smal"}, "did you mean vgg_small?"),
        (PIXELS, {"backbone": "vgg_small", "veiw": "maps"}, "veiw is not a setting; did you mean view?"),
        (PIXELS, {"backbone": "vgg_small", "view": "map"}, "view=map is not one of"),
        (PIXELS, {"run": "nowhere"}, "there is no checkpoint nowhere/checkpoints/best.ckpt"),
        (PIXELS.astype(np.float32), SMALL, "whose range is not stated; value_range=[lowest, highest]"),
        ("nowhere.jpg", SMALL, "there is no nowhere.jpg"),
        ([PIXELS[0], b"no image"], SMALL, "image 1 cannot be read as an image: cannot identify its format"),
    ],
)
def test_what_is_wrong_is_a_user_error(images: Any, settings: dict[str, Any], says: str) -> None:
    with pytest.raises(retdm.UserError) as error:
        retdm.embed(images, **settings)
    assert says in f"{error.value.message}; {error.value.hint}"
