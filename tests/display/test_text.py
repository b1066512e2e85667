"""Names that users bring, on terminals and in spreadsheets."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest

from retdm.commands.output.predictions import Found, predictions
from retdm.data.overview import Finding, write_findings
from retdm.display.text import as_markdown, path_cell, printable, safe_cell
from retdm.errors import UserError
from retdm.runs.errors import report


@pytest.mark.parametrize("text", ["=1+2", "+cmd|' /C calc'!A0", "-2+3", "@SUM(1)", "\t=1", "\r=1", "＝1"])
def test_a_formula_is_not_run(text: str) -> None:
    assert safe_cell(text) == f"'{text}"
    assert path_cell(Path(text)) == f"./{text}"


@pytest.mark.parametrize("text", ["cat", "a=b", "-0.25", "+1e-5", "", "x@y"])
def test_other_text_and_numbers_stay(text: str) -> None:
    assert safe_cell(text) == text


def test_no_cell_of_the_predictions_is_run() -> None:
    files = [Path("=1.jpg"), Path("/photos/-2.jpg")]
    scores = np.array([[0.25, 0.75, 1e-5]] * 2, np.float32)
    found = Found(files, scores, np.array([[True, True, False]] * 2), [], [])
    labels = ["cat", "=HYPERLINK(1)", "-"]
    text, report = predictions(found, {"labels": labels})
    table = list(csv.reader(io.StringIO(text.decode())))
    assert json.loads(report)["labels"] == labels and json.loads(report)["images"][0]["labels"] == labels[:2]
    assert table[0] == ["path", "labels", "cat", "'=HYPERLINK(1)", "'-"]
    assert [row[:2] for row in table[1:]] == [
        ["./=1.jpg", "cat;'=HYPERLINK(1)"],
        ["/photos/-2.jpg", "cat;'=HYPERLINK(1)"],
    ]
    assert [float(text) for text in table[1][2:]] == [0.25, 0.75, 1e-5]


def test_no_cell_of_the_findings_is_run(tmp_path: Path) -> None:
    write_findings(tmp_path / "findings.csv", [Finding("missing", "@a.jpg", "=1 is not there")])
    assert (tmp_path / "findings.csv").read_text().splitlines()[1] == "missing,'@a.jpg,'=1 is not there"


def test_controls_become_backslash_sequences_and_words_of_all_scripts_stay() -> None:
    assert printable("\x1b[31mred\x1b[0m\n\u202ereversed") == r"\x1b[31mred\x1b[0m\n\u202ereversed"
    assert printable("犬 は　猫 👨‍👩‍👧 é\xa0!") == "犬 は　猫 👨‍👩‍👧 é\xa0!"
    assert printable(Path("caf\udce9")) == r"caf\xe9"


def test_an_error_does_not_bring_escape_sequences_to_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    report(UserError("there is no \x1b]0;owned\x07.jpg", "second\nline"))
    assert capsys.readouterr().err == "error: there is no \\x1b]0;owned\\x07.jpg\n  second\nline\n"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("car [left](x)", r"car \[left\](x)"),
        ("$x^2$ & <b>", r"\$x^2\$ \& \<b\>"),
        ("hamming_loss _up_ a*b|c", r"hamming_loss \_up\_ a\*b\|c"),
        ("`a_b* c` and _d", r"`a_b* c` and \_d"),
        ("one ` alone\nhere", r"one \` alone here"),
    ],
)
def test_a_name_means_itself_in_markdown(text: str, shown: str) -> None:
    assert as_markdown(text) == shown
