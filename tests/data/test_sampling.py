"""Global batches: sizes, order, slices of processes, places to start at, rows that come several times."""

from collections import Counter

import numpy as np
import pytest
import torch

from retdm.data.sampling import GlobalBatches, repeat_times

ROWS = np.arange(100, 143)  # 43 rows, none of which is its own place


def drawn(batches: GlobalBatches) -> list[list[int]]:
    return [[row for _, row, *_ in batch] for batch in batches]


@pytest.mark.parametrize("seed", [None, 7])
@pytest.mark.parametrize("batch_size", [2, 16, 42, 43, 100])
def test_every_row_comes_once_an_epoch_in_batches_that_differ_by_at_most_one_row(batch_size: int, seed: int) -> None:
    batches = GlobalBatches(ROWS, batch_size, seed=seed)
    found = drawn(batches)
    assert Counter(row for batch in found for row in batch) == Counter(ROWS.tolist())
    assert len(found) == len(batches) == -(-43 // batch_size)
    sizes = [len(batch) for batch in found]
    assert max(sizes) <= batch_size
    assert max(sizes) - min(sizes) <= 1


def test_slices_of_the_ranks_concatenate_to_the_global_batches() -> None:
    one = drawn(GlobalBatches(ROWS, 16, seed=3))
    three = [drawn(GlobalBatches(ROWS, 16, seed=3, rank=rank, world=3)) for rank in range(3)]
    assert [[*a, *b, *c] for a, b, c in zip(*three, strict=True)] == one
    for slices in zip(*three, strict=True):
        sizes = [len(part) for part in slices]
        assert max(sizes) - min(sizes) <= 1
        assert min(sizes) >= 1


def test_each_slice_says_how_many_rows_its_global_batch_has() -> None:
    whole = [len(batch) for batch in GlobalBatches(ROWS, 16, seed=3)]
    for rank in range(3):
        assert [share.total for share in GlobalBatches(ROWS, 16, seed=3, rank=rank, world=3)] == whole


def test_the_order_is_a_function_of_seed_and_epoch_alone() -> None:
    def order(seed: int, epoch: int) -> list[list[int]]:
        batches = GlobalBatches(ROWS, 16, seed=seed)
        batches.set_epoch(epoch)
        return drawn(batches)

    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    first = order(0, 4)
    np.random.seed(2)  # noqa: NPY002
    assert order(0, 4) == first
    assert order(0, 5) != first
    assert order(1, 4) != first


def test_without_a_seed_rows_keep_their_order_in_every_epoch() -> None:
    batches = GlobalBatches(ROWS[::-1], 16, seed=None)
    batches.set_epoch(3)
    assert sum(drawn(batches), []) == ROWS[::-1].tolist()


def test_keys_have_the_epoch_for_the_augmentation() -> None:
    batches = GlobalBatches(ROWS, 16, seed=0)
    batches.set_epoch(9)
    assert {epoch for batch in batches for epoch, _ in batch} == {9}


def test_start_at_gives_the_tail_of_its_epoch_and_then_whole_epochs() -> None:
    whole, batches = GlobalBatches(ROWS, 16, seed=0), GlobalBatches(ROWS, 16, seed=0)
    whole.set_epoch(5)
    batches.start_at(5, 2)
    assert drawn(batches) == drawn(whole)[2:]
    whole.set_epoch(6)
    batches.set_epoch(6)
    assert drawn(batches) == drawn(whole)


def test_set_epoch_keeps_the_place_to_start_in_the_same_epoch_only() -> None:
    batches = GlobalBatches(ROWS, 16, seed=0)
    batches.start_at(5, 2)
    batches.set_epoch(5)  # Lightning calls this on a resumed run before it iterates
    assert len(drawn(batches)) == 1
    batches.start_at(5, 2)
    batches.set_epoch(6)
    assert len(drawn(batches)) == 3


def test_an_iterator_keeps_its_epoch_when_the_next_one_is_set_before_it_is_read() -> None:
    batches = GlobalBatches(ROWS, 16, seed=0)
    before = iter(batches)
    batches.start_at(1, 2)
    assert len(list(before)) == 3


def test_rows_that_cannot_be_shared_are_an_error() -> None:
    GlobalBatches(ROWS[:6], 2, seed=0, world=2)
    with pytest.raises(ValueError, match="cannot be shared by 3 processes"):
        GlobalBatches(ROWS[:6], 2, seed=0, world=3)


# ---- rows that come several times

TIMES = 1 + np.random.default_rng(5).random(43) * 3


def test_a_row_comes_as_often_as_it_should_rounded_down_or_up_and_all_together_in_every_epoch_alike() -> None:
    batches = GlobalBatches(ROWS, 16, seed=2, times=TIMES)
    mean = np.zeros(43)
    for epoch in range(300):
        rows = np.concatenate(batches.global_batches(epoch))
        counts = np.array([(rows == row).sum() for row in ROWS])
        assert len(rows) == counts.sum() == round(TIMES.sum())
        assert (np.floor(TIMES - 0.02) <= counts).all() and (counts <= np.ceil(TIMES + 0.02)).all()
        mean += counts / 300
    assert abs(mean - TIMES).max() < 0.15  # five standard errors of 0.029
    assert len(batches) == -(-round(TIMES.sum()) // 16) == len(drawn(batches))


def test_repetitions_are_numbered_and_the_first_time_is_not() -> None:
    batches = GlobalBatches(ROWS, 16, seed=2, times=np.full(43, 3.0))
    batches.set_epoch(4)
    assert Counter(key for batch in batches for key in batch) == Counter(
        (4, row, *more) for row in ROWS.tolist() for more in ([], [1], [2])
    )


def test_repeated_rows_are_a_function_of_seed_and_epoch_shared_by_processes_and_continued_anywhere() -> None:
    def of(rank: int = 0, world: int = 1) -> GlobalBatches:
        return GlobalBatches(ROWS, 16, seed=3, rank=rank, world=world, times=TIMES)

    whole = [list(batch) for batch in of()]
    two = [[list(batch) for batch in of(rank, 2)] for rank in range(2)]
    assert [a + b for a, b in zip(*two, strict=True)] == whole == [list(batch) for batch in of()]
    later = of()
    later.start_at(0, 2)
    assert [list(batch) for batch in later] == whole[2:]
    later.set_epoch(1)
    assert [list(batch) for batch in later] != whole and len(list(later)) == len(whole)


def test_rows_that_come_once_have_the_order_they_have_without_times() -> None:
    one, other = GlobalBatches(ROWS, 16, seed=3), GlobalBatches(ROWS, 16, seed=3, times=np.ones(43))
    assert drawn(one) == drawn(other)


def test_the_rarest_known_label_of_a_row_says_how_often_it_comes() -> None:
    rng = np.random.default_rng(0)
    targets = (rng.random((400, 4)) < [0.5, 0.1, 0.02, 0.0]).astype(np.uint8)
    known = rng.random((400, 4)) < 0.8
    expected = []
    for i in range(400):
        asked = [1.0]
        for j in range(4):
            if known[i, j] and targets[i, j]:
                having = sum(int(targets[k, j]) for k in range(400) if known[k, j])
                asked.append((0.2 / (having / known[:, j].sum())) ** 0.5)
        expected.append(max(asked))
    np.testing.assert_allclose(repeat_times(targets, known, 0.2), expected)
    assert len(set(expected)) == 3, "frequent, rare and very rare labels were tried"
