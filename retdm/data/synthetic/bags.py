"""Bags drawn by the program, as hard as one likes, with the label of every instance: data that needs no download.

A bag has one instance at each place of a square grid. An instance is a point around the middle of its kind: a label's
witnesses, its companions, or one of six sorts of background, all drawn once; a look-alike lies two standard deviations
from the witnesses. Bag i is a pure function of (seed, i). Labels and label sets are those of the drawn images.
"""

import numpy as np
from numpy.typing import NDArray

from retdm.data.bag_source import BagArrays
from retdm.data.synthetic.characteristics import Characteristics, Kind, Places, arrange
from retdm.data.synthetic.source import NAMES, draw_label_set, noisy
from retdm.errors import UserError

VERSION = 1
BACKGROUNDS = 6
APART = 2.0  # of a look-alike from its witnesses, in standard deviations of an instance around its middle


class SyntheticBags(BagArrays):
    """A source of drawn bags; without characteristics an instance's middle is some four deviations from others'.

    Args:
        size: number of bags n, at least 1.
        seed: which series of bags, at least 0.
        grid: g, at least 2; a bag has g x g instances.
        features: D of an instance, at least 2; where ``place_matters`` two more tell its row and column.
        characteristics: of :class:`Characteristics`; what is not said is easy.

    Attributes:
        true_targets: uint8 (n, L), the labels before ``label_noise``, by which the test part is judged.

    Raises:
        UserError: an argument is out of its range.
    """

    def __init__(
        self,
        size: int = 1000,
        seed: int = 0,
        grid: int = 4,
        features: int = 10,
        characteristics: dict[str, float] | None = None,
    ) -> None:
        for name, value, least in (("size", size, 1), ("seed", seed, 0), ("grid", grid, 2), ("features", features, 2)):
            if value < least:
                raise UserError(f"data.{name} is {value}", f"Choose {least} or more.")
        hard = Characteristics.of(characteristics)
        middles = _middles(seed, features)
        drawn = [_draw(seed, i, grid, middles, hard) for i in range(size)]
        self.true_targets = np.stack([labels for labels, _, _ in drawn])
        marks = np.stack([noisy(labels, (seed, i), hard.label_noise) for i, (labels, _, _) in enumerate(drawn)])
        super().__init__(
            f"synthetic-bags-{VERSION}",
            "data=synthetic_bags",
            names=NAMES,
            ids=[f"{i:05d}" for i in range(size)],
            instances=np.concatenate([instances for _, _, instances in drawn]),
            offsets=np.arange(size + 1) * grid**2,
            marks=marks,
            instance_marks=np.concatenate([places.targets(len(NAMES)) for _, places, _ in drawn]),
        )


def _middles(seed: int, features: int) -> dict[Kind, NDArray[np.float64]]:
    """(kinds, D) of each sort of instance."""
    rng = np.random.default_rng((seed, 0, 1))  # bags are drawn from (seed, i)
    labels = len(NAMES)
    witness, context_instance = rng.standard_normal((2, labels, features))
    towards = rng.standard_normal((labels, features))
    distractor = witness + APART * towards / np.linalg.norm(towards, axis=1, keepdims=True)
    background = rng.standard_normal((BACKGROUNDS, features))
    return {
        Kind.WITNESS: witness,
        Kind.CONTEXT: context_instance,
        Kind.DISTRACTOR: distractor,
        Kind.BACKGROUND: background,
    }


def _draw(
    seed: int, i: int, grid: int, middles: dict[Kind, NDArray[np.float64]], hard: Characteristics
) -> tuple[NDArray[np.uint8], Places, NDArray[np.float64]]:
    """Labels (L,), what stands at each place, and the instances (g * g, D)."""
    rng = np.random.default_rng((seed, i))
    labels = draw_label_set(rng)
    places = arrange(rng, labels, grid**2, hard)
    middle = middles[Kind.BACKGROUND][rng.integers(BACKGROUNDS, size=grid**2)]
    for kind in (Kind.WITNESS, Kind.CONTEXT, Kind.DISTRACTOR):
        at = places.kind == kind
        middle[at] = middles[kind][places.label[at]]
    own, common = rng.standard_normal(middle.shape), rng.standard_normal(middle.shape[1])
    instances = middle + np.sqrt(1 - hard.alike) * own + np.sqrt(hard.alike) * common
    if hard.place_matters:
        place = np.stack(np.divmod(np.arange(grid**2), grid), axis=1) / (grid - 1) * 4 - 2
        instances = np.concatenate([instances, place], axis=1)
    return labels, places, instances
