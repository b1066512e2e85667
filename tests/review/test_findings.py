"""Findings of a review, and the table of them."""

import csv
import io

import numpy as np

from retdm.data.duplicates import Pairs
from retdm.data.synthetic.source import Synthetic
from retdm.review.findings import Finding, find, table_of
from retdm.review.out_of_fold import Scored

ROWS = np.array([0, 1, 3, 4])  # row 2 cannot be read
TARGET = np.array([[1, 0], [0, 1], [0, 1], [1, 0]], np.uint8)
KNOWN = np.array([[1, 1], [1, 1], [1, 1], [1, 0]], bool)
SCORES = np.array([[0.9, 0.8], [0.7, 0.9], [0.1, 0.2], [0.05, 0.9]])
NO_PAIRS: Pairs = {"identical": [], "near": None}


def found(pairs: Pairs = NO_PAIRS, *, unknown: bool = True) -> list[Finding]:
    return find(Scored(ROWS, SCORES, TARGET, KNOWN, ""), pairs, "self_confidence", unknown=unknown)


def cells(findings: list[Finding]) -> list[tuple[str, int, int, int | None]]:
    return [(each.kind, each.row, each.label, each.given) for each in findings]


def test_cells_whose_score_speaks_against_them_come_by_suspicion_and_unknown_ones_last() -> None:
    assert cells(found()) == [
        ("wrong", 4, 0, 1),
        ("missing", 0, 1, 0),
        ("wrong", 3, 1, 1),
        ("missing", 1, 0, 0),
        ("unknown", 4, 1, None),
    ]
    known = [each.suspicion for each in found()[:4]]
    assert known == sorted(known, reverse=True)
    assert "unknown" not in {each.kind for each in found(unknown=False)}


def test_copies_that_differ_are_a_kind_of_their_own_both_cells_together_and_none_twice() -> None:
    findings = found({"identical": [(0, 2), (0, 1)], "near": [(0, 1), (3, 4)]})
    copies = [each for each in findings if each.kind == "copies"]
    assert [(each.row, each.label, each.copy) for each in copies] == [
        (4, 0, 3), (3, 0, 4), (0, 1, 1), (1, 1, 0), (1, 0, 0), (0, 0, 1)
    ]  # fmt: skip
    assert len({(each.row, each.label) for each in findings}) == len(findings)


def test_a_label_that_no_fit_can_doubt_is_suspected_by_copies_alone() -> None:
    target = np.ones((3, 1), np.uint8)
    scored = Scored(np.arange(3), np.full((3, 1), 0.1), target, np.ones((3, 1), bool), "")
    assert find(scored, NO_PAIRS) == []


def test_the_table_has_every_finding_and_no_formula() -> None:
    source = Synthetic(5, side=16)
    source.names, source.ids = ["=cmd()", "b"], [f"-{i}.png" for i in range(5)]
    rows = list(csv.DictReader(io.StringIO(table_of(found({"identical": [(0, 1)], "near": []}), source).decode())))
    assert [(row["image"], row["label"], row["given"], row["kind"]) for row in rows][:1] == [
        ("./-4.png", "'=cmd()", "1", "wrong")
    ]
    assert {row["reviewed"] for row in rows} == {""} and len(rows) == len(found({"identical": [(0, 1)], "near": []}))
    assert next(row["copy"] for row in rows if row["kind"] == "copies") in ("./-0.png", "./-1.png")
