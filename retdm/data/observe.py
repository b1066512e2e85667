"""Labels hidden or flipped on purpose in a set whose labels are known, as methods for weak labels are compared.

- ``single_positive``: one of an image's positive labels is known, nothing else (Cole et al., CVPR 2021).
- ``share:.3``: each cell is known with this probability (Durand et al., CVPR 2019).
- ``positives_only:.5``: each positive label is known with this probability, nothing else.
- ``noise:.1``: each known cell has the other value with this probability, at most a half; all stay known.
"""

import re
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from retdm.errors import UserError
from retdm.registry import nearest

Targets = NDArray[np.uint8]
Known = NDArray[np.bool_]
Kind = Literal["single_positive", "share", "positives_only", "noise"]
EXAMPLES = ("single_positive", "share:.3", "positives_only:.5", "noise:.1")
ALL = "null leaves all labels"
OBSERVE_HINT = f"there are: {', '.join(EXAMPLES)}; {ALL}"


@dataclass(frozen=True)
class Observation:
    """What is left of the labels of a set.

    Attributes:
        kind: see the module.
        probability: of the cells it is about, in (0, 1].
    """

    kind: Kind
    probability: float = 1.0

    @property
    def name(self) -> str:
        """By which :func:`observation_of` finds it."""
        return (
            self.kind if self.kind == "single_positive" else f"{self.kind}:{repr(self.probability).removesuffix('.0')}"
        )

    @property
    def hides_negatives(self) -> bool:
        """No negative cell stays known."""
        return self.kind in ("single_positive", "positives_only")

    def apply(self, target: Targets, known: Known, seed: int) -> tuple[Targets, Known]:
        """New arrays (n, L) of what is observed of ``target`` and ``known`` (n, L); 0 where unknown.

        Each cell is a function of the seed, its row and its label: whatever else is done with the rows, it is the same.
        Of two probabilities the greater one leaves known, or flips, what the smaller one does and more. A row without
        a known positive keeps nothing under ``single_positive``.
        """
        draw = np.random.default_rng([seed, 0x0B5E]).random(target.shape)
        positive = known & (target > 0)
        if self.kind == "noise":
            return np.where(known & (draw < self.probability), 1 - target, target), known.copy()
        if self.kind == "single_positive":
            rank = np.where(positive, draw, 2.0)
            kept = positive & (rank == rank.min(axis=1, keepdims=True))
        else:
            kept = (known if self.kind == "share" else positive) & (draw < self.probability)
        return np.where(kept, target, 0).astype(target.dtype), kept


def observation_of(text: str) -> Observation:
    """The observation of a name such as those of ``EXAMPLES``.

    Raises:
        UserError: there is none.
    """
    if text == "single_positive":
        return Observation("single_positive")
    found = re.fullmatch(r"(share|positives_only|noise):((?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)", text)
    if found and 0 < (probability := float(found[2])) <= 1:
        kind: Kind = found[1]  # type: ignore[assignment]
        if kind == "noise" and probability > 0.5:
            raise UserError(
                f"data.observe={text} would give most labels the other value, and a network would learn the opposite",
                "noise:.5 is the most: then a label says nothing",
            )
        return Observation(kind, probability)
    word = text.partition(":")[0]
    example = next((each for each in EXAMPLES if word and each.startswith(f"{word}:")), None)
    hint = (
        f"{example} is one, its number above 0 and at most 1, after a colon"
        if example
        else f"{nearest(text, EXAMPLES)}; {ALL}"
    )
    raise UserError(f"data.observe={text} is not known", hint)
