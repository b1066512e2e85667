"""Sets of images: splits, loaders, order, unreadable images, pairs, features."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from retdm.data.images import UnreadableImage
from retdm.data.modules import ImageData
from retdm.data.source import ImageSource
from retdm.data.synthetic.source import Synthetic
from retdm.errors import UserError

N = 40


class Noise(ImageSource):
    """40 images of noise with 3 labels; rows of ``twins`` show the same picture, rows of ``broken`` none."""

    names = ["a", "b", "c"]

    def __init__(self, twins: tuple[int, ...] = (), broken: tuple[int, ...] = ()) -> None:
        self.twins, self.broken = twins, broken
        self.ids = [f"image-{i}" for i in range(N)]
        self.targets = np.random.default_rng(0).integers(0, 2, (N, 3), dtype=np.uint8)
        self.known = np.ones((N, 3), bool)
        self.fingerprint = f"noise-{twins}-{broken}"

    def read(self, i: int) -> Image.Image:
        if i in self.broken:
            raise UnreadableImage(f"image-{i} is cut short", "mend it")
        seed = 1000 if i in self.twins else i
        return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (18, 18, 3), dtype=np.uint8))


Make = Callable[..., ImageData]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def data(source: Any = None, **settings: Any) -> ImageData:
        settings = {"image_size": 16, "batch_size": 8, "cache": str(tmp_path)} | settings
        return ImageData(source or Noise(), **settings)

    return data


def test_the_splits_are_disjoint_and_cover_all_images(make: Make) -> None:
    splits = make().splits
    assert {name: len(rows) for name, rows in splits.items()} == {"train": 29, "validation": 3, "test": 8}
    assert np.array_equal(np.sort(np.concatenate(list(splits.values()))), np.arange(N))


def test_loaders_give_exactly_their_splits(make: Make) -> None:
    data = make()
    for name, loader in (
        ("train", data.train_loader()),
        ("validation", data.split_loader("validation")),
        ("test", data.split_loader("test")),
    ):
        batches = list(loader)
        assert sorted(torch.cat([batch.index for batch in batches]).tolist()) == data.splits[name].tolist()
        for batch in batches:
            assert np.array_equal(batch.target.numpy(), data.source.targets[batch.index.numpy()])


def test_training_order_changes_from_epoch_to_epoch_and_starts_where_a_checkpoint_says(make: Make) -> None:
    def order(data: ImageData, epoch: int = 0, batch: int = 0) -> list[int]:
        return torch.cat([batch.index for batch in data.train_loader((epoch, batch))]).tolist()

    data = make()
    assert order(data) == order(make()) != order(make(seed=1))
    assert order(data, 2) != order(data)
    assert order(data, 2, 1) == order(data, 2)[8:]  # 29 rows in 4 batches: 8, 7, 7, 7


def test_a_sample_of_a_split_is_spread_evenly_and_has_the_test_view(make: Make) -> None:
    data = make()
    found = torch.cat([batch.index for batch in data.split_loader("train", 5)]).numpy()
    places = np.searchsorted(data.splits["train"], found)
    assert places.tolist() == [0, 7, 14, 21, 28]
    whole = torch.cat([batch.index for batch in data.split_loader("train", 1000)])
    assert whole.tolist() == data.splits["train"].tolist()


def test_the_manifest_names_the_images_of_each_split(make: Make) -> None:
    data = make(split=4)
    for name, rows in data.splits.items():
        assert data.manifest[name] == [f"image-{row}" for row in rows]
    assert data.manifest["seed"] == 4
    assert data.manifest["fingerprint"] == data.source.fingerprint
    assert make(split=5).manifest["test"] != data.manifest["test"]


def test_train_size_keeps_so_many_training_images_and_leaves_the_other_splits(make: Make) -> None:
    whole, small = make(), make(train_size=10)
    assert len(small.splits["train"]) == 10
    assert set(small.splits["train"]) < set(whole.splits["train"])
    for name in ("validation", "test"):
        assert np.array_equal(small.splits[name], whole.splits[name])


def test_a_publishers_split_is_kept(make: Make) -> None:
    source = Noise()
    source.split = np.array(["test"] * 10 + ["train"] * 30)
    data = make(source)
    assert data.splits["test"].tolist() == list(range(10))
    assert set(data.splits["train"]) | set(data.splits["validation"]) == set(range(10, 40))


def test_an_unreadable_image_stops_the_run_and_says_how_many_more_there_are(make: Make) -> None:
    message = r"2 of 40 images cannot be read \(2 unreadable\); the first: image-5 is cut short"
    with pytest.raises(UserError, match=message) as error:
        make(Noise(broken=(5, 30)))
    assert "data.on_unreadable=skip" in error.value.hint


def test_unreadable_images_are_skipped_and_counted_where_asked(make: Make) -> None:
    source = Noise(broken=(5, 30))
    source.split = np.array(["train"] * 20 + ["test"] * 20)
    data = make(source, on_unreadable="skip")
    assert data.left_out == {"missing_images": 0, "empty_images": 0, "unscaled_images": 0, "unreadable_images": 2}
    found = np.sort(np.concatenate(list(data.splits.values())))
    assert np.array_equal(found, np.setdiff1d(np.arange(N), (5, 30)))
    assert data.splits["test"].tolist() == [i for i in range(20, 40) if i != 30]  # each row keeps its own split
    assert make().left_out == {"missing_images": 0, "empty_images": 0, "unscaled_images": 0, "unreadable_images": 0}


def test_pairs_stay_in_one_split_where_asked(make: Make) -> None:
    twins = tuple(range(0, 40, 4))

    def splits_with_twins(keep: str, split: int) -> int:
        data = make(Noise(twins), group_duplicates=keep, split=split)
        assert len(data.manifest["pairs"]["identical"]) == len(twins) - 1
        return sum(bool(set(rows) & set(twins)) for rows in data.splits.values())

    assert max(splits_with_twins("none", split) for split in range(3)) > 1
    assert {splits_with_twins("identical", split) for split in range(3)} == {1}


def test_pairs_are_searched_once(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    first = make(Noise((1, 2)))

    def searched(*args: object) -> None:
        raise AssertionError("searched again")

    monkeypatch.setattr("retdm.data.image_cache.find_pairs", searched)
    assert make(Noise((1, 2))).manifest == first.manifest


def test_label_set_frequency_counts_the_training_rows_with_a_rows_label_set(make: Make) -> None:
    data = make()
    targets = data.source.targets
    expected = [sum((targets[row] == targets[i]).all() for row in data.splits["train"]) for i in range(N)]
    assert data.training_labels().frequency.tolist() == expected


def test_a_row_with_an_unknown_label_has_a_label_set_of_its_own(make: Make) -> None:
    data = make()
    train = data.splits["train"]
    targets, known = data.source.targets, data.source.known
    targets[train[:4]] = targets[train[0]]
    known[train[1:3], 0] = False
    labels = data.training_labels()
    assert not labels.known[1, 0] and labels.known.sum() == known[train].size - 2
    found = labels.frequency
    alike = sum((targets[row] == targets[train[0]]).all() for row in train)
    assert found[train[0]] == alike - 2
    assert found[train[1]] == found[train[2]] == 2


def test_data_that_is_trained_on_validation_is_a_copy_with_both_splits_rows(make: Make) -> None:
    data = make()
    before = {name: rows.tolist() for name, rows in data.splits.items()}
    changed = data.trained_on_validation()
    assert changed.splits["train"].tolist() == sorted(before["train"] + before["validation"])
    assert changed.training_labels().target.tolist() == data.source.targets[changed.splits["train"]].tolist()
    assert {name: rows.tolist() for name, rows in data.splits.items()} == before


@pytest.mark.parametrize(
    ("folds", "hint"), [(None, ", data.folds=5 chooses on all rows that are not for testing"), (3, "")]
)
def test_rare_labels_are_named_with_the_settings_that_help(
    make: Make, folds: int | None, hint: str, caplog: pytest.LogCaptureFixture
) -> None:
    source = Noise()
    source.targets[:, 1] = np.arange(N) == 3
    make(source, test_fraction=0.4, validation_fraction=0.5, folds=folds)
    assert caplog.records[-1].getMessage().endswith(f"say little: data.stratified=true shares them out{hint}")
    assert "b 0/0/1" in caplog.text or "b 0/1/0" in caplog.text or "b 1/0/0" in caplog.text


def test_precomputed_features_come_in_the_place_of_images_of_a_copy(make: Make) -> None:
    data = make()
    features = np.random.default_rng(0).random((N, 6), dtype=np.float32)
    changed = data.with_features(features, np.array([4, 1]))
    assert data.features is None and next(data.batches_of(np.arange(3))).image.shape == (3, 3, 16, 16)
    assert np.array_equal(next(changed.batches_of(np.arange(3))).features, features[:3, [4, 1]])
    found, target, _ = changed.examples("validation")
    assert np.array_equal(found, features[data.splits["validation"]][:, [4, 1]])
    assert np.array_equal(target, data.source.targets[data.splits["validation"]])


def test_the_synthetic_set_is_cached_under_its_own_fingerprint(make: Make, tmp_path: Path) -> None:
    data = make(Synthetic(N, side=18))
    assert data.labels == ["desert", "mountains", "sea", "sunset", "trees"]
    assert np.array_equal(data.images[7], np.asarray(data.source.read(7)))
