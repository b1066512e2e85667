"""The groups that a figure shows and their names, and a figure with its title and caption."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.figure import Figure

from retdm.report.figures.style import styles_of
from retdm.report.groups import Group, short, validation_map

MOST_SHOWN = 6  # groups in one figure

Earlier = Mapping[str, tuple[str, float]]


class Drawn(NamedTuple):
    """A figure with its title and caption.

    Attributes:
        kind: first part of its file's name.
        title: of the figure; its alternative text.
        caption: how to read it.
        figure: itself, or the PNG file that a run left.
    """

    kind: str
    title: str
    caption: str
    figure: Figure | Path


def by_data(groups: Sequence[Group]) -> list[list[Group]]:
    """Groups of the same data and labels together, in the order of their coming."""
    found: dict[tuple[str, tuple[str, ...]], list[Group]] = defaultdict(list)
    for group in groups:
        found[group.data, tuple(group.runs[0].labels)].append(group)
    return list(found.values())


def choose(groups: Sequence[Group], most: int) -> list[Group]:
    """At most ``most`` groups in their order: of too many the best of each method, by validation mAP."""
    if len(groups) <= most:
        return list(groups)
    best: dict[str, Group] = {}
    for group in sorted(groups, key=validation_map, reverse=True):
        best.setdefault(group.method, group)
    kept = [id(group) for group in list(best.values())[:most]]
    return [group for group in groups if id(group) in kept]


def of_all(shown: Sequence[Group], groups: Sequence[Group]) -> str:
    """A caption's sentence on the choice."""
    return "" if len(shown) == len(groups) else f" Of {len(groups)} groups the best of each method by validation mAP."


def names_of(groups: Sequence[Group], without: Sequence[str] = ()) -> list[str]:
    """Each group's method, its backbone where they differ, and its varied settings but those of ``without``."""
    several = len({group.backbone for group in groups}) > 1
    return [
        " · ".join(
            [
                group.method,
                *([group.backbone] if several else []),
                *short({key: value for key, value in group.varied.items() if key not in without}),
            ]
        )
        for group in groups
    ]


def styled(groups: Sequence[Group], names: Sequence[str], methods: Sequence[str]) -> dict[str, Any]:
    pairs = dict.fromkeys((group.method, name) for group, name in zip(groups, names, strict=True))
    return styles_of(list(pairs), methods)


def splits_or_folds(groups: Sequence[Group]) -> str:
    """``splits``, or ``splits and folds``, for a caption."""
    return "splits" if all(group.folds is None for group in groups) else "splits and folds"
