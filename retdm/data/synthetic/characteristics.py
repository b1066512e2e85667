"""What makes bags hard to learn from, as numbers, and which instance a drawn bag has at which place.

The characteristics are those of the multiple-instance survey (`Characteristics of MIL Problems`). Notation: L labels, P
places of a bag, which are those of a square grid row by row.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from enum import IntEnum
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from retdm.errors import UserError


@dataclass(frozen=True)
class Characteristics:
    """How hard the bags are; all but ``witness_rate`` are 0 where the difficulty is absent and 1 at its greatest.

    Attributes:
        witness_rate: share of a bag's places that each of its labels takes, above 0 to 1/3; at least one place.
        co_occurrence: probability that a label comes with its context instance, one that is in no bag without the
            label and does not carry it.
        several_needed: above 0, a label needs its witnesses and its context instance in one bag, and both carry it;
            share of the other bags that have one of the two alone.
        alike: share of the instances' variance that all instances of a bag have in common, such as their light.
        place_matters: above 0, witnesses count in the upper half of the grid alone; share of the bags, with a label or
            without, that have its witnesses in the lower half.
        label_noise: share of the bags to learn from that have another bag's labels; the test part has none.
        distractors: share of the bags, with a label or without, that have instances nearly like its witnesses. In bags
            without it alone they would tell that it is absent.
    """

    witness_rate: float = 0.125
    co_occurrence: float = 0.0
    several_needed: float = 0.0
    alike: float = 0.0
    place_matters: float = 0.0
    label_noise: float = 0.0
    distractors: float = 0.0

    @classmethod
    def of(cls, given: Mapping[str, Any] | None) -> Self:
        """From settings, of which any may be left out.

        Raises:
            UserError: one is unknown or out of its range.
        """
        known = {field.name for field in fields(cls)}
        for name, value in (given or {}).items():
            if name not in known:
                raise UserError(f"data.characteristics.{name} is unknown", f"it is one of: {', '.join(sorted(known))}")
            most = 1 / 3 if name == "witness_rate" else 1.0
            if not 0 <= value <= most + 1e-9 or (name == "witness_rate" and value == 0):
                bounds = "above 0 and at most 1/3" if name == "witness_rate" else "from 0 to 1"
                raise UserError(f"data.characteristics.{name} is {value}", f"it is {bounds}")
        return cls(**(given or {}))

    def __str__(self) -> str:
        """Those that are not as they are by default."""
        return ",".join(
            f"{name}={value:g}" for name, value in asdict(self).items() if value != getattr(Characteristics, name)
        )


class Kind(IntEnum):
    """What an instance is."""

    BACKGROUND = 0  # of no label
    WITNESS = 1
    CONTEXT = 2
    DISTRACTOR = 3


class Places(NamedTuple):
    """What stands at each place of a bag.

    Attributes:
        kind: int64 (P,), of :class:`Kind`.
        label: int64 (P,), to which label it belongs; 0 where it is background.
        carries: bool (P,), whether it makes the bag carry the label.
    """

    kind: NDArray[np.int64]
    label: NDArray[np.int64]
    carries: NDArray[np.bool_]

    def targets(self, labels: int) -> NDArray[np.uint8]:
        """uint8 (P, L): which instance carries which label."""
        marks = np.zeros((len(self.kind), labels), np.uint8)
        marks[self.carries, self.label[self.carries]] = 1
        return marks


def arrange(rng: Generator, labels: NDArray[np.uint8], places: int, hard: Characteristics) -> Places:
    """A bag of ``places`` instances that has these labels (L,), of which at least one stands at some place.

    What carries a label finds room first; where the places do not suffice for all the rest, some of it is left out.
    """
    present = np.flatnonzero(labels)
    upper = places // 2 if hard.place_matters else places
    companions = int(hard.several_needed > 0 or hard.co_occurrence > 0)
    most = upper // max(len(present), 1) - companions
    count = max(1, min(round(hard.witness_rate * places), most))
    wanted: list[tuple[Kind, int, bool, bool]] = []  # kind, label, carries, in the upper part
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
    for kind, label, carries, above in wanted:
        if free[above]:
            at = free[above].pop()
            found.kind[at], found.label[at], found.carries[at] = kind, label, carries
    return found
