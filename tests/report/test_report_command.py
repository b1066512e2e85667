from pathlib import Path

import pytest
from command_line import in_process
from report_runs import write_run

from retdm.commands.report import asked, main
from retdm.report import page
from retdm.report.figures import write as figures


@pytest.fixture
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "write_figures", lambda out, groups, earlier: [])


@pytest.mark.usefixtures("no_figures")
def test_a_report_is_printed_and_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for split in (0, 1):
        write_run(tmp_path / "runs" / f"a{split}", split, test={"mAP": 0.7 + split / 10})
        write_run(tmp_path / "runs" / f"b{split}", split, method="retdm", test={"mAP": 0.8})
    write_run(tmp_path / "runs" / "c", 2, finished=False, error="the disk is full")
    main([str(tmp_path / "runs"), f"out={tmp_path / 'out'}", "criteria=mAP"])
    printed, written = capsys.readouterr().out, (tmp_path / "out" / "report.md").read_text()
    html = (tmp_path / "out" / "report.html").read_text()
    for text in (printed, written, html):
        assert ".750 ± .071" in text and "Nadeau and Bengio" in text and "failed: the disk is full" in text
    assert "| mAP ↑ | .750 ± .071 | **.800 ± .000** |" in written
    assert (tmp_path / "out" / "report.csv").read_text().startswith("source,data,method,backbone,setting,part,runs")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["report.csv", "report.html", "report.md"]


@pytest.mark.usefixtures("no_figures")
def test_of_many_settings_the_terminal_shows_some_criteria_and_the_report_all(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for observe in ("share:0.1", "share:0.5"):
        for loss in "abcde":
            write_run(
                tmp_path / "runs" / f"{loss}{observe[-1]}",
                settings={"loss": loss},
                data_settings={"observe": observe},
                test={"mAP": 0.9 if loss == "c" else 0.4, "O-F1": 0.3},
            )
    main([str(tmp_path / "runs"), f"out={tmp_path / 'out'}", "criteria=mAP,O-F1"])
    printed, written = capsys.readouterr().out, (tmp_path / "out" / "report.md").read_text()
    for title in ("scene, observe=share:0.1: test split", "scene, observe=share:0.5: test split"):
        assert title in printed and title in written
    assert "all criteria on the test split" in written and "all criteria on the test split" not in printed
    assert "| bce · loss=c | 1 |" in written and "observe=share:0.1 ·" not in written  # which its title says
    line = next(each for each in printed.splitlines() if each.startswith("bce · loss=c"))
    assert line.split()[-2:] == [".900", ".300"]
    assert len(printed.splitlines()) < 40 and "of the 10 lines" in printed


@pytest.mark.usefixtures("no_figures")
def test_the_page_gets_the_groups_and_the_figures_the_papers_best_earlier_methods(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_run(tmp_path / "a")
    drawn = tmp_path / "out" / "figures" / "x.png"
    seen = {}

    def write_figures(out: Path, groups: list[object], earlier: dict[str, dict[str, tuple[str, float]]]) -> list[Path]:
        seen["earlier"] = earlier["scene"]["average_precision"]
        return [drawn]

    monkeypatch.setattr(figures, "write_figures", write_figures)
    monkeypatch.setattr(
        page, "write_page", lambda path, groups, tables, notes, pictures: seen.update(pictures=pictures)
    )
    main([str(tmp_path), f"out={tmp_path / 'out'}"])
    assert seen == {"earlier": ("KISAR", 0.772), "pictures": [drawn]}
    assert "![x](figures/x.png)" in (tmp_path / "out" / "report.md").read_text()


@pytest.mark.parametrize(
    "words, message",
    [
        (["{tmp}/nowhere"], "there is no folder {tmp}/nowhere"),
        (["{tmp}/empty"], "there is no run in {tmp}/empty"),
        (
            ["{tmp}/failed"],
            "none of the runs found is finished, of 1\n  Left out: {tmp}/failed/a (scene · bce · vgg16, split 0)",
        ),
        (["{tmp}/failed", "chose=mAP"], "chose is not a setting of the report\n  did you mean choose?"),
        (["{tmp}/failed", "choose=mAPP"], "there is no criterion mAPP\n  did you mean mAP?"),
        (["{tmp}/failed", "criteria=mAP,F1"], "there is no criterion F1\n"),
        (["choose=mAP"], "no folder is named"),
        (["{tmp}/good", "out={tmp}/good/a/config.yaml"], "[Errno "),
        (["{tmp}/good", "baseline=retdm", "out={tmp}/out"], "baseline=retdm is none of these runs"),
    ],
)
@pytest.mark.usefixtures("no_figures")
def test_what_the_user_can_mend_is_one_short_message_and_exit_code_2(
    tmp_path: Path, words: list[str], message: str
) -> None:
    (tmp_path / "empty").mkdir()
    write_run(tmp_path / "failed" / "a", finished=False, error="no space")
    write_run(tmp_path / "good" / "a")
    done = in_process("report", *(word.format(tmp=tmp_path) for word in words))
    assert done.code == 2
    assert done.err.startswith("error: " + message.format(tmp=tmp_path))
    assert len(done.err.splitlines()) <= 6


def test_a_folder_whose_name_has_an_equals_sign_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "lr=0.1").mkdir()
    assert asked([str(tmp_path / "lr=0.1")]).folders == [tmp_path / "lr=0.1"]


def test_a_run_that_learned_from_its_validation_part_is_reported(tmp_path: Path) -> None:
    write_run(tmp_path / "runs" / "a", refit=True, metrics={"test_validation_threshold": None})
    main([str(tmp_path / "runs"), f"out={tmp_path / 'report'}"])
    assert ".500" in (tmp_path / "report" / "report.md").read_text()
