import io
import logging
import sys

import pytest
from tqdm import tqdm

from retdm.commands.output import tables
from retdm.display import screen

ODD = ["car [left]", "car [right]", "[/b] close", "[red]sea[/red]", ":cat:", "海", "bell\a \x1b[2Jclear"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def printed(columns: list[str], rows: list[list[str]], width: int, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    shown = screen.console()
    for block in screen.blocks(columns, rows, width):
        shown.print(block)
    return out.getvalue().splitlines()


def test_a_name_is_printed_as_it_is_and_neither_markup_nor_an_emoji_nor_a_command_of_the_terminal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lines = printed(["label [b]", "F1"], [[name, "0.5"] for name in ODD], 80, monkeypatch)
    expected = ["label [b]", *ODD[:-1], r"bell\x07 \x1b[2Jclear"]
    assert [line.rsplit("  ", 1)[0].rstrip() for line in lines] == expected


def test_a_table_wider_than_the_terminal_goes_on_below_and_nothing_is_cut(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    columns = ["run", *(f"criterion_number_{j}" for j in range(7))]
    rows = [["method.weights.metric=0.3 " * 3, *(f"0.12{j}" for j in range(7))], ["b", *["0.9"] * 7]]
    lines = printed(columns, rows, 60, monkeypatch)
    assert max(map(len, lines)) <= 60 and not any("…" in line for line in lines)
    text = " ".join(lines)
    assert all(name in text for name in columns) and all(f"0.12{j}" in text for j in range(7))
    assert text.count("method.weights.metric=0.3") == 3 * text.count("run ")


def test_the_end_of_a_run_prints_labels_with_brackets(capsys: pytest.CaptureFixture[str]) -> None:
    row = {"P": 0.5, "R": None, "F1": 0.5, "AP": 1.0, "positives": 3, "predicted": 2}
    tables.print_table(*tables.per_label_table({"per_label": dict.fromkeys(ODD, row)}))
    out = capsys.readouterr().out
    assert all(name in out for name in ODD[:-1]) and "\x1b" not in out and "\a" not in out


def test_a_log_line_stands_above_the_bar_and_is_broken_between_words(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, terminal)
    monkeypatch.setenv("COLUMNS", "30")
    logger = logging.Logger("lines")
    logger.addHandler(screen.Screen(terminal))
    with screen.bar("epoch 2 joint", 10) as bar:
        bar.update(4)
        bar.refresh()
        before = len(terminal.getvalue())
        logger.info("epoch   2  joint  %s", "classification 0.5  metric [b] \x1b[2J")
        line, _, after = terminal.getvalue()[before:].rpartition("\n")
    assert line.split("\r")[-1].splitlines() == ["epoch   2  joint", r"  classification 0.5  metric", r"  [b] \x1b[2J"]
    assert line.split("\r")[1].isspace()  # the bar was taken away before
    assert "epoch 2 joint:  40%" in after  # and came back


def test_a_bar_shows_nothing_where_nobody_watches(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(screen.track(range(3), "reading")) == [0, 1, 2]
    assert capsys.readouterr() == ("", "")
    assert not tqdm._instances
