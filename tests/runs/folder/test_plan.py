"""What becomes of a run folder as it is found: nothing of anybody else's is touched, and a killed job ends."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import yaml
from holders import worked_in

from retdm.errors import UserError
from retdm.files import write_json
from retdm.runs.folder.paths import SWEEP, Busy, RunFolder
from retdm.runs.folder.plan import plan, threshold_before
from retdm.settings.run_settings import RunSettings

Settings = RunSettings
METRICS = {"test": {}, "validation": None, "test_validation_threshold": None, "per_label": {}, "seconds": 1.0}


@pytest.fixture
def settings(tiny: Callable[..., Settings]) -> Settings:
    return tiny("method=lr")


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    (tmp_path / "run").mkdir()
    return RunFolder(tmp_path / "run")


def begin(folder: RunFolder) -> None:
    """As a run leaves its folder when it is killed inside training."""
    folder.checkpoints.mkdir(exist_ok=True)
    state = {"state_dict": {}, "retdm": {"settings": {}, "identity": {}}}
    torch.save(state, folder.last)
    folder.log.write_text("so far\n")


def finish(folder: RunFolder) -> None:
    begin(folder)
    write_json(folder.metrics, METRICS)


def test_a_run_starts_continues_and_is_left_when_finished(folder: RunFolder, settings: Settings) -> None:
    assert plan(folder, settings) == "start"
    begin(folder)
    assert plan(folder, settings) == "continue"
    finish(folder)
    assert plan(folder, settings) == "finished"
    assert folder.log.read_text() == "so far\n"


@pytest.mark.parametrize("name", ["log.txt", "error.txt", "test.json", "pictures", "checkpoints"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_without_a_runs_config_is_refused_and_left(
    folder: RunFolder, settings: Settings, name: str, overwrite: bool
) -> None:
    mine = folder.path / name if "." in name else folder.path / name / "mine.txt"
    mine.parent.mkdir(exist_ok=True)
    mine.write_text("mine")
    with pytest.raises(UserError, match=f"holds {name} of something else than a run"):
        plan(folder, settings.changed(overwrite=overwrite))
    assert mine.read_text() == "mine"
    assert not folder.config.exists()


def test_what_failed_before_it_left_anything_gives_way_to_other_settings(folder: RunFolder, settings: Settings) -> None:
    plan(folder, settings)
    folder.error.write_text("the labels are wrong")
    assert plan(folder, settings.changed(seed=1)) == "start"
    assert not folder.error.exists()
    begin(folder)
    with pytest.raises(UserError, match="holds a run of other settings: seed: 1 -> 2"):
        plan(folder, settings.changed(seed=2))


def test_a_run_of_another_version_is_told_and_overwrite_clears_it(folder: RunFolder, settings: Settings) -> None:
    plan(folder, settings.changed(overwrite=True))
    begin(folder)
    content = yaml.safe_load(folder.config.read_text())
    folder.config.write_text(yaml.safe_dump(content | {"format": 1, "identity": {"frozen": True}}))
    with pytest.raises(UserError, match=r"config\.yaml was written by another version of retdm"):
        plan(folder, settings.changed(seed=1))
    folder.config.write_text(yaml.safe_dump(content | {"format": 1}))
    assert plan(folder, settings.changed(overwrite=True)) == "start"


@pytest.mark.parametrize("content", ["", "{}", '{"test": {'])
def test_metrics_that_are_not_whole_let_the_run_go_on(folder: RunFolder, settings: Settings, content: str) -> None:
    plan(folder, settings)
    begin(folder)
    folder.metrics.write_text(content)
    assert plan(folder, settings) == "continue"


def test_overwrite_clears_once_and_continues_what_it_began(folder: RunFolder, settings: Settings) -> None:
    anew = settings.changed(overwrite=True)
    plan(folder, settings)
    finish(folder)
    assert plan(folder, anew) == "start"
    assert not folder.checkpoints.exists() and not folder.log.exists()
    begin(folder)
    for _ in range(3):  # killed, and started again by the same command
        assert plan(folder, anew) == "continue"
    assert folder.last.exists()
    assert plan(folder, settings) == "continue"  # by the plain command too,
    assert plan(folder, anew) == "continue"  # which forgets nothing
    finish(folder)
    assert plan(folder, settings) == "finished"
    assert plan(folder, anew) == "start"  # typed again after the end


def test_overwrite_clears_what_another_command_or_other_settings_began(folder: RunFolder, settings: Settings) -> None:
    plan(folder, settings)
    begin(folder)
    assert plan(folder, settings.changed(overwrite=True)) == "start"
    begin(folder)
    assert plan(folder, settings.changed(overwrite=True, seed=1)) == "start"


def test_overwrite_clears_what_cannot_be_continued(folder: RunFolder, settings: Settings) -> None:
    anew = settings.changed(overwrite=True)
    plan(folder, anew)
    begin(folder)
    folder.last.write_bytes(folder.last.read_bytes()[:100])
    assert plan(folder, anew) == "start"


def test_a_sweep_that_clears_leaves_what_it_finished_itself(
    folder: RunFolder, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    anew = settings.changed(overwrite=True)
    monkeypatch.setenv(SWEEP, "sweep 1")
    assert plan(folder, anew) == "start"
    finish(folder)
    assert plan(folder, anew) == "finished"
    monkeypatch.setenv(SWEEP, "sweep 2")
    assert plan(folder, anew) == "start"


def test_the_config_is_there_from_the_start_and_says_who_cleared(folder: RunFolder, settings: Settings) -> None:
    plan(folder, settings)
    content = yaml.safe_load(folder.config.read_text())
    assert content["seed"] == 0 and content["cleared_by"] is None and content["provenance"]["packages"]
    plan(folder, settings.changed(overwrite=True))
    assert yaml.safe_load(folder.config.read_text())["cleared_by"] == "a command"


def test_a_link_is_removed_and_not_what_it_leads_to(folder: RunFolder, settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "a.txt").write_text("mine")
    plan(folder, settings)
    folder.checkpoints.symlink_to(tmp_path / "mine")
    assert plan(folder, settings.changed(overwrite=True)) == "start"
    assert not folder.checkpoints.is_symlink()
    assert (tmp_path / "mine" / "a.txt").read_text() == "mine"


def test_the_lock_is_no_way_to_a_file_elsewhere(folder: RunFolder, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    (folder.path / ".lock").symlink_to(tmp_path / "mine")
    with pytest.raises(UserError, match="cannot be written"), folder.locked():
        pass
    assert (tmp_path / "mine").read_text() == "mine"


@pytest.fixture
def held(folder: RunFolder) -> Iterator[RunFolder]:
    """A folder in which another process works."""

    with worked_in(folder):
        yield folder


def test_a_folder_is_busy_while_another_process_works_in_it(held: RunFolder) -> None:
    assert held.busy()
    with pytest.raises(Busy), held.locked():
        pass


def test_a_folder_that_is_not_there_or_not_held_is_not_busy(folder: RunFolder) -> None:
    assert not folder.busy()
    assert not RunFolder(folder.path / "nowhere").busy()
    assert not (folder.path / "nowhere").exists()


def test_a_run_whose_folder_was_removed_says_so(folder: RunFolder, settings: Settings) -> None:
    plan(folder, settings)
    folder.check_there()
    folder.config.unlink()
    with pytest.raises(UserError, match="was removed while the run was at work"):
        folder.check_there()


@pytest.fixture
def refit(tiny: Callable[..., Settings]) -> Settings:
    """A network that decides by validation and learns from it."""
    return tiny("method=asl", "refit=true")


def test_a_refitted_network_takes_the_threshold_that_it_chose_before(refit: Settings) -> None:
    with pytest.raises(UserError, match="cannot choose a threshold on it") as caught:
        threshold_before(refit)
    assert "threshold=<number>" in caught.value.hint and "refit=false" in caught.value.hint
    before = RunFolder(refit.changed(refit=False).folder)
    before.path.mkdir(parents=True)
    write_json(before.metrics, METRICS | {"threshold": 0.0})
    assert threshold_before(refit) == 0.0
    assert threshold_before(refit.changed(threshold=0.25)) == 0.25


def test_a_refitted_network_that_decides_otherwise_needs_no_threshold(tiny: Callable[..., Settings]) -> None:
    assert threshold_before(tiny("method=bce", "refit=true")) is None


def test_a_threshold_that_is_given_makes_another_run_and_none_makes_the_same(refit: Settings) -> None:
    assert refit.changed(threshold=0.25).folder != refit.folder
    assert "threshold" not in refit.identity
