"""Sources of bags: arrays that fit together, and batches of them."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from retdm.batch import BagBatch
from retdm.data.bag_source import BagArrays, stacked
from retdm.data.loader import BagRows, handed_over
from retdm.data.sampling import GlobalBatches
from retdm.data.source import BagSource
from retdm.errors import UserError

SIZES = [2, 1, 4, 1, 3]
UNKNOWN = (3, 1)  # bag, label


def content() -> dict[str, Any]:
    """Five bags of two features with three labels; instance k is (k + 1, -k - 1)."""
    number = np.arange(1, sum(SIZES) + 1, dtype=np.float64)
    targets = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 1], [1, 1, 1]], np.float64)
    targets[UNKNOWN] = np.nan
    return {
        "names": ["a", "b", "c"],
        "ids": ["v", "w", "x", "y", "z"],
        "instances": np.stack([number, -number], axis=1),
        "offsets": np.concatenate([[0], np.cumsum(SIZES)]),
        "targets": targets,
    }


def bags(**changed: Any) -> BagArrays:
    return BagArrays("drawn", "drawn.npz", **(content() | changed))


# ---- batches


def test_a_batch_holds_each_bag_once_and_zeros_elsewhere() -> None:
    batch = BagRows(bags()).__getitems__([(0, 4), (0, 1), (7, 0)])
    assert batch.index.tolist() == [4, 1, 0] and batch.index.dtype == torch.int64
    assert batch.bag.dtype == torch.float32
    assert batch.bag[:, :, 0].tolist() == [[9, 10, 11], [3, 0, 0], [1, 2, 0]]
    assert (batch.bag[:, :, 1] == -batch.bag[:, :, 0]).all()
    assert batch.mask.dtype == torch.bool
    assert batch.mask.tolist() == [[True, True, True], [True, False, False], [True, True, False]]


def test_an_unknown_label_is_zero_and_not_known() -> None:
    source = bags()
    source.targets[UNKNOWN] = 1  # what stands there must not matter
    batch = BagRows(source).__getitems__([(0, 3), (0, 4)])
    assert batch.target.dtype == torch.float32 and batch.target.tolist() == [[1, 0, 1], [1, 1, 1]]
    assert batch.known.tolist() == [[True, False, True], [True, True, True]]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_loader_gives_every_bag_once(workers: int) -> None:
    loader = DataLoader(
        BagRows(bags()),
        batch_sampler=GlobalBatches(np.arange(5), 2, seed=3),
        collate_fn=handed_over,
        num_workers=workers,
    )
    batches = list(loader)
    assert all(isinstance(batch, BagBatch) for batch in batches)
    assert sorted(int(i) for batch in batches for i in batch.index) == [0, 1, 2, 3, 4]
    assert sum(float(batch.bag[:, :, 0].sum()) for batch in batches) == sum(range(1, 12))
    assert sum(int(batch.mask.sum()) for batch in batches) == 11


# ---- what a source of bags is made of


def test_an_empty_bag_of_a_source_that_checks_nothing_is_named() -> None:
    source = bags()
    source.offsets[1] = source.offsets[2]
    with pytest.raises(UserError, match="bag w is empty"):
        BagRows(source)


def test_bags_are_a_source_of_what_the_protocol_says() -> None:
    source = bags()
    assert isinstance(source, BagSource) and BagArrays.gives is BagBatch
    assert len(source) == 5 and source.names == ["a", "b", "c"] and source.ids == list("vwxyz")
    assert source.instances.dtype == np.float32 and source.offsets.dtype == np.int64
    assert source.targets.dtype == np.uint8 and source.targets[3].tolist() == [1, 0, 1]
    assert source.known.dtype == np.bool_ and np.argwhere(~source.known).tolist() == [list(UNKNOWN)]
    assert source.split is None and source.instance_targets is None


def test_minus_one_and_one_are_read_as_zero_and_one() -> None:
    zeros = content()["targets"]
    signs = 2 * zeros - 1
    assert (bags(targets=signs).targets == bags().targets).all() and (bags(targets=signs).known == bags().known).all()


def test_instance_labels_are_kept() -> None:
    targets = np.eye(3)[np.arange(11) % 3]
    found = bags(instance_targets=2 * targets - 1).instance_targets
    assert found is not None and found.dtype == np.uint8 and (found == targets).all()


def at(key: str, place: Any, value: Any) -> Callable[[], dict[str, Any]]:
    def change() -> dict[str, Any]:
        array = np.array(content()[key])
        array[place] = value
        return {key: array}

    return change


WRONG: dict[str, Callable[[], dict[str, Any]]] = {
    r"bag x, column 2 holds nan": at("instances", (5, 1), np.nan),
    r"bag z, column 1 holds inf": at("instances", (8, 0), np.inf),
    r"bag y, column 1 holds inf": at("instances", (7, 0), 1e300),  # beyond float32
    r"bag w is empty": at("offsets", 1, 3),
    r"bag w ends before it begins": at("offsets", 1, 9),
    r"offsets go from 0 to 10, expected 0 to 11": at("offsets", 5, 10),
    r"offsets go from 1 to 11": at("offsets", 0, 1),
    r"offsets are \(5,\) of int64, expected 6": lambda: {"offsets": content()["offsets"][1:]},
    r"offsets are \(6,\) of float64": lambda: {"offsets": content()["offsets"] + 0.5},
    r"instances are \(11,\)": lambda: {"instances": content()["instances"][:, 0]},
    r"instances are .*of <U1": lambda: {"instances": np.full((11, 2), "1")},
    r"targets are \(5, 2\) .*expected numbers \(5, 3\)": lambda: {"targets": content()["targets"][:, :2]},
    r"targets of bag x, label b hold 2, expected 0 and 1": at("targets", (2, 1), 2),
    r"targets of bag v, label b hold 0, expected -1 and 1": at("targets", (2, 1), -1),
    r"instance targets are \(5, 3\)": lambda: {"instance_targets": np.zeros((5, 3))},
    r"instance targets of instance 4, label a hold 3": lambda: {"instance_targets": np.eye(11, 3, -3) * 3},
    r"instance targets hold NaN": lambda: {"instance_targets": np.full((11, 3), np.nan)},
    r"labels must have different names, found 'a' twice": lambda: {"names": ["a", "b", "a"]},
    r"bags must have different names, found ' ' twice or blank": lambda: {"ids": ["v", " ", "x", "y", "z"]},
    r"has no labels": lambda: {"names": [], "targets": np.zeros((5, 0))},
}


@pytest.mark.parametrize("message", WRONG)
def test_what_does_not_fit_is_named_with_its_file(message: str) -> None:
    with pytest.raises(UserError, match=r"drawn\.npz.*" + message):
        bags(**WRONG[message]())


def test_a_named_column_is_named() -> None:
    with pytest.raises(UserError, match="bag v, column height holds nan"):
        bags(columns=["width", "height"], **at("instances", (1, 1), np.nan)())


def test_the_fingerprint_follows_the_contents() -> None:
    first = bags().fingerprint
    assert first.startswith("drawn-") and bags().fingerprint == first
    for changed in (
        at("instances", (4, 0), 0.5)(),
        at("targets", (0, 1), 1)(),
        at("targets", (0, 1), np.nan)(),
        at("offsets", 1, 1)(),
        {"names": ["a", "b", "d"]},
    ):
        assert bags(**changed).fingerprint != first


# ---- from one array a bag


def test_stacked_bags_follow_each_other() -> None:
    instances, offsets = stacked(
        [np.ones((2, 3), np.uint8), np.zeros((0, 0)), np.full((1, 3), 2.5)], ["a", "b", "c"], "f"
    )
    assert instances.dtype == np.float32 and instances[:, 0].tolist() == [1, 1, 2.5]
    assert offsets.dtype == np.int64 and offsets.tolist() == [0, 2, 2, 3]


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (np.zeros((2, 4)), "bag b is 2 x 4 of float64, expected instances x 3"),
        (np.zeros(3), "bag b is 3 of float64"),
        (np.full((1, 3), "x"), "bag b is 1 x 3 of <U1"),
        (np.array(None), "bag b is one value of object"),
    ],
)
def test_a_bag_of_another_kind_is_named(second: np.ndarray, message: str) -> None:
    with pytest.raises(UserError, match=message):
        stacked([np.zeros((1, 3)), second], ["a", "b"], "f")
