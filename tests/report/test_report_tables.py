import csv
import io
import json
from pathlib import Path

import pytest
from report_runs import read, write_run
from rich.console import Console

from retdm.report.about import COMMANDS, dataset_table, left_out, origin
from retdm.report.formats import csv_of, markdown
from retdm.report.results import by_task, result_tables
from retdm.report.tables import Table, mean_and_std, number

TABLE = Table("two [b] things", ["", "a [1]", "b"], [["x|y", ".881 ± .009", "3"], ["z", "", "4"]], {(0, 1)}, ["a note"])


def column(table: Table, name: str) -> dict[str, str]:
    """Cells of a column by the first cell of their row."""
    j = table.columns.index(name)
    return {row[0]: row[j] for row in table.rows}


def bold(table: Table) -> set[tuple[str, str]]:
    return {(table.rows[i][0], table.columns[j]) for i, j in table.bold}


@pytest.mark.parametrize(
    "value, text",
    [(0.8812, ".881"), (-0.0123, "-.012"), (1.0, "1.000"), (30.6551, "30.655"), (-0.0001, ".000"), (10.05, "10.050"),
     (None, ""), (float("nan"), "")],
)  # fmt: skip
def test_numbers_have_three_digits_and_no_leading_nought(value: float | None, text: str) -> None:
    assert number(value) == text


def test_a_deviation_stands_beside_its_mean_only_where_there_are_both() -> None:
    nan = float("nan")
    assert [mean_and_std(*pair) for pair in ((0.881, 0.009), (0.881, nan), (nan, 0.1), (None, None))] == [
        ".881 ± .009", ".881", "", "",
    ]  # fmt: skip


def test_markdown_keeps_a_pipe_inside_its_cell() -> None:
    assert TABLE.markdown() == (
        "**two \\[b\\] things**\n\n|  | a \\[1\\] | b |\n|---|---:|---:|\n"
        "| x\\|y | **.881 ± .009** | 3 |\n| z |  | 4 |\n\n- a note\n"
    )


def test_a_transposed_table_has_the_same_cells_and_the_same_bold_ones() -> None:
    turned = TABLE.transposed()
    assert turned.columns == ["", "x|y", "z"]
    assert turned.rows == [["a [1]", ".881 ± .009", ""], ["b", "3", "4"]]
    assert turned.bold == {(0, 1)}
    assert turned.transposed() == TABLE


@pytest.mark.parametrize("width, blocks", [(80, 1), (18, 2), (5, 2)])
def test_a_narrow_terminal_gets_every_cell_in_blocks_that_repeat_the_first_column(width: int, blocks: int) -> None:
    out = Console(width=80, file=io.StringIO())
    made = TABLE.rich(width)
    out.print(*made)
    text = out.file.getvalue()  # type: ignore[attr-defined]
    assert len(made) == 1 + blocks
    assert text.count("x|y") == blocks and text.count("two [b] things") == 1
    assert all(cell in text for cell in (".881 ± .009", "a [1]", "3", "4"))


def test_the_papers_rows_stand_beside_ours_with_marks_on_what_is_not_comparable(tmp_path: Path) -> None:
    for split, value in enumerate((0.8, 0.9)):
        write_run(tmp_path / f"a{split}", split, method="retdm", test={"O-F1": value})
    _, groups = read(tmp_path)
    table = result_tables(groups)[0]
    ours = column(table, "retdm · vgg16")
    assert (ours["runs"], ours["minutes"], ours["O-F1 ↑"]) == ("2", "1.5", ".850 ± .071")
    theirs = column(table, "Li 2020: RETDM · VGG16")
    assert (theirs["O-F1 ↑"], theirs["mAP ↑"], theirs["coverage ↓"]) == (".884", "", ".585")
    mark = theirs["hamming_loss ↓"].removeprefix(".122")
    assert len(mark) == 1
    assert any(note.startswith(f"{mark} hamming_loss: not the usual hamming loss") for note in table.notes)
    assert any("IEEE TNNLS" in note and "80/20, 1 run." in note for note in table.notes)


def test_two_thirds_of_scene_stand_beside_the_transfer_papers_rows_with_divided_coverage(tmp_path: Path) -> None:
    write_run(tmp_path / "a", test_fraction=0.333333, test={"coverage_normalised": 0.125}, train_size=50)
    _, groups = read(tmp_path)
    table = result_tables(groups)[0]
    assert table.columns[1:3] == ["bce · vgg16", "Dong 2017: VGG+L1LR · VGG16"]
    assert column(table, "bce · vgg16")["coverage_normalised ↓"] == ".125"
    assert column(table, "Dong 2017: VGG+L1LR · VGG16")["coverage_normalised ↓"] == ".082 ± .006"
    assert "coverage ↓" not in column(table, "bce · vgg16")
    assert any("ours on 50" in note for note in table.notes)
    assert any("by .027 in ranking_loss; by its table it is .017" in note for note in table.notes)


def test_another_split_than_any_papers_is_said_to_be_another(tmp_path: Path) -> None:
    write_run(tmp_path / "a", test_fraction=0.5)
    table = result_tables(read(tmp_path)[1])[0]
    assert sum("(our runs have another)" in note for note in table.notes) == 2


def test_only_sets_of_a_paper_have_the_papers_criteria(tmp_path: Path) -> None:
    write_run(tmp_path / "a", data="birds")
    write_run(tmp_path / "b", data="scene")
    titles = [table.title for table in result_tables(read(tmp_path)[1])]
    assert titles == [
        "birds: all criteria on the test split",
        "scene: the papers' criteria on the test split",
        "scene: all criteria on the test split",
    ]


def test_the_best_of_ours_is_bold_by_the_direction_of_its_criterion(tmp_path: Path) -> None:
    write_run(tmp_path / "a", method="bce", test={"mAP": 0.7, "hamming_loss": 0.1, "one_error": None})
    write_run(tmp_path / "b", method="retdm", test={"mAP": 0.8, "hamming_loss": 0.2, "one_error": 0.3})
    found = bold(result_tables(read(tmp_path)[1])[0])
    assert {pair for pair in found if pair[0] in ("mAP ↑", "hamming_loss ↓", "one_error ↓")} == {
        ("mAP ↑", "retdm · vgg16"), ("hamming_loss ↓", "bce · vgg16"), ("one_error ↓", "retdm · vgg16"),
    }  # fmt: skip
    assert ("O-F1 ↑", "bce · vgg16") in found and ("O-F1 ↑", "retdm · vgg16") in found  # equal
    assert not {column for _, column in found} & {"Li 2020: BCE · VGG16"}
    assert not {row for row, _ in found} & {"runs", "minutes"}


def test_one_group_has_nothing_to_be_the_best_of(tmp_path: Path) -> None:
    write_run(tmp_path / "a")
    assert not any(table.bold for table in result_tables(read(tmp_path)[1]))


def test_results_on_fewer_training_images_stand_in_a_table_of_their_own(tmp_path: Path) -> None:
    write_run(tmp_path / "a")
    write_run(tmp_path / "b", train_size=20)
    write_run(tmp_path / "c", train_size=20, method="retdm")
    tasks = by_task(read(tmp_path)[1])
    assert {title: [group.method for group in groups] for title, groups in tasks.items()} == {
        "scene, train_size=null": ["bce"], "scene, train_size=20": ["bce", "retdm"],
    }  # fmt: skip


def test_criteria_that_the_validation_threshold_changes_stand_once_more_below(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "a", test={"one_error": None})
    metrics = json.loads((folder / "metrics.json").read_text())
    metrics["test_validation_threshold"]["O-F1"] = 0.75
    (folder / "metrics.json").write_text(json.dumps(metrics))
    table = result_tables(read(tmp_path)[1])[1]
    cells = column(table, "bce · vgg16")
    assert (cells["O-F1 ↑"], cells["O-F1 ↑ at threshold"]) == (".500", ".750")
    assert [row for row in cells if row.endswith("at threshold")] == ["O-F1 ↑ at threshold"]


def test_the_longer_side_goes_down_the_page(tmp_path: Path) -> None:
    for size in range(30):
        write_run(tmp_path / str(size), data="birds", settings={"k": size})
    table = result_tables(read(tmp_path)[1])[0]
    assert (len(table.rows), table.columns[3]) == (30, "C-P ↑")
    assert result_tables(read(tmp_path / "0")[1])[0].rows[0][0] == "runs"


def test_splits_that_a_group_lacks_are_named(tmp_path: Path) -> None:
    for split in (0, 1, 2):
        write_run(tmp_path / f"a{split}", split)
    write_run(tmp_path / "b", 1, method="retdm")
    for table in result_tables(read(tmp_path)[1]):
        assert "retdm · vgg16 does not have splits 0, 2, which others have." in table.notes
        assert not any(note.startswith("bce") for note in table.notes)


def test_runs_that_are_in_no_table_are_named_with_the_reason(tmp_path: Path) -> None:
    write_run(tmp_path / "a")
    write_run(tmp_path / "b")
    write_run(tmp_path / "c", 1, finished=False, error="cannot write x: no space\nmake room")
    write_run(tmp_path / "d", 2, finished=False)
    lines = left_out(*read(tmp_path))
    assert len(lines) == 3
    assert "b (scene · bce · vgg16, split 0) has the settings and the split of another run" in lines[0]
    assert lines[1].endswith("c (scene · bce · vgg16, split 1) failed: cannot write x: no space")
    assert "d (scene · bce · vgg16, split 2) is not finished" in lines[2]


@pytest.mark.parametrize("again, said", [(0.9, True), (0.70000001, False)])
def test_a_second_judgement_that_differs_from_the_first_is_told_of(tmp_path: Path, again: float, said: bool) -> None:
    folder = write_run(tmp_path / "a", test={"mAP": 0.7, "one_error": None})
    text = (folder / "metrics.json").read_text()
    (folder / "test.json").write_text(text.replace('"mAP": 0.7', f'"mAP": {again}'))
    lines = left_out(*read(tmp_path))
    assert [".900 where metrics.json has .700" in line for line in lines] == [True] * said


def test_the_table_of_data_has_the_runs_counts_and_the_papers(tmp_path: Path) -> None:
    write_run(tmp_path / "a")
    write_run(tmp_path / "b", 1)
    write_run(tmp_path / "c", train_size=10, sizes=(10, 8, 20))
    write_run(tmp_path / "d", data="birds", finished=False)
    table = dataset_table(read(tmp_path)[0])
    assert table.rows == [
        ["scene", "100", "3", "1.50", "72 + 8", "20"],
        ["scene", "38", "3", "1.50", "10 + 8", "20"],
        ["scene, Li 2020", "2,000", "5", "1.24", "", ""],
        ["scene, Dong 2017", "2,000", "5", "1.20", "", ""],
    ]


def test_origin_names_commands_machines_and_days_and_shortens_a_long_list(tmp_path: Path) -> None:
    for split in range(COMMANDS + 2):
        write_run(tmp_path / str(split), split)
    lines = origin(read(tmp_path)[1])
    assert lines[0].startswith(f"{COMMANDS + 2} runs, 20") and lines[0].endswith("on box, torch 2.")
    assert lines[1] == "`retdm train data.split=0`"
    assert lines[-1] == "and 2 commands more" and len(lines) == COMMANDS + 2


def test_csv_has_every_part_of_every_group_unrounded_and_the_papers_rows(tmp_path: Path) -> None:
    write_run(tmp_path / "a", 0, test={"mAP": 1 / 3, "new": 0.25}, validation={"mAP": None})
    write_run(tmp_path / "b", 1, test={"mAP": 2 / 3, "new": 0.25})
    rows = list(csv.DictReader(io.StringIO(csv_of(read(tmp_path)[1]))))
    ours = {row["part"]: row for row in rows if row["source"] == "ours"}
    assert set(ours) == {"test", "test_validation_threshold", "validation"}
    assert float(ours["test"]["mAP"]) == pytest.approx(0.5, abs=1e-15)
    assert float(ours["test"]["mAP std"]) == pytest.approx(2**-0.5 / 3, abs=1e-15)
    assert (ours["test"]["new"], ours["test"]["splits"], ours["test"]["minutes"]) == ("0.25", "0 1", "1.5")
    assert (ours["validation"]["mAP"], ours["validation"]["new"]) == ("", "")
    paper = next(row for row in rows if row["source"] == "Li 2020" and row["method"] == "RETDM")
    assert (paper["O-F1"], paper["backbone"], paper["mAP"]) == ("0.884", "VGG16", "")
    paper = next(row for row in rows if row["source"] == "Dong 2017" and row["method"] == "DBA")
    assert (paper["one_error std"], paper["backbone"]) == ("0.025", "bags")


def test_markdown_ends_with_pictures_and_notes() -> None:
    text = markdown([TABLE], ["first", "second"], [Path("figures/a.png")])
    assert text.endswith("![a](figures/a.png)\n\n- first\n- second\n")
