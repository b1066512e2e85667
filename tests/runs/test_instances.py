"""Scores of regions and instances, judged against what the data says of them, and drawn."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from retdm.batch import BagBatch, Batch
from retdm.criteria import INSTANCE_CRITERIA
from retdm.data.bag_rows import Bags
from retdm.data.module import BagData
from retdm.runs.build import build_data, build_method
from retdm.runs.instances import heat_maps, judge_instances

Tiny = Callable[..., dict[str, Any]]


class Knows:
    """What judging asks of a method, which says of each instance what ``tell`` does."""

    scores_instances, training, device = True, False, "cpu"

    def __init__(self, tell: Callable[[Any], Tensor], labels: list[str]) -> None:
        self.tell, self.labels = tell, labels

    def eval(self) -> None: ...

    def train(self, mode: bool) -> None: ...

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
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

    found = judge_instances(Knows(tell, data.labels), data)  # type: ignore[arg-type]
    assert list(found) == list(INSTANCE_CRITERIA)
    values = np.array(list(found.values()))
    assert (values > (0.8, 0.95, 0.6)).all() if not mirrored else (values < (0.8, 0.95, 0.6)).all()


def test_given_instances_are_judged_by_their_own_labels_without_the_empty_places() -> None:
    rng = np.random.default_rng(0)
    sizes = rng.integers(1, 5, 30)
    marks = (rng.random((sizes.sum(), 2)) < 0.4).astype(int)
    offsets = np.r_[0, np.cumsum(sizes)]
    bags = np.array([marks[a:b].max(0) for a, b in zip(offsets, offsets[1:], strict=False)])
    source = Bags(
        "toy",
        "toy",
        names=["a", "b"],
        ids=[str(i) for i in range(30)],
        instances=marks.astype(float),
        offsets=offsets,
        marks=bags,
        instance_marks=marks,
    )
    data = BagData(source, batch_size=4)

    def tell(batch: BagBatch) -> Tensor:
        return torch.where(batch.mask[..., None], batch.bag, 9.0)  # an empty place would be the highest

    assert set(judge_instances(Knows(tell, ["a", "b"]), data).values()) == {1.0}  # type: ignore[arg-type]


def test_a_method_that_cannot_tell_is_not_judged(tiny: Tiny) -> None:
    settings = tiny("method=bce")
    data = build_data(settings)
    method = build_method(settings, data.labels)
    assert judge_instances(method, data) == {}
    assert heat_maps(method, data) is None


def test_the_picture_shows_each_image_and_its_labels(tiny: Tiny) -> None:
    settings = tiny("method=bce", "method.head=csra")
    data: Any = build_data(settings)
    method = build_method(settings, data.labels)
    figure = heat_maps(method, data)
    assert figure is not None
    titles = [axis.get_title().split("  ")[0] for axis in figure.axes if axis.get_title()]
    first = data.parts["test"]
    assert set(titles) <= set(data.labels)
    assert len(titles) <= data.source.targets[first].sum()
    assert titles
