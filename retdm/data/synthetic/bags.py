"""Bags drawn by the program, as hard as one likes, with the labels of every instance: data that needs no download.

A bag has one instance at each place of a square grid. An instance is a point around the centre of its kind: a label's
witnesses, its context instances, or one of six sorts of background, all drawn once; a distractor lies two standard
deviations from the witnesses. Bag i is a pure function of (seed, i). The label sets are those of the drawn images.
"""

from collections.abc import Mapping
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from retdm.data.bag_source import BagArrays
from retdm.data.synthetic.characteristics import Characteristics, Kind, Places, arrange
from retdm.data.synthetic.label_sets import NAMES, draw_label_set, noisy
from retdm.ranges import AtLeast

VERSION = 1
BACKGROUNDS = 6
APART = 2.0  # of a distractor from its witnesses, in standard deviations of an instance around its centre


class SyntheticBags(BagArrays):
    """A source of drawn bags; by default the centres of two kinds are some four deviations apart.

    Args:
        size: number of bags n.
        seed: of the series of bags.
        grid: g; a bag has g x g instances.
        features: D of an instance; where ``place_matters`` two more are its row and column.
        characteristics: of :class:`Characteristics`; those that are not given are easy.

    Attributes:
        true_targets: uint8 (n, L), the labels before ``label_noise``, by which the test split is evaluated.

    Raises:
        UserError: a characteristic is unknown or out of its range.
    """

    def __init__(
        self,
        size: Annotated[int, AtLeast(1)] = 1000,
        seed: Annotated[int, AtLeast(0)] = 0,
        grid: Annotated[int, AtLeast(2)] = 4,
        features: Annotated[int, AtLeast(2)] = 10,
        characteristics: Mapping[str, float] | None = None,
    ) -> None:
        hard = Characteristics.of(characteristics)
        centres = _centres(seed, features)
        drawn = [_draw(seed, i, grid, centres, hard) for i in range(size)]
        self.true_targets = np.stack([labels for labels, _, _ in drawn])
        targets = np.stack([noisy(labels, (seed, i), hard.label_noise) for i, (labels, _, _) in enumerate(drawn)])
        super().__init__(
            f"synthetic-bags-{VERSION}",
            "data=synthetic_bags",
            names=NAMES,
            ids=[f"{i:05d}" for i in range(size)],
            instances=np.concatenate([instances for _, _, instances in drawn]),
            offsets=np.arange(size + 1) * grid**2,
            targets=targets,
            instance_targets=np.concatenate([places.targets(len(NAMES)) for _, places, _ in drawn]),
        )


def _centres(seed: int, features: int) -> dict[Kind, NDArray[np.float64]]:
    """(sorts, D) of each kind of instance."""
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
    seed: int, i: int, grid: int, centres: dict[Kind, NDArray[np.float64]], hard: Characteristics
) -> tuple[NDArray[np.uint8], Places, NDArray[np.float64]]:
    """Labels (L,), the kind of instance at each place, and the instances (g * g, D)."""
    rng = np.random.default_rng((seed, i))
    labels = draw_label_set(rng)
    places = arrange(rng, labels, grid**2, hard)
    centre = centres[Kind.BACKGROUND][rng.integers(BACKGROUNDS, size=grid**2)]
    for kind in (Kind.WITNESS, Kind.CONTEXT, Kind.DISTRACTOR):
        at = places.kind == kind
        centre[at] = centres[kind][places.label[at]]
    single, common = rng.standard_normal(centre.shape), rng.standard_normal(centre.shape[1])
    instances = centre + np.sqrt(1 - hard.alike) * single + np.sqrt(hard.alike) * common
    if hard.place_matters:
        place = np.stack(np.divmod(np.arange(grid**2), grid), axis=1) / (grid - 1) * 4 - 2
        instances = np.concatenate([instances, place], axis=1)
    return labels, places, instances
