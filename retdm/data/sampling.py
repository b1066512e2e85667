"""Global batches whose order is a function of (seed, epoch), which can start anywhere, and in which rows may repeat."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

# (epoch, index), and from the second time on that a row comes in an epoch the number of its repetition, from 1: all
# that workers need to augment by.
Key = tuple[int, ...]
REPEATS = 1  # in the seed of what is drawn to round how often rows come


class Share(list[Key]):
    """The keys of one process's slice of a global batch.

    Args:
        keys: of the slice.
        total: rows of the global batch.
    """

    def __init__(self, keys: Iterable[Key], total: int) -> None:
        super().__init__(keys)
        self.total = total


class GlobalBatches:
    """Batch sampler over the global batches of an epoch, of which every process takes its own slice.

    The rows are divided into ceil(n / batch_size) batches whose sizes differ by at most one, so no epoch ends with a
    batch of a single row; a rank's slice of a batch again differs from another's by at most one row.

    Args:
        rows: int64 (n,), places in the data set.
        batch_size: rows of a global batch, at most.
        seed: of the order; None keeps the order of ``rows``.
        rank, world: this process and the number of processes.
        times: float (n,), at least 1: how often each row comes in an epoch, on average over epochs. In each epoch a row
            comes that often, rounded down or up, and all rows together come round(sum of times) times.
    """

    def __init__(
        self,
        rows: NDArray[np.int64],
        batch_size: int,
        *,
        seed: int | None,
        rank: int = 0,
        world: int = 1,
        times: NDArray[np.float64] | None = None,
    ) -> None:
        self.rows, self.seed, self.rank, self.world = rows, seed, rank, world
        self.more = np.zeros(len(rows)) if times is None else times - 1
        count = len(rows) + round(float(self.more.sum()))
        self.batches = -(-count // batch_size)
        if count // self.batches < world:
            raise ValueError(f"{count} rows in batches of {batch_size} cannot be shared by {world} processes")
        self.epoch = self.start = 0
        # Lightning calls set_epoch only on a loader's `.sampler` or its batch sampler's `.sampler`.
        self.sampler = self

    def set_epoch(self, epoch: int) -> None:
        if epoch != self.epoch:
            self.epoch, self.start = epoch, 0

    def start_at(self, epoch: int, batch: int) -> None:
        """Iterations give ``epoch`` from its batch number ``batch`` on, until the next epoch is set."""
        self.epoch, self.start = epoch, batch

    def global_batches(self, epoch: int) -> list[NDArray[np.int64]]:
        """All rows of every global batch of an epoch."""
        return [batch[:, 0] for batch in self._batches(epoch)]

    def _batches(self, epoch: int) -> list[NDArray[np.int64]]:
        """The global batches of an epoch, int64 (B, 2) each: row, and number of its repetition."""
        counts = 1 + self._repeats(epoch)
        rows = np.repeat(self.rows, counts)
        repeated = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
        found = np.stack([rows, repeated], axis=1)
        if self.seed is not None:
            found = found[np.random.default_rng((self.seed, epoch)).permutation(len(found))]
        return np.array_split(found, self.batches)

    def _repeats(self, epoch: int) -> NDArray[np.int64]:
        """How often each row comes beyond the first time, int64 (n,): ``more``, rounded at random, of the same sum.

        By systematic sampling: the rows' shares lie end to end in random order, and each whole number that a random
        shift brings into a share is a repetition.
        """
        total = round(float(self.more.sum()))
        if total == 0:
            return np.zeros(len(self.rows), np.int64)
        generator = np.random.default_rng((self.seed or 0, epoch, REPEATS))
        order = generator.permutation(len(self.rows))
        ends = np.cumsum(self.more[order]) * (total / self.more.sum())
        ends[-1] = total
        found = np.empty(len(self.rows), np.int64)
        found[order] = np.diff(np.floor(ends + generator.random()).astype(np.int64), prepend=0)
        return found

    def __len__(self) -> int:
        return self.batches

    def __iter__(self) -> Iterator[Share]:
        # Neither a generator nor used up: a loader with workers makes the iterator early, and twice.
        epoch = self.epoch
        batches = self._batches(epoch)[self.start :]
        mine = [(np.array_split(batch, self.world)[self.rank].tolist(), len(batch)) for batch in batches]
        return iter([Share([(epoch, *key) if key[1] else (epoch, key[0]) for key in keys], n) for keys, n in mine])


def repeat_times(targets: NDArray[Any], known: NDArray[np.bool_], rare: float) -> NDArray[np.float64]:
    """How often rows come in an epoch so that rare labels come more often: repeat factor sampling (Gupta, Dollár and
    Girshick, CVPR 2019, LVIS).

    A label that the share f of the rows where it is known has asks for max(1, √(rare ÷ f)), and a row comes as often as
    the rarest of its labels asks for; a row without labels comes once.

    Args:
        targets: (n, L) of 0 and 1.
        known: (n, L).
        rare: share of the rows below which a label is rare, from 0 to 1; labels that are more frequent ask for nothing.

    Returns:
        (n,), at least 1.
    """
    positive = (targets > 0) & known
    share = positive.sum(0) / np.maximum(known.sum(0), 1)
    asked = np.sqrt(rare / np.maximum(share, 1 / max(1, len(targets))))
    times: NDArray[np.float64] = np.where(positive, asked, 1).max(1, initial=1.0)
    return times
