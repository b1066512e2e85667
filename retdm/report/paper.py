"""The papers' tables as they printed them, with the reasons why some of their cells cannot be compared with ours."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from retdm.criteria import LARGER_IS_BETTER
from retdm.report.tables import number

FOLDER = Path(__file__).parent / "paper_tables"


@dataclass(frozen=True)
class Row:
    """A method's printed numbers by criterion; a criterion it has no number for is absent."""

    method: str
    mean: dict[str, float]
    std: dict[str, float]


@dataclass(frozen=True)
class Caveat:
    """Why some cells are not comparable with criteria of the same name: ``methods`` None stands for all rows."""

    criteria: list[str]
    why: str
    methods: list[str] | None = None

    def holds(self, method: str, criterion: str) -> bool:
        return criterion in self.criteria and (self.methods is None or method in self.methods)


@dataclass(frozen=True)
class Claim:
    """A gain that the text states and its own table does not give: of one method over the best of others."""

    criterion: str
    of: str
    over: list[str]
    relative: bool
    stated: float
    found: float

    def __str__(self) -> str:
        best = f"the best of the {len(self.over)} others" if len(self.over) > 1 else self.over[0]
        stated, found = (
            f"{100 * value:.1f} %" if self.relative else number(value) for value in (self.stated, self.found)
        )
        return f"The text has {self.of} better than {best} by {stated} in {self.criterion}; by its table it is {found}."


@dataclass(frozen=True)
class PaperTable:
    """One published table.

    Args:
        name: of its file.
        paper: the reference; ``short`` the same in three words.
        table: which one in the paper.
        data: names of our data sets that it is about.
        stand_on: what methods stand on, as far as the paper says: methods by backbone, or by ``bags`` (of regions).
        protocol: test_fraction (None for the publisher's split), train, test, runs, labels, labels_an_image,
            coverage_divided_by_labels.
        rows: methods in the paper's order.
        not_comparable: caveats on cells.
        notes: sentences on the whole.
        claims: statements that the table does not bear out.
    """

    name: str
    paper: str
    short: str
    table: str
    data: list[str]
    stand_on: dict[str, list[str]]
    protocol: dict[str, Any]
    criteria: list[str]
    rows: list[Row]
    not_comparable: list[Caveat] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)

    @property
    def split(self) -> str:
        """``80/20, 1 run``."""
        fraction, runs = self.protocol["test_fraction"], self.protocol["runs"]
        parts = "the publisher's split" if fraction is None else f"{100 * (1 - fraction):.0f}/{100 * fraction:.0f}"
        return f"{parts}, {runs} run{'s' * (runs > 1)}"

    def backbone_of(self, method: str) -> str:
        """The backbone of a method, or ``bags``; nothing where the paper does not say."""
        return next((name for name, methods in self.stand_on.items() if method in methods), "")


@functools.cache
def paper_tables() -> tuple[PaperTable, ...]:
    """All tables of results, by name."""
    return tuple(_read(path) for path in sorted(FOLDER.glob("*.yaml")) if path.stem != "datasets")


@functools.cache
def paper_datasets() -> tuple[dict[str, Any], ...]:
    """The papers' data sets: short, data, images, labels, labels_an_image."""
    return tuple(yaml.safe_load((FOLDER / "datasets.yaml").read_text()))


def _read(path: Path) -> PaperTable:
    content: dict[str, Any] = yaml.safe_load(path.read_text())
    criteria = content["criteria"]
    rows = [
        Row(method, *(_numbers(criteria, printed.get(kind)) for kind in ("mean", "std")))
        for method, printed in content.pop("rows").items()
    ]
    caveats = [Caveat(**caveat) for caveat in content.pop("not_comparable", [])]
    # ``over`` names one method, or what several stand on.
    claims = [
        Claim(**claim | {"over": content["stand_on"].get(claim["over"], [claim["over"]])})
        for claim in content.pop("claims", [])
    ]
    return PaperTable(name=path.stem, rows=rows, not_comparable=caveats, claims=claims, **content)


def _numbers(criteria: Sequence[str], values: Sequence[float | None] | None) -> dict[str, float]:
    if values is None:
        return {}
    return {name: value for name, value in zip(criteria, values, strict=True) if value is not None}


def tables_for(data: str, settings: Mapping[str, Any]) -> tuple[list[PaperTable], bool]:
    """The published tables of a data set, and whether their split is the runs'.

    Args:
        data: name of the data set.
        settings: the runs' ``data`` settings, with ``test_fraction`` where the split is random.

    Returns:
        The tables of the same share of test images; all of them, and False, where there is none such.
    """
    found = [table for table in paper_tables() if data in table.data]
    ours = settings.get("test_fraction")
    fitting = [table for table in found if _near(table.protocol["test_fraction"], ours)]
    return (fitting, True) if fitting else (found, False)


def best_earlier() -> dict[str, dict[str, tuple[str, float]]]:
    """By data set and criterion the (method, mean) of the best method on bags that the papers compare with."""
    found: dict[str, dict[str, tuple[str, float]]] = {}
    for table in paper_tables():
        rows = [row for row in table.rows if row.method in table.stand_on.get("bags", [])]
        for criterion in table.criteria if rows else ():
            best = max if criterion in LARGER_IS_BETTER else min
            value, method = best((row.mean[criterion], row.method) for row in rows)
            for data in table.data:
                found.setdefault(data, {})[criterion] = (method, value)
    return found


def _near(published: float | None, ours: float | None) -> bool:
    return published is None or (ours is not None and abs(published - ours) < 0.01)
