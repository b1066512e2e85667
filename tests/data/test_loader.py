"""Batches that data sets give: views, workers, cells."""

import logging

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from retdm.batch import Batch, tensors_of
from retdm.data.augment import CROPS, Augmentation, Strong
from retdm.data.loader import Images, TrainingImages, _warn_of_pipes, handed_over
from retdm.data.sampling import GlobalBatches

ROWS = np.arange(100, 143)  # 43 rows, none of which is its own place


@pytest.fixture(scope="module")
def arrays() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (143, 18, 18, 3), dtype=np.uint8)
    return images, rng.integers(0, 2, (143, 5), dtype=np.uint8), rng.random((143, 5)) < 0.7


def loaded(
    arrays: tuple[np.ndarray, ...], workers: int, seed: int | None = 0, how: Augmentation = CROPS
) -> list[Batch]:
    views = Images(*arrays, 16) if seed is None else TrainingImages(*arrays, 16, augmentation=how, seed=seed, rows=ROWS)
    loader: DataLoader[Batch] = DataLoader(
        views,
        batch_sampler=GlobalBatches(ROWS, 16, seed=seed),
        num_workers=workers,
        collate_fn=handed_over,  # type: ignore[arg-type]
        persistent_workers=workers > 0,
    )
    found = []
    for epoch in range(2):
        loader.batch_sampler.set_epoch(epoch)  # type: ignore[union-attr]
        found += list(loader)
    return found


@pytest.mark.parametrize("how", [CROPS, Strong(mixup=0.2, cutmix=1.0)])
def test_two_workers_give_the_batches_of_none(arrays: tuple[np.ndarray, ...], how: Augmentation) -> None:
    none = loaded(arrays, 0, how=how)
    torch.manual_seed(1)  # of which a worker's own generator is a function
    two = loaded(arrays, 2, how=how)
    assert len(none) == len(two) == 6
    for a, b in zip(none, two, strict=True):
        assert a.total == b.total == len(a.index)
        for x, y in zip(tensors_of(a).values(), tensors_of(b).values(), strict=True):
            assert x.dtype == y.dtype
            assert torch.equal(x, y)
    assert not torch.equal(none[0].image, none[3].image)  # another epoch has other views


def test_without_shared_memory_batches_come_through_pipes_and_a_line_says_so(
    arrays: tuple[np.ndarray, ...], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(tensor: torch.Tensor) -> None:
        raise RuntimeError(
            "unable to allocate shared memory(shm) for file </torch_1_2_3>: No space left on device (28)"
        )

    monkeypatch.setattr(torch.Tensor, "share_memory_", full)
    _warn_of_pipes.cache_clear()
    with caplog.at_level(logging.WARNING, "retdm.data.loader"):
        piped = loaded(arrays, 1)
    for a, b in zip(loaded(arrays, 0), piped, strict=True):
        assert type(b) is Batch
        assert a.total == b.total
        pairs = zip(tensors_of(a).values(), tensors_of(b).values(), strict=True)
        assert all(torch.equal(x, y) for x, y in pairs)
    assert [record.getMessage()[:36] for record in caplog.records] == ["shared memory (/dev/shm) is too smal"]


def test_a_batch_holds_the_rows_that_its_index_names_and_zero_where_unknown(arrays: tuple[np.ndarray, ...]) -> None:
    _, target, known = arrays
    for batch in loaded(arrays, 0, seed=None):
        assert batch.index.dtype == torch.int64
        assert batch.image.dtype == torch.uint8
        assert batch.image.shape == (len(batch.index), 3, 16, 16)
        assert batch.target.dtype == torch.float32
        rows = batch.index.numpy()
        assert np.array_equal(batch.known.numpy(), known[rows])
        assert np.array_equal(batch.target.numpy(), target[rows] * known[rows])
    assert (target[ROWS][~known[ROWS]] == 1).any()  # or the line above had nothing to see


def test_images_without_a_seed_do_not_change_from_epoch_to_epoch(arrays: tuple[np.ndarray, ...]) -> None:
    batches = loaded(arrays, 0, seed=None)
    assert torch.equal(batches[0].image, batches[3].image)


def test_an_image_is_mixed_with_one_of_the_training_split_alike_in_every_batch(arrays: tuple[np.ndarray, ...]) -> None:
    """A label that each training image has and no other one, stays whole; one that no training image has stays away."""
    images, target, known = (array.copy() for array in arrays)
    known[:] = True
    target[:, 0], target[:, 1] = np.isin(np.arange(143), ROWS), ~np.isin(np.arange(143), ROWS)
    found = loaded((images, target, known), 0, how=Strong(mixup=1.0))
    for batch in found:
        assert torch.equal(batch.target[:, 0], torch.ones(len(batch.index)))
        assert not batch.target[:, 1].any()
    assert sum(((batch.target > 0) & (batch.target < 1)).any().item() for batch in found) == len(found)
    views = TrainingImages(images, target, known, 16, augmentation=Strong(mixup=1.0), seed=0, rows=ROWS)
    for batch in found[3:]:
        for row, index in enumerate(batch.index.tolist()):
            alone = views.__getitems__([(1, index)])
            assert torch.equal(alone.image[0], batch.image[row]) and torch.equal(alone.target[0], batch.target[row])


def test_a_row_that_comes_again_in_an_epoch_is_another_view(arrays: tuple[np.ndarray, ...]) -> None:
    views = TrainingImages(*arrays, 16, augmentation=Strong(mixup=1.0), seed=0, rows=ROWS)
    batch = views.__getitems__([(3, 110), (3, 110, 1), (3, 110, 2), (3, 110, 1)])
    assert batch.index.tolist() == [110] * 4 and torch.equal(batch.image[1], batch.image[3])
    assert len({image.numpy().tobytes() for image in batch.image}) == 3
    assert len({tuple(target.tolist()) for target in batch.target}) > 1  # mixed with other images, or in other shares
