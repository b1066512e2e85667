"""Drawn bags and mosaics: the instance at each place, and how hard each characteristic makes it."""

from dataclasses import fields
from typing import Any

import numpy as np
import pytest
import yaml

from retdm.data.modules import BagData, ImageData
from retdm.data.source import BagSource
from retdm.data.synthetic.bags import SyntheticBags
from retdm.data.synthetic.characteristics import Characteristics, Kind, Places, arrange
from retdm.data.synthetic.source import Synthetic
from retdm.errors import UserError
from retdm.registry import CONF

LABELS, PLACES = 5, 16


def bags(count: int = 200, **hard: float) -> list[tuple[np.ndarray, Places]]:
    """Label sets with the places that they got; one label at least, three at most."""
    found = []
    for i in range(count):
        rng = np.random.default_rng(i)
        labels = np.zeros(LABELS, np.uint8)
        labels[rng.permutation(LABELS)[: 1 + i % 3]] = 1
        found.append((labels, arrange(rng, labels, PLACES, Characteristics.of(hard))))
    return found


def has(places: Places, kind: Kind, label: int) -> np.ndarray:
    return (places.kind == kind) & (places.label == label)


@pytest.mark.parametrize(
    "hard", [{}, {"several_needed": 0.7}, {"place_matters": 1.0}, {"distractors": 1.0, "co_occurrence": 1.0}]
)
def test_instances_have_exactly_the_labels_of_their_bag(hard: dict[str, float]) -> None:
    for labels, places in bags(**hard):
        assert (places.targets(LABELS).max(axis=0) == labels).all()
        assert not places.targets(LABELS)[places.kind == Kind.BACKGROUND].any()


@pytest.mark.parametrize("rate, count", [(0.01, 1), (1 / 16, 1), (0.125, 2), (0.25, 4), (1 / 3, 5)])
def test_each_label_takes_its_share_of_the_places(rate: float, count: int) -> None:
    for labels, places in bags(witness_rate=rate):
        assert (places.targets(LABELS).sum(axis=0) == count * labels).all()


def test_a_context_instance_comes_with_its_label_alone_and_does_not_have_it() -> None:
    came = []
    for labels, places in bags(co_occurrence=0.5):
        for label in range(LABELS):
            context_instance = has(places, Kind.CONTEXT, label)
            assert labels[label] or not context_instance.any()
            assert not places.positive[context_instance].any()
            if labels[label]:
                came.append(context_instance.any())
    assert 0.4 < np.mean(came) < 0.6


def test_of_two_needed_kinds_bags_without_the_label_have_one_at_most() -> None:
    alone = []
    for labels, places in bags(several_needed=0.8):
        for label in range(LABELS):
            kinds = [has(places, kind, label).any() for kind in (Kind.WITNESS, Kind.CONTEXT)]
            if labels[label]:
                assert all(kinds)
                assert places.positive[has(places, Kind.CONTEXT, label)].all()
            else:
                assert not all(kinds)
                alone.append(kinds)
    assert 0.7 < np.any(alone, axis=1).mean() < 0.9  # as asked for
    assert 0.4 < np.mean(alone, axis=0)[0] / np.any(alone, axis=1).mean() < 0.6  # either as often


def test_where_place_matters_witnesses_count_in_the_upper_half_and_mean_nothing_below() -> None:
    below: dict[int, list[bool]] = {0: [], 1: []}
    for labels, places in bags(400, place_matters=0.5, witness_rate=1 / 16):
        assert not places.positive[PLACES // 2 :].any()
        for label in range(LABELS):
            stands = has(places, Kind.WITNESS, label)
            assert stands[: PLACES // 2].any() == labels[label]
            below[labels[label]].append(bool(stands[PLACES // 2 :].any()))
    assert all(0.45 < np.mean(share) < 0.55 for share in below.values())


def test_distractors_stand_in_bags_with_and_without_the_label_alike() -> None:
    held: dict[int, list[bool]] = {0: [], 1: []}
    for labels, places in bags(400, distractors=0.5, witness_rate=1 / 16):
        for label in range(LABELS):
            alike = has(places, Kind.DISTRACTOR, label)
            assert not places.positive[alike].any()
            held[labels[label]].append(bool(alike.any()))
    assert all(0.45 < np.mean(share) < 0.55 for share in held.values())


def test_what_finds_no_room_is_left_out_and_never_a_present_label() -> None:
    hard = {"witness_rate": 1 / 3, "several_needed": 1.0, "distractors": 1.0, "place_matters": 1.0}
    for i in range(50):
        labels = np.ones(LABELS, np.uint8) if i % 2 else np.eye(LABELS, dtype=np.uint8)[0]
        places = arrange(np.random.default_rng(i), labels, PLACES, Characteristics.of(hard))
        present = places.targets(LABELS).max(axis=0)
        assert (present == labels).all() if i % 2 == 0 else present.sum() >= 4  # eight places for ten things


def test_the_yaml_file_states_the_defaults() -> None:
    stated = yaml.safe_load((CONF / "data/shared/characteristics.yaml").read_text())["characteristics"]
    assert stated == {field.name: getattr(Characteristics, field.name) for field in fields(Characteristics)}


@pytest.mark.parametrize(
    "hard, named",
    [
        ({"witness_rate": 0}, "witness_rate=0 is not a number above 0 to 0.333333"),
        ({"alike": 1.5}, "alike=1.5 is not a number from 0 to 1"),
        ({"distractor": 1}, "distractor is unknown\ndid you mean distractors"),
    ],
)
def test_a_characteristic_that_cannot_be_is_named(hard: dict[str, float], named: str) -> None:
    with pytest.raises(UserError, match=f"data.characteristics.{named}"):
        Characteristics.of(hard)


# Bags


def test_drawn_bags_are_a_bag_source_whose_instances_have_the_bags_labels() -> None:
    source = SyntheticBags(40)
    assert isinstance(source, BagSource)
    assert source.instances.shape == (40 * 16, 10)
    assert source.instance_targets is not None
    assert (source.instance_targets.reshape(40, 16, 5).max(axis=1) == source.targets).all()


def test_a_bag_is_a_function_of_the_seed_and_its_number() -> None:
    few, many, other = SyntheticBags(5), SyntheticBags(9), SyntheticBags(5, seed=1)
    assert (few.instances == many.instances[: 5 * 16]).all()
    assert (few.instances != other.instances).all()
    assert few.fingerprint != other.fingerprint != SyntheticBags(5, characteristics={"alike": 0.5}).fingerprint


@pytest.mark.parametrize("share", [0.0, 0.6])
def test_instances_have_as_much_of_their_variance_in_common_as_asked_for(share: float) -> None:
    """Two witnesses of a label in one bag differ by the variance that is their own, twice."""
    source = SyntheticBags(600, characteristics={"alike": share, "witness_rate": 0.25})
    assert source.instance_targets is not None
    has = source.instance_targets.reshape(600, 16, 5)
    pairs = [np.flatnonzero(has[i, :, j])[:2] + 16 * i for i in range(600) for j in range(5) if has[i, :, j].any()]
    first, second = source.instances[np.array(pairs).T]
    assert abs((first - second).var() / 2 - (1 - share)) < 0.05


def test_instances_give_their_place_where_it_matters() -> None:
    source = SyntheticBags(3, grid=3, characteristics={"place_matters": 0.5})
    assert source.instances.shape == (27, 12)
    assert source.instances[:9, 10].tolist() == [-2, -2, -2, 0, 0, 0, 2, 2, 2]
    assert source.instances[:9, 11].tolist() == [-2, 0, 2] * 3


# Mosaics


def test_a_mosaic_shows_labels_in_its_tiles_alone_and_another_characteristic_is_another_set() -> None:
    source = Synthetic(12, 0, 64, tiles=4, characteristics={"witness_rate": 0.125})
    for i in range(12):
        masks = source.masks(i)
        shown = masks.reshape(5, 4, 16, 4, 16).any(axis=(2, 4))
        assert (shown.sum(axis=(1, 2)) == 2 * source.targets[i]).all()
        assert masks.sum(axis=0).max() <= 1
    plain, hard = Synthetic(2, 0, 64), Synthetic(2, 0, 64, tiles=4, characteristics={"alike": 0.5})
    assert len({plain.fingerprint, source.fingerprint.replace("-12-", "-2-"), hard.fingerprint}) == 3


def test_a_mosaic_does_not_depend_on_the_size_of_the_set_and_fills_sides_that_tiles_do_not_divide() -> None:
    few, many = Synthetic(2, 0, 73, tiles=4), Synthetic(4, 0, 73, tiles=4)
    assert few.read(1).size == (73, 73)
    assert few.read(1).tobytes() == many.read(1).tobytes()


def test_context_instances_have_their_label_where_several_are_needed() -> None:
    needed = Synthetic(6, 0, 64, tiles=4, characteristics={"several_needed": 1.0})
    tiles = [needed.masks(i).reshape(5, 4, 16, 4, 16).all(axis=(2, 4)).sum() for i in range(6)]
    assert all(whole >= needed.targets[i].sum() for i, whole in enumerate(tiles))  # stripes fill their tile


def test_alike_instances_share_their_light() -> None:
    plain, lit = (Synthetic(8, 0, 64, tiles=4, characteristics={"alike": share}) for share in (0.0, 1.0))
    casts = [np.log(np.asarray(lit.read(i)).mean((0, 1)) / np.asarray(plain.read(i)).mean((0, 1))) for i in range(8)]
    assert np.std(casts) > 0.2


def test_characteristics_of_mosaics_need_tiles_and_tiles_need_room() -> None:
    with pytest.raises(UserError, match="distractors=1") as error:
        Synthetic(2, characteristics={"distractors": 1.0})
    assert "data.tiles=4" in error.value.hint
    with pytest.raises(UserError, match=r"data\.side=63 is too small for data\.tiles=4"):
        Synthetic(2, side=63, tiles=4)


# Label noise


@pytest.mark.parametrize("bags", [True, False])
def test_labels_are_noisy_in_training_and_true_in_the_test_split(bags: bool) -> None:
    hard = {"label_noise": 0.5}
    data: Any
    if bags:
        data = BagData(SyntheticBags(300, characteristics=hard), cache="none")
    else:
        data = ImageData(Synthetic(300, 0, 16, characteristics=hard), image_size=16, cache="none")
    wrong = (data.source.targets != data.source.true_targets).any(axis=1)
    assert not wrong[data.splits["test"]].any()
    # Another bag may have the same labels: 1 - sum of squared frequencies is .87.
    assert 0.3 < wrong[data.splits["train"]].mean() < 0.55
