"""Small problems of bags, and what every method on bags can be asked."""

from typing import Any, NamedTuple

import numpy as np
import torch

from retdm.bags import Bags
from retdm.batch import BagBatch
from retdm.methods.fitted import BagMethod

LABELS = ["a", "b", "c"]


class Toy(NamedTuple):
    """What ``fit`` takes."""

    examples: Bags
    target: np.ndarray
    known: np.ndarray

    def bag(self, i: int) -> np.ndarray:
        return self.examples.instances[self.examples.offsets[i] : self.examples.offsets[i + 1]]


def toy(n: int = 60, dim: int = 4, seed: int = 0) -> Toy:
    """Bags of 1 to 5 instances; those with a label of the first two have an instance in its place, and no bag has the
    third."""
    rng = np.random.default_rng(seed)
    target = np.zeros((n, 3), np.uint8)
    target[:, :2] = rng.random((n, 2)) < 0.4
    bags = []
    for row in target:
        bag = rng.normal(0, 1, (rng.integers(2, 6) if row.sum() == 2 else rng.integers(1, 6), dim))
        for place, label in enumerate(np.flatnonzero(row)):
            bag[place] += 5 * np.eye(dim)[label]
        bags.append(bag)
    offsets = np.concatenate([[0], np.cumsum([len(bag) for bag in bags])])
    examples = Bags(np.concatenate(bags).astype(np.float32), offsets, np.arange(n))
    return Toy(examples, target, np.ones((n, 3), bool))


def batch_of(examples: Bags) -> BagBatch:
    sizes = examples.sizes
    mask = np.arange(sizes.max() + 1) < sizes[:, None]  # one place more than any bag fills
    bag = np.zeros((*mask.shape, examples.instances.shape[1]), np.float32)
    bag[mask] = examples.instances
    blank = torch.zeros(len(sizes), len(LABELS))
    return BagBatch(torch.from_numpy(examples.index), torch.from_numpy(bag), torch.from_numpy(mask), blank, blank > 0)


def scored(method: BagMethod, examples: Bags) -> np.ndarray:
    return method.scores(batch_of(examples)).numpy()


def decisions(scores: Any) -> np.ndarray:
    """What ``softsign_score`` made the scores of."""
    signed = 2 * np.asarray(scores) - 1
    return signed / (1 - np.abs(signed))


def with_unknown(given: Toy) -> tuple[Toy, Toy]:
    """Every third cell of label 0 unknown, and the same with other marks there."""
    known, other = given.known.copy(), given.target.copy()
    known[::3, 0] = False
    other[::3, 0] ^= 1
    return given._replace(known=known), Toy(given.examples, other, known)


def check_reloads(method: BagMethod, fresh: BagMethod, examples: Bags) -> None:
    """A new method with the old one's buffers scores the same to the last bit."""
    fresh.load_state_dict(method.state_dict())
    np.testing.assert_array_equal(scored(fresh, examples), scored(method, examples))
