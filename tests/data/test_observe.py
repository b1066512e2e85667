"""Labels that are hidden or flipped on purpose: which cells, and in which splits."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from retdm.data.base_module import Data
from retdm.data.modules import BagData, ImageData
from retdm.data.observe import EXAMPLES, Observation, observation_of
from retdm.data.synthetic.bags import SyntheticBags
from retdm.data.synthetic.source import Synthetic
from retdm.errors import UserError

DRAW = np.random.default_rng(0)
TARGET = (DRAW.random((400, 6)) < 0.4).astype(np.uint8)
KNOWN = DRAW.random((400, 6)) < 0.9
TARGET[0], KNOWN[1] = 0, False
TARGET[~KNOWN] = 0


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_found_by_its_name_and_the_draw_repeats(name: str) -> None:
    observation = observation_of(name)
    assert observation_of(observation.name) == observation
    before = TARGET.copy(), KNOWN.copy()
    one, again, other = (observation.apply(TARGET, KNOWN, seed) for seed in (3, 3, 4))
    assert all(np.array_equal(a, b) for a, b in zip(one, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
    assert np.array_equal(TARGET, before[0]) and np.array_equal(KNOWN, before[1])
    fewer = observation.apply(TARGET[:50], KNOWN[:50], 3)  # a cell depends on no later row
    assert all(np.array_equal(a, b[:50]) for a, b in zip(fewer, one, strict=True))
    target, known = one
    assert (target.dtype, known.dtype) == (np.uint8, np.bool_) and not target[~known].any() and not known[~KNOWN].any()


def test_of_an_images_positives_one_is_known() -> None:
    target, known = Observation("single_positive").apply(TARGET, KNOWN, 0)
    assert (known.sum(1) == (TARGET.sum(1) > 0)).all() and (target == known).all()
    assert (TARGET[known] == 1).all()
    two = np.tile(np.array([[1, 0, 1]], np.uint8), (4000, 1))
    first = Observation("single_positive").apply(two, two >= 0, 1)[1][:, 0].mean()
    assert first == pytest.approx(0.5, abs=4 * 0.5 / 4000**0.5)  # four standard errors


@pytest.mark.parametrize("kind", ["share", "positives_only", "noise"])
def test_a_probability_is_that_of_each_cell_and_a_smaller_one_takes_fewer_of_the_same(kind: Any) -> None:
    some, more = (Observation(kind, probability).apply(TARGET, KNOWN, 0) for probability in (0.3, 0.6))
    if kind == "noise":
        assert np.array_equal(some[1], KNOWN)
        changed, more_changed = (target != TARGET for target, _ in (some, more))
    else:
        assert np.array_equal(some[0], np.where(some[1], TARGET, 0))
        changed, more_changed = some[1], more[1]
    may = KNOWN & (TARGET > 0) if kind == "positives_only" else KNOWN
    assert not (changed & ~may).any() and not (changed & ~more_changed).any()
    assert changed[may].mean() == pytest.approx(0.3, abs=4 * (0.21 / may.sum()) ** 0.5)
    if kind != "noise":
        assert np.array_equal(Observation(kind, 1.0).apply(TARGET, KNOWN, 0)[1], may)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("singlepositive", "did you mean single_positive?"),
        ("share:0", "share:.3 is one, its number above 0 and at most 1"),
        ("noise:1.5", "noise:.1 is one"),
        ("share=.3", "did you mean share:.3?"),
        ("share:1e", "share:.3 is one"),
        ("none", "there are: noise:.1, positives_only:.5, share:.3, single_positive; null leaves all labels"),
    ],
)
def test_a_name_that_is_none_is_told_with_one_that_is(name: str, says: str) -> None:
    with pytest.raises(UserError) as raised:
        observation_of(name)
    assert raised.value.message == f"data.observe={name} is not known" and says in (raised.value.hint or "")


@pytest.mark.parametrize("text", [".0000000001", "1e-10", "1", "1.", ".12345678901234567", "2.5E-3"])
def test_every_probability_is_found_by_the_name_of_what_it_makes(text: str) -> None:
    observation = observation_of(f"share:{text}")
    assert observation.probability == float(text) and observation_of(observation.name) == observation


def test_noise_that_makes_most_labels_wrong_is_refused() -> None:
    assert observation_of("noise:.5").probability == 0.5
    with pytest.raises(UserError, match="data.observe=noise:.51 would give most labels the other value"):
        observation_of("noise:.51")


@pytest.mark.parametrize("name", EXAMPLES)
def test_only_the_training_split_is_touched_unless_validation_is_too(name: str) -> None:
    def data(**how: Any) -> BagData:
        return BagData(SyntheticBags(60), **how)

    plain, trained, both = data(), data(observe=name), data(observe=name, observe_validation=True)
    whole = plain.source.targets, plain.source.known
    expected = observation_of(name).apply(*whole, 0)
    for found in (trained, both):
        assert found.manifest == plain.manifest
        splits = found.splits
        assert all(np.array_equal(splits[key], plain.splits[key]) for key in splits)
        for now, once, then in zip((found.source.targets, found.source.known), whole, expected, strict=True):
            assert np.array_equal(now[splits["test"]], once[splits["test"]])
            assert np.array_equal(now[splits["train"]], then[splits["train"]])
    rows = plain.splits["validation"]
    assert np.array_equal(trained.source.targets[rows], whole[0][rows])
    assert np.array_equal(both.source.targets[rows], expected[0][rows])
    if name.startswith(("share", "noise")):
        assert np.array_equal(both.source.known[rows], expected[1][rows])
    else:
        assert both.source.known[rows].all()


def test_unknown_training_labels_count_as_absent_where_that_is_chosen() -> None:
    hidden, absent = (
        BagData(SyntheticBags(60), observe="single_positive", observe_validation=True, unlabelled=choice)  # type: ignore[arg-type]
        for choice in ("unknown", "negative")
    )
    assert np.array_equal(hidden.source.targets, absent.source.targets)
    train = hidden.splits["train"]
    assert not hidden.source.known[train].all() and absent.source.known[train].all()
    others = hidden.rows_of("validation", "test")
    assert np.array_equal(hidden.source.known[others], absent.source.known[others])


@pytest.fixture(scope="module", params=["bags", "images"])
def make(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Data]:
    """Data of 60 rows, one in ten of whose cells are unknown."""
    cache = str(tmp_path_factory.mktemp("cache"))

    def made(**how: Any) -> Data:
        source: Any = SyntheticBags(60) if request.param == "bags" else Synthetic(60, side=16)
        source.known = np.random.default_rng(5).random(source.targets.shape) < 0.9
        source.targets = np.where(source.known, source.targets, 0).astype(np.uint8)
        if request.param == "bags":
            return BagData(source, **how)
        return ImageData(source, image_size=16, cache=cache, **how)

    return made


@pytest.mark.parametrize(
    "how",
    [
        {"observe": "single_positive"},
        {"observe": "noise:.3", "observe_validation": True},
        {"observe": "positives_only:.5", "observe_validation": True, "unlabelled": "negative"},
        {"unlabelled": "negative"},
    ],
)
def test_validation_rows_that_are_trained_on_have_the_labels_of_training_rows(
    make: Callable[..., Data], how: dict[str, Any]
) -> None:
    plain, data = make(), make(**how)
    target, known = plain.source.targets, plain.source.known
    if "observe" in how:
        target, known = observation_of(how["observe"]).apply(target, known, 0)
    if "unlabelled" in how:
        known = np.ones_like(known)
    before = data.source.targets.copy(), data.source.known.copy()
    both = data.trained_on_validation()
    rows, test = both.splits["train"], data.splits["test"]
    assert set(rows) == set(data.rows_of("train", "validation"))
    (batch,) = both.batches_of(rows)  # what a network takes
    labels = both.training_labels()
    for found in (batch, labels):
        assert np.array_equal(found.target.numpy(), np.where(known, target, 0)[rows])
        assert np.array_equal(found.known.numpy(), known[rows])
    assert np.array_equal(both.source.targets[test], plain.source.targets[test])
    assert np.array_equal(both.source.known[test], plain.source.known[test])
    # What validates is left as it was.
    assert np.array_equal(data.source.targets, before[0]) and np.array_equal(data.source.known, before[1])
    validation = data.splits["validation"]
    if not how.get("observe_validation"):
        assert np.array_equal(data.source.known[validation], plain.source.known[validation])


def test_a_share_that_leaves_no_training_label_is_told_as_it_can_be_typed() -> None:
    with pytest.raises(UserError, match="data.observe=share:1e-10 leaves none of the training labels known"):
        BagData(SyntheticBags(60), observe="share:.0000000001")


def test_validation_rows_without_known_negatives_have_all_others_absent(make: Callable[..., Data]) -> None:
    data = make(observe="positives_only:.5", observe_validation=True)
    validation = data.splits["validation"]
    expected, _ = observation_of("positives_only:.5").apply(make().source.targets, make().source.known, 0)
    assert data.source.known[validation].all()
    assert np.array_equal(data.source.targets[validation], expected[validation])
