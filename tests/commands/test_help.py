"""Help on one choice: its own YAML file and those that it shares with others."""

import os
import re
import subprocess
import sys

import pytest
import yaml
from command_line import check_message, in_process
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from retdm.__main__ import COMMANDS
from retdm.commands.help import first_comment, help_of, usage
from retdm.registry import CONF
from retdm.settings.compose import compose_settings

SETS = sorted(file.stem for file in (CONF / "data").glob("*.yaml"))


@pytest.mark.parametrize("name", SETS)
def test_help_on_a_data_set_shows_each_of_its_settings_once_with_its_value(name: str) -> None:
    shown = yaml.safe_load("\n".join(help_of("train", [f"data={name}"]).split("\n\n")[1].splitlines()))
    settings = compose_settings([f"data={name}", "method=lr", "schedule=short"]).data
    assert shown.keys() == settings.keys()
    computed = {"root", "cache", "side", "image_size"}
    assert {key: shown[key] for key in shown.keys() - computed} == {
        key: settings[key] for key in shown.keys() - computed
    }


def test_help_on_a_choice_that_changes_another_shows_its_value_first() -> None:
    shown = help_of("train", ["method=retdm_oneway"])
    assert "\n  mu: 0.0\n" in shown and shown.count("\n  mu: ") == 1 and "embedding_dim: 512" in shown


def test_help_and_sweeps_list_the_data_sets_and_no_shared_file() -> None:
    words = help_of("train").split("data sets (data=…)")[1].split("augmentations of")[0]
    assert [line.split()[0] for line in words.splitlines() if line.startswith("  ") and line[2] != " "] == SETS
    with initialize_config_dir(str(CONF), version_base="1.3"):
        assert GlobalHydra.instance().config_loader().get_group_options("data") == SETS  # as data=glob(*) asks for them


GROUPS = ("method", "data", "augment", "backbone", "optimizer", "schedule", "trainer", "experiment")


def names_of(group: str) -> list[str]:
    return sorted(file.stem for file in (CONF / group).glob("*.yaml"))


@pytest.mark.parametrize("group", GROUPS)
def test_help_gives_every_choice_a_line_that_says_what_it_is(group: str) -> None:
    words = " ".join(help_of("train").split())
    for name in names_of(group):
        said = first_comment(CONF / group / f"{name}.yaml")
        assert len(said) > 10, f"conf/{group}/{name}.yaml has no first comment"
        assert " ".join([name, *said.split()]) in words


def test_help_is_as_wide_as_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    body = help_of("train").split("examples")[0].splitlines()[3:]
    assert max(map(len, body)) <= 80


@pytest.mark.parametrize("command", COMMANDS)
def test_help_says_what_a_command_does_how_it_is_typed_and_what_it_takes(command: str) -> None:
    text = help_of(command)
    assert f"  {command:<9} {text.splitlines()[0]}" in usage(COMMANDS)
    assert f"\n  retdm {command} " in text
    file = CONF / f"{command}.yaml"
    keys = (
        set(yaml.safe_load(file.read_text())) - {"defaults", "hydra"} if file.exists() and command != "train" else set()
    )
    assert keys <= set(re.findall(r"^  (\w+):", text, re.MULTILINE))


def test_help_is_there_before_anything_heavy_is_imported() -> None:
    program = (
        "import sys\n"
        "from retdm.__main__ import COMMANDS, run\n"
        "sys.argv = ['retdm', '--help']\n"
        "for command in COMMANDS:\n"
        "    try: run(command)\n"
        "    except SystemExit as end: assert not end.code\n"
        "assert not {'torch', 'hydra', 'numpy', 'omegaconf'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("method=retdm", ["temperature: 0.2", "divides the distances too", "lr_factor: component, or"]),
        ("data=csv", ["stratified: false", "One line an image", "image_column: the column of"]),
        ("augment=strong", ["mixup: 0.0", "scale: 0.35", "alpha of CutMix", "least share of the image"]),
        ("schedule=short", ["joint: {lr: 0.005"]),
    ],
)
def test_help_for_one_choice_shows_its_settings_and_what_they_mean(word: str, says: list[str]) -> None:
    text = help_of("train", ["--help", word])
    assert [each for each in says if each not in text] == []


def test_help_on_a_choice_that_is_not_there_names_the_nearest_and_fails() -> None:
    done = in_process("train.py", "--help", "method=bec")
    assert check_message(done).startswith("error: there is no method named bec\n  did you mean bce? there are: ")


def test_help_whose_reader_is_gone_ends_without_a_traceback() -> None:
    words = [sys.executable, "-m", "retdm", "report", "--help"]
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as closed:
        done = subprocess.run(words, stdout=closed, stderr=subprocess.PIPE, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
