import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from untrained import Untrained

import retdm
from retdm.batch import unlabelled
from retdm.data.images import cached_side
from retdm.data.preparation import Preparation
from retdm.data.synthetic.source import Synthetic
from retdm.errors import UserError
from retdm.runs.build import build_data
from retdm.runs.folder.saved import write_decision
from retdm.runs.trained.model import Model
from retdm.settings.run_settings import RunSettings
from retdm.training.inference import infer


@pytest.fixture
def moved(tiny_run: Path, tmp_path: Path) -> Path:
    """The run's checkpoint alone, in another place: neither data nor cache nor anything else is there."""
    folder = tmp_path / "moved"
    (folder / "checkpoints").mkdir(parents=True)
    shutil.copy(tiny_run / "checkpoints" / "best.ckpt", folder / "checkpoints")
    return folder


@pytest.fixture(scope="module")
def rows(tiny_run: Path) -> dict[str, np.ndarray]:
    return dict(np.load(tiny_run / "predictions.npz"))


@pytest.fixture(scope="module")
def pictures(rows: dict[str, np.ndarray]) -> list[Image.Image]:
    source = Synthetic(60, side=18)
    return [source.read(int(i)) for i in rows["index"]]


def test_a_loaded_run_gives_the_scores_it_was_evaluated_by(
    moved: Path, rows: dict[str, np.ndarray], pictures: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("retdm.runs.build.build_data", None)  # no data set is opened
    model = retdm.load(moved)
    scores = model.predict(pictures)
    assert scores.dtype == np.float32
    assert scores.shape == rows["scores"].shape
    assert np.abs(scores - rows["scores"]).max() <= 1e-6
    assert model.labels == rows["labels"].tolist() == Synthetic(1).names


def test_pictures_may_be_paths_pil_images_or_arrays_in_batches_of_any_size(
    moved: Path, pictures: list[Image.Image], tmp_path: Path
) -> None:
    model = retdm.load(moved)
    expected = model.predict(pictures[:5])
    paths: list[Any] = []
    for i, picture in enumerate(pictures[:5]):
        picture.save(tmp_path / f"{i}.png")
        paths.append(tmp_path / f"{i}.png")
    paths[0] = str(paths[0])
    for given in (paths, [np.asarray(picture) for picture in pictures[:5]], iter(pictures[:5])):
        assert np.allclose(model.predict(given, batch_size=2), expected, atol=1e-6)
    assert model.predict([]).shape == (0, 5)


def test_one_image_alone_is_one_image(moved: Path, pictures: list[Image.Image], tmp_path: Path) -> None:
    model = retdm.load(moved)
    expected = model.predict(pictures[:1])
    pictures[0].save(tmp_path / "a.png")
    pixels = np.asarray(pictures[0])
    alone: list[Any] = [tmp_path / "a.png", str(tmp_path / "a.png"), (tmp_path / "a.png").read_bytes(), pictures[0]]
    for given in [*alone, pixels, torch.from_numpy(pixels.copy()).permute(2, 0, 1)]:
        assert np.allclose(model.predict(given), expected, atol=1e-6), type(given)
    with (tmp_path / "a.png").open("rb") as opened:
        assert np.allclose(model.predict(opened), expected, atol=1e-6)
    grey = pixels[..., 0]
    assert model.predict(grey).shape == (1, 5)


def test_arrays_and_tensors_of_several_images_are_several(moved: Path, pictures: list[Image.Image]) -> None:
    model = retdm.load(moved)
    expected = model.predict(pictures[:3])
    pixels = np.stack([np.asarray(picture) for picture in pictures[:3]])
    for given in (pixels, torch.from_numpy(pixels).permute(0, 3, 1, 2)):
        assert np.allclose(model.predict(given), expected, atol=1e-6)


def test_folders_and_globs_are_searched_and_a_path_twice_is_two_images(
    moved: Path, pictures: list[Image.Image], tmp_path: Path
) -> None:
    model = retdm.load(moved)
    expected = model.predict(pictures[:3])
    (tmp_path / "photos").mkdir()
    for i, picture in enumerate(pictures[:3]):
        picture.save(tmp_path / "photos" / f"{i}.png")
    for given in (tmp_path / "photos", str(tmp_path / "photos" / "*.png")):
        assert np.allclose(model.predict(given), expected, atol=1e-6)
        assert np.allclose(model.predict([pictures[2], given]), expected[[2, 0, 1, 2]], atol=1e-6)
    first = str(tmp_path / "photos" / "0.png")
    assert np.allclose(model.predict([first, first]), expected[[0, 0]], atol=1e-6)
    with pytest.raises(UserError, match="there is no image in"):
        model.predict(str(tmp_path / "photos" / "*.tif"))


def test_an_image_that_cannot_be_read_has_its_number(moved: Path, pictures: list[Image.Image]) -> None:
    for wrong in (np.zeros((3, 8, 8), np.uint8), b"no image", None):
        with pytest.raises(UserError, match="image 1 "):
            retdm.load(moved).predict([pictures[0], wrong, pictures[0]])
    with pytest.raises(UserError, match="image 0 is of type int"):
        retdm.load(moved).predict(3)  # type: ignore[call-overload]


def test_the_labels_are_those_that_the_runs_rule_gives(moved: Path, pictures: list[Image.Image]) -> None:
    model = retdm.load(moved)
    scores = model.predict(pictures)
    assert model.method.decide == "half"
    named = [[model.labels[j] for j in np.flatnonzero(row >= 0.5)] for row in scores]
    assert model.predict(pictures, decide=True) == named
    assert model.predict(pictures[0], decide=True) == named[:1] and model.predict([], decide=True) == []
    threshold = float(np.median(scores))
    for known in ({"threshold": None, "decision": None}, {"threshold": threshold, "decision": None}):
        write_decision(model.run.best, known)
        model = retdm.load(moved)
        model.method.decide = "validation"
        if known["threshold"] is None:
            with pytest.raises(UserError, match="has no threshold"):
                model.predict(pictures, decide=True)
    decided = model.predict(pictures, decide=True)
    assert decided == [[model.labels[j] for j in np.flatnonzero(row >= threshold)] for row in scores] != named


def test_embeddings_are_the_encoders_and_label_sets_lie_among_them(moved: Path, pictures: list[Image.Image]) -> None:
    model = retdm.load(moved)
    embedded = model.embed(pictures, batch_size=5)
    views = torch.stack([model.view(picture) for picture in pictures])
    batch = model.method.prepared(unlabelled(views, 5))
    with torch.no_grad():
        assert np.allclose(embedded, model.method.encoder(batch).numpy(), atol=1e-5)
        sets = model.method.label_net(torch.tensor([[0.0, 0, 1, 1, 0], [0, 0, 0, 0, 0]])).numpy()  # type: ignore[operator]
    assert np.allclose(model.embed_labels([["sunset", "sea"], []]), sets, atol=1e-6)
    assert embedded.dtype == model.embed_labels([["sea"]]).dtype == np.float32
    assert model.embed([]).shape == model.embed_labels([]).shape == (0, embedded.shape[1])
    assert np.allclose(model.embed(pictures[0]), embedded[:1], atol=1e-5)


def test_heat_maps_are_scores_of_regions_in_the_order_of_the_images(
    untrained: Untrained, pictures: list[Image.Image]
) -> None:
    model = retdm.load(untrained("method=mil").path)
    maps = model.heat_maps(pictures[:5], batch_size=2)
    side = maps.shape[-1]
    assert maps.dtype == np.float32
    assert maps.shape == (5, 3, side, side) and side > 1
    for picture, own in zip(pictures, maps, strict=False):
        assert np.allclose(model.heat_maps(picture)[0], own, atol=1e-6)
        # method.pooling=max: the score of an image is that of its highest region.
        assert np.allclose(model.predict(picture)[0], own.max(axis=(1, 2)), atol=1e-6)
    assert len(model.heat_maps([])) == 0


def test_a_method_that_scores_no_regions_has_no_heat_maps(untrained: Untrained, pictures: list[Image.Image]) -> None:
    with pytest.raises(UserError, match="scores no regions"):
        retdm.load(untrained("method=c2ae").path).heat_maps(pictures)


def test_a_label_that_is_not_there_and_a_method_that_embeds_none_are_named(moved: Path, untrained: Untrained) -> None:
    with pytest.raises(UserError, match="there is no label 'see'") as error:
        retdm.load(moved).embed_labels([["sea", "see"]])
    assert "did you mean sea?" in error.value.hint
    with pytest.raises(UserError, match="bce embeds no label sets"):
        retdm.load(untrained("method=bce").path).embed_labels([["a"]])


def test_the_label_sets_of_the_training_split_are_in_the_checkpoint(tiny_run: Path, moved: Path) -> None:
    source, split = Synthetic(60, side=18), json.loads((tiny_run / "split.json").read_text())
    rows = [source.ids.index(name) for name in split["train"]]
    for found, expected in zip(
        retdm.load(moved).training_sets(), np.unique(source.targets[rows], axis=0, return_counts=True), strict=True
    ):
        assert np.array_equal(found, expected)


def test_it_says_what_it_is(moved: Path) -> None:
    labels = "desert, mountains, sea, sunset, trees"
    model = retdm.load(moved)
    assert repr(model) == f"<retdm retdm on vgg_small, images of 16², 5 labels: {labels}; {moved}>"
    model.labels = [f"\x1b{i}" for i in range(8)]
    assert r"8 labels: \x1b0, \x1b1, \x1b2, \x1b3, \x1b4, \x1b5 and 2 more;" in repr(model)


def test_the_range_of_values_that_a_run_was_told_is_that_of_its_predictions(
    moved: Path, pictures: list[Image.Image]
) -> None:
    of_12_bits = np.asarray(pictures[0]).astype(np.uint16) * 16
    with pytest.raises(UserError, match="range is not stated") as error:
        retdm.load(moved).predict(of_12_bits)
    assert "value_range of the model" in error.value.hint
    content = torch.load(moved / "checkpoints" / "best.ckpt", weights_only=True)
    content["retdm"]["settings"]["data"]["value_range"] = [0, 255 * 16]
    torch.save(content, moved / "checkpoints" / "best.ckpt")
    model = retdm.load(moved)
    assert np.allclose(model.predict(of_12_bits), model.predict(pictures[0]), atol=1e-6)


def test_pictures_of_other_sizes_and_modes_are_brought_to_the_runs(moved: Path, pictures: list[Image.Image]) -> None:
    model = retdm.load(moved)
    wide = pictures[0].resize((40, 25))
    as_cached = wide.resize((18, 18), Image.Resampling.BILINEAR)
    assert np.allclose(model.predict([wide]), model.predict([as_cached]), atol=1e-6)
    grey = pictures[0].convert("L")
    assert np.allclose(model.predict([grey]), model.predict([grey.convert("RGB")]), atol=1e-6)


def test_pictures_are_prepared_as_the_weights_of_the_backbone_want_it(
    untrained: Untrained, tiny: Callable[..., RunSettings]
) -> None:
    timm = {"_target_": "retdm.backbones.timm_nets.Timm", "name": "test_vit", "weights": "none", "crop": 0.5}
    model = retdm.load(untrained("method=bce", backbone=timm).path)
    wide = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 80, 3), np.uint8))
    part = wide.crop((20, 10, 60, 30))
    for side in (cached_side(32), 32):
        part = part.resize((side, side), Image.Resampling.BICUBIC)
    assert np.array_equal(model.view(wide).permute(1, 2, 0), part)
    data: Any = build_data(tiny("data.image_size=32", "method=bce").changed(backbone=timm))
    assert data.preparation == model.preparation == Preparation("bicubic", 0.5)
    original = data.source.read(3)
    assert np.array_equal(data.images[3], data.preparation.cached(original, cached_side(32)))
    assert torch.equal(next(iter(data.views(np.array([3])))).image[0], model.view(original))


def test_loading_twice_gives_one_model_and_leaves_random_numbers_alone(moved: Path) -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    one, two = Model(moved), Model(moved)
    assert torch.equal(torch.rand(1), expected)
    for name, tensor in one.method.state_dict().items():
        assert torch.equal(two.method.state_dict()[name], tensor), name
    assert not any(module.training for module in one.method.modules())


def test_a_folder_without_a_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"there is no checkpoint {tmp_path}") as error:
        retdm.load(tmp_path)
    assert error.value.hint


def test_a_checkpoint_of_another_program_is_named(moved: Path) -> None:
    path = moved / "checkpoints" / "best.ckpt"
    torch.save({"state_dict": {}}, path)
    with pytest.raises(UserError, match=f"{path} is not a checkpoint of retdm"):
        retdm.load(moved)


def test_an_unreadable_picture_is_named(moved: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"broken\.png cannot be read"):
        retdm.load(moved).predict([tmp_path / "broken.png"])


def test_predictions_are_the_rows_of_the_test_part(tiny_run: Path, rows: dict[str, np.ndarray]) -> None:
    split = json.loads((tiny_run / "split.json").read_text())
    source = Synthetic(60, side=18)
    assert [source.ids[i] for i in rows["index"]] == split["test"]
    assert np.array_equal(rows["target"], source.targets[rows["index"]])
    assert rows["known"].all()


@pytest.mark.parametrize("words", [("method=bce",), ("method=bce", "method.head=csra"), ("method=mil",)])
def test_scores_and_maps_of_one_pass_are_those_of_two(untrained: Untrained, words: tuple[str, ...]) -> None:
    model = retdm.load(untrained(*words).path)
    views = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
    scores, maps = model.scores_and_maps(views)
    assert np.array_equal(scores, model.scores(views))
    ((_, expected),) = infer(model.method, [unlabelled(views, 3)], model.method.instance_scores)
    assert maps.shape[:2] == (3, 3) and maps.shape[2] == maps.shape[3]
    assert np.array_equal(maps.reshape(3, 3, -1), expected.transpose(1, 2).numpy())
