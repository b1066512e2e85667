import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from retdm.commands.output.tables import bands_table, between, number, print_report
from retdm.criteria import CRITERIA, INSTANCE_CRITERIA, by_band, evaluate, intervals_of, resample
from retdm.decisions import decide
from retdm.runs.folder.paths import RunFolder


@pytest.fixture(scope="module")
def report(tiny_run: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((tiny_run / "metrics.json").read_text())
    return content


def test_metrics_have_the_promised_keys(report: dict[str, Any]) -> None:
    assert set(report) >= {
        "test", "test_validation_threshold", "validation", "per_label", "left_out", "seconds", "images", "threshold",
        "stages", "earlier_stages", "label_counts", "device",
        "intervals", "bands",
    }  # fmt: skip
    for part in ("test", "test_validation_threshold", "validation"):
        assert list(report[part]) == list(CRITERIA) + list(INSTANCE_CRITERIA if part == "test" else ())
    assert report["images"] == 60
    assert {split: len(counts) for split, counts in report["label_counts"].items()} == dict.fromkeys(
        ("train", "validation", "test"), 5
    )
    assert report["label_counts"]["test"] == [row["positives"] for row in report["per_label"].values()]
    assert report["seconds"] > 0
    assert 0 <= report["threshold"] <= 1
    for row in report["per_label"].values():
        assert set(row) == {"P", "R", "F1", "AP", "positives", "predicted"}
    assert set(report["left_out"]) >= {"unreadable_images", "unknown_cells", "rows_without_label"}
    assert [row["stage"] for row in report["stages"]] == ["classification", "label_embedding", "joint"]
    assert set(report["earlier_stages"]) == {"classification"}  # the only earlier one that trains the classifier


def test_metrics_are_those_of_the_saved_predictions(tiny_run: Path, report: dict[str, Any]) -> None:
    rows = np.load(tiny_run / "predictions.npz")
    names = rows["labels"].tolist()
    assert names == list(report["per_label"])
    for part, rule in (("test", "half"), ("test_validation_threshold", "validation")):
        predicted = decide(rows["scores"], rule, report["threshold"])
        expected = evaluate(rows["scores"], rows["target"], rows["known"], names, predicted)
        assert {name: report[part][name] for name in CRITERIA} == expected["criteria"]
        if part == "test":
            assert report["per_label"] == expected["per_label"]
            expect_intervals(report, rows, predicted)


def expect_intervals(report: dict[str, Any], rows: Any, predicted: np.ndarray) -> None:
    found = resample(rows["scores"], rows["target"], rows["known"], predicted)
    criteria, of_labels = intervals_of(found)
    assert report["intervals"]["test"] == {name: ends and list(ends) for name, ends in criteria.items()}
    for j, row in enumerate(report["intervals"]["per_label"].values()):
        for key, ends in row.items():
            assert np.array_equal(of_labels[key][j], [np.nan, np.nan] if ends is None else ends, equal_nan=True)
    bands = by_band(found, report["label_counts"]["train"])
    assert report["bands"] == json.loads(json.dumps(bands))


def test_labels_of_two_bands_are_a_row_each_and_of_one_none() -> None:
    rare = {"positives": [0, 19], "labels": 2, "criteria": {"C-F1": 0.5, "mAP": None}}
    rare |= {"intervals": {"C-F1": [0.25, 0.75], "mAP": None}}
    many, medium = rare | {"positives": [101, None], "labels": 1}, rare | {"labels": 0}
    assert bands_table({"bands": {"many": medium, "medium": medium, "few": rare}})[1] == []
    assert bands_table({"bands": {"many": many, "medium": medium, "few": rare}})[1] == [
        ["many (101 and more)", "1", "0.500 (0.250 to 0.750)", "–"],
        ["few (0 to 19)", "2", "0.500 (0.250 to 0.750)", "–"],
    ]


def test_the_report_shows_every_criterion_and_ends_with_the_next_command(
    tiny_run: Path, report: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    command = "retdm test run=" + "a-very-long-folder-name/" * 9
    print_report(RunFolder(tiny_run), "title", report, per_label=True, steps=[], last=command)
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == command  # whole, however narrow the terminal
    table = {line.split()[0]: line.split()[1:] for line in lines if line.strip()}
    for name in CRITERIA:
        test, *others = (number(report[part][name]) for part in ("test", "test_validation_threshold", "validation"))
        assert table[name] == [test, *between(report["intervals"]["test"][name]).split(), *others]
    for name, row in report["per_label"].items():
        assert table[name][-2:] == [str(row["positives"]), str(row["predicted"])]
    assert table["joint"][0] == "1"


def test_an_undefined_value_is_a_dash_and_never_a_number() -> None:
    assert number(None) == "–"
    assert number(0.0) == "0.0000"
    assert number(1 / 3, 2) == "0.33"


def test_files_of_a_run_hold_no_not_a_number(tiny_run: Path) -> None:
    def refuse(text: str) -> float:
        raise AssertionError(f"{text} is not JSON")

    for name in ("metrics.json", "split.json"):
        json.loads((tiny_run / name).read_text(), parse_constant=refuse)
    assert all(math.isfinite(value) for value in np.load(tiny_run / "predictions.npz")["scores"].ravel())
