"""Scores of regions and instances, compared with their labels in the data, and drawn."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib import figure
from torch import Tensor
from torch.nn import functional as F

from retdm.batch import BagBatch, Batch
from retdm.commands.train import train
from retdm.criteria import INSTANCE_CRITERIA
from retdm.data.bag_source import BagArrays
from retdm.data.modules import BagData
from retdm.data.preparation import Preparation
from retdm.runs.build import build_data, build_method, precompute
from retdm.runs.instances import evaluate_instances_of
from retdm.settings.run_settings import RunSettings
from retdm.training.pictures.images import HEATED, choose_rows, draw_heat_maps
from retdm.training.regions import SIDE, brightness

Tiny = Callable[..., RunSettings]


class Knows:
    """As much of a method as the evaluation takes, whose scores of instances ``tell`` gives."""

    scores_instances, training, device = True, False, "cpu"

    def __init__(self, tell: Callable[[Any], Tensor], labels: list[str]) -> None:
        self.tell, self.labels = tell, labels

    def eval(self) -> None: ...

    def train(self, mode: bool) -> None: ...

    def prepared(self, batch: Any) -> Any:
        return batch

    def instance_scores(self, batch: Any) -> Tensor:
        return self.tell(batch)


@pytest.mark.parametrize("mirrored", [False, True])
def test_regions_that_lie_where_the_label_is_drawn_are_nearly_perfect_and_mirrored_ones_are_not(
    tiny: Tiny, mirrored: bool
) -> None:
    data: Any = build_data(tiny("data.size=60"))

    def tell(batch: Batch) -> Tensor:
        masks = torch.stack([torch.from_numpy(data.source.masks(int(i))).float() for i in batch.index])
        cells = F.adaptive_avg_pool2d(masks, 16)
        return (cells.flip(2) if mirrored else cells).flatten(2).transpose(1, 2)

    found = evaluate_instances_of(Knows(tell, data.labels), data)  # type: ignore[arg-type]
    assert list(found) == list(INSTANCE_CRITERIA)
    values = np.array(list(found.values()))
    assert (values > (0.8, 0.95, 0.6)).all() if not mirrored else (values < (0.8, 0.95, 0.6)).all()


def test_of_an_image_whose_centre_is_shown_the_centre_is_evaluated(tiny: Tiny) -> None:
    data: Any = build_data(tiny("data.size=60"))
    data.preparation = Preparation(crop=0.5)

    def tell(batch: Batch) -> Tensor:
        masks = torch.stack([torch.from_numpy(data.source.masks(int(i))).float() for i in batch.index])
        quarter = masks.shape[-1] // 4
        centres = masks[:, :, quarter:-quarter, quarter:-quarter]
        return F.adaptive_avg_pool2d(centres, 16).flatten(2).transpose(1, 2)

    found = evaluate_instances_of(Knows(tell, data.labels), data)  # type: ignore[arg-type]
    assert (np.array(list(found.values())) > (0.8, 0.95, 0.6)).all()


def test_given_instances_are_evaluated_by_their_own_labels_without_the_empty_places() -> None:
    rng = np.random.default_rng(0)
    sizes = rng.integers(1, 5, 30)
    targets = (rng.random((sizes.sum(), 2)) < 0.4).astype(int)
    offsets = np.r_[0, np.cumsum(sizes)]
    bags = np.array([targets[a:b].max(0) for a, b in zip(offsets, offsets[1:], strict=False)])
    source = BagArrays(
        "toy",
        "toy",
        names=["a", "b"],
        ids=[str(i) for i in range(30)],
        instances=targets.astype(float),
        offsets=offsets,
        targets=bags,
        instance_targets=targets,
    )
    data = BagData(source, batch_size=4)

    def tell(batch: BagBatch) -> Tensor:
        return torch.where(batch.mask[..., None], batch.bag, 9.0)  # an empty place would be the highest

    assert set(evaluate_instances_of(Knows(tell, ["a", "b"]), data).values()) == {1.0}  # type: ignore[arg-type]


def test_a_method_without_scores_of_instances_has_no_criteria_of_them(tiny: Tiny) -> None:
    settings = tiny("method=c2ae")
    data = build_data(settings)
    method = build_method(settings, data.labels)
    assert evaluate_instances_of(method, data) == {}


def test_precomputed_features_of_whole_images_leave_the_places_to_their_images(tiny: Tiny) -> None:
    settings = tiny("method=bce", "precompute=true", "method.embedding_dim=4")
    data = build_data(settings)
    method = build_method(settings, data.labels).eval()
    found = evaluate_instances_of(method, data)
    assert list(found) == list(INSTANCE_CRITERIA)
    assert evaluate_instances_of(method, precompute(settings, data, method)) == found


def test_the_picture_shows_images_of_the_part_each_with_its_known_labels_where_they_are_seen(tiny: Tiny) -> None:
    data: Any = build_data(tiny("data.size=60"))
    rows = data.splits["validation"]
    data.source.known = np.ones_like(data.source.known)
    data.source.known[:, 2] = False
    carried = data.source.targets * data.source.known

    def tell(batch: Batch) -> Tensor:
        maps = torch.zeros(len(batch.index), len(data.labels), 4, 4)
        maps[:, :, 0, 2:] = torch.tensor([0.2, 0.5])  # the corner at the top right
        return maps.flatten(2).transpose(1, 2)

    picture = draw_heat_maps(Knows(tell, data.labels), data, "validation", "title")  # type: ignore[arg-type]
    shown = rows[choose_rows(carried[rows], HEATED)]
    assert picture.get_suptitle() == "title"
    (axes,) = picture.axes
    photographs = [image for image in axes.images if image.get_array().ndim == 3]
    heats = [image for image in axes.images if image.get_array().ndim == 2]
    names = [text.get_text() for text in axes.texts]
    assert names == [f"{data.labels[j]}  ≤ 0.50" for i in shown for j in np.flatnonzero(carried[i])]
    assert len(photographs) == len(shown) + len(names) and len(heats) == len(names)
    places = [image.get_extent() for image in photographs]
    assert len(set(map(tuple, places))) == len(places)
    for heat in heats:
        assert heat.get_extent() in places
        top, left = np.nonzero(heat.get_array() > 0.95)
        assert max(top) < SIDE / 4 and min(left) >= SIDE * 3 / 4


def test_a_map_is_brightest_where_its_scores_are_highest_and_tells_high_scores_apart() -> None:
    near_one, low = np.array([[0.999, 0.9], [0.99, 0.5]]), np.array([[0.02, 0.0], [0.01, 0.02]])
    assert brightness(near_one).ravel().tolist() == pytest.approx(
        [1, 1 + (np.log(9) - np.log(999)) / 6, 1 + (np.log(99) - np.log(999)) / 6, 0]
    )
    assert brightness(low)[0].tolist() == [1, 0] and 0.5 < brightness(low)[1, 0] < 1
    for constant in (0.0, 0.3, 1.0):
        assert (brightness(np.full((3, 3), constant, np.float32)) == 1).all()


def test_the_picture_at_the_end_is_of_the_weights_that_were_evaluated_and_not_of_an_earlier_stage(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []

    def draw(method: Any, data: Any, part: str, title: str) -> Any:
        found.append((part, {name: value.clone() for name, value in method.state_dict().items()}))
        return figure.Figure()

    monkeypatch.setattr("retdm.runs.train.draw_heat_maps", draw)
    folder: Path = train(tiny("method=retdm", "method.head=csra"))
    assert (folder / "checkpoints" / "best-classification.ckpt").exists()
    best = torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    ((part, weights),) = found
    assert part == "test"
    assert all(torch.equal(value, weights[name]) for name, value in best.items())
    assert (folder / "pictures" / "heat_maps.png").exists()
    stages = {path.name for path in (folder / "pictures").glob("heat_maps-*.png")}
    assert stages == {f"heat_maps-{name}.png" for name in ("classification", "label_embedding", "joint")}
