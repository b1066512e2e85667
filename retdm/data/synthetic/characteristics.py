"""Characteristics of drawn bags, and the arrangement of instances in a bag that has them.

The characteristics are those of the multiple-instance survey (`Characteristics of MIL Problems`). Notation: L labels, P
places of a bag, which are those of a square grid row by row.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import IntEnum
from typing import Annotated, NamedTuple, Self, get_type_hints

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from retdm.errors import UserError
from retdm.ranges import Between
from retdm.registry import nearest

Share = Annotated[float, Between(0, 1)]


@dataclass(frozen=True)
class Characteristics:
    """How hard the bags are; all but ``witness_rate`` are 0 where the difficulty is absent and 1 at its greatest.

    Attributes:
        witness_rate: share of a bag's places that each of its labels takes, above 0 to 1/3; at least one place.
        co_occurrence: probability that a label comes with its context instance, one that is in no bag without the
            label and does not have it itself.
        several_needed: above 0, a label needs its witnesses and its context instance in one bag, and both have it;
            share of the other bags that have one of the two alone.
        alike: share of the instances' variance that all instances of a bag have in common, such as their light.
        place_matters: above 0, witnesses count in the upper half of the grid alone; share of the bags, with a label or
            without, that have its witnesses in the lower half.
        label_noise: share of the bags to train on that have another bag's labels; the test split has none.
        distractors: share of the bags, with a label or without, that have instances nearly like its witnesses. In bags
            without the label alone they would give away that it is absent.
    """

    witness_rate: Annotated[float, Between(0, 1 / 3 + 1e-9, with_low=False)] = 0.125
    co_occurrence: Share = 0.0
    several_needed: Share = 0.0
    alike: Share = 0.0
    place_matters: Share = 0.0
    label_noise: Share = 0.0
    distractors: Share = 0.0

    @classmethod
    def of(cls, given: Mapping[str, float] | None) -> Self:
        """From settings, of which any may be left out.

        Raises:
            UserError: one is unknown or out of its range.
        """
        ranges = {name: kind.__metadata__[0] for name, kind in get_type_hints(cls, include_extras=True).items()}
        for name, value in (given or {}).items():
            if name not in ranges:
                raise UserError(f"data.characteristics.{name} is unknown", nearest(name, ranges))
            if value not in ranges[name]:
                raise UserError(f"data.characteristics.{name}={value} is not a number {ranges[name].words}")
        return cls(**(given or {}))

    def __str__(self) -> str:
        """Those that differ from their defaults."""
        return ",".join(
            f"{name}={value:g}" for name, value in asdict(self).items() if value != getattr(Characteristics, name)
        )


class Kind(IntEnum):
    """The role of an instance in its bag."""

    BACKGROUND = 0  # of no label
    WITNESS = 1
    CONTEXT = 2
    DISTRACTOR = 3


class Places(NamedTuple):
    """The instance at each place of a bag.

    Attributes:
        kind: int64 (P,), of :class:`Kind`.
        label: int64 (P,), the label it belongs to; 0 where it is background.
        positive: bool (P,); it has the label, and so has the bag.
    """

    kind: NDArray[np.int64]
    label: NDArray[np.int64]
    positive: NDArray[np.bool_]

    def targets(self, labels: int) -> NDArray[np.uint8]:
        """The labels of each instance, uint8 (P, L)."""
        found = np.zeros((len(self.kind), labels), np.uint8)
        found[self.positive, self.label[self.positive]] = 1
        return found


def arrange(rng: Generator, labels: NDArray[np.uint8], places: int, hard: Characteristics) -> Places:
    """A bag of ``places`` instances with these labels (L,), each of which at least one instance has.

    Instances that have a label find room first; where the places do not suffice for the rest, some are left out.
    """
    present = np.flatnonzero(labels)
    upper = places // 2 if hard.place_matters else places
    context = int(hard.several_needed > 0 or hard.co_occurrence > 0)
    most = upper // max(len(present), 1) - context
    count = max(1, min(round(hard.witness_rate * places), most))
    wanted: list[tuple[Kind, int, bool, bool]] = []  # kind, label, has it, in the upper half
    for label in present.tolist():
        wanted += [(Kind.WITNESS, label, True, True)] * count
        if hard.several_needed > 0 or rng.random() < hard.co_occurrence:
            wanted.append((Kind.CONTEXT, label, hard.several_needed > 0, True))
    for label in rng.permutation(len(labels)).tolist():
        if not labels[label] and rng.random() < hard.several_needed:
            alone = [(Kind.WITNESS, label, False, True)] * count
            wanted += alone if rng.random() < 0.5 else [(Kind.CONTEXT, label, False, True)]
        if rng.random() < hard.place_matters:
            wanted += [(Kind.WITNESS, label, False, False)] * count
        if rng.random() < hard.distractors:
            wanted += [(Kind.DISTRACTOR, label, False, bool(rng.random() < 0.5))] * count
    found = Places(np.zeros(places, np.int64), np.zeros(places, np.int64), np.zeros(places, bool))
    free = {True: rng.permutation(upper).tolist(), False: (upper + rng.permutation(places - upper)).tolist()}
    if not hard.place_matters:
        free[False] = free[True]
    for kind, label, positive, above in wanted:
        if free[above]:
            at = free[above].pop()
            found.kind[at], found.label[at], found.positive[at] = kind, label, positive
    return found
