"""A setting by its former name is an error that gives the present one, wherever it is written."""

import shutil
from pathlib import Path

import pytest
from command_line import check_message, in_process
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException

from retdm import registry
from retdm.errors import UserError
from retdm.runs.errors import as_user_error
from retdm.settings.compose import compose_settings
from retdm.settings.renamed import RENAMED

HEAD = "# @package _global_\n"


@pytest.mark.parametrize("former", [word for word in RENAMED if word.startswith(("experiment=", "schedule="))])
def test_a_present_choice_composes_and_the_former_does_not(former: str) -> None:
    compose_settings(RENAMED[former].split())
    GlobalHydra.instance().clear()
    with pytest.raises(HydraException):
        compose_settings([former])


@pytest.mark.parametrize(
    ("word", "says", "hint"),
    [
        ("frozen=true", "frozen is not a setting", "it is precompute now"),
        ("+frozen=true", "frozen has another name", "it is precompute now"),
        ("data.faults=skip", "data.faults is not a setting", "it is data.on_unreadable now"),
        ("+method.lr_factor.image_net=0.1", "method.lr_factor.image_net has another", "it is method.lr_factor.encoder"),
        ("method=l1lr method.grid=[1]", "method.grid is not a setting", "it is method.tune now"),
        ("method=bce method.grid=2", "method.grid is not a setting", "method.grid is a setting of method="),
        ("method=kisar method.candidates=[1]", "method.candidates is not a setting", "it is method.tune now"),
        ("schedule=frozen", "there is no schedule named frozen", "it is schedule=precomputed now"),
        ("experiment=scene_bce", "there is no experiment named scene_bce", "it is experiment=scene method=bce now"),
    ],
)
def test_on_the_command_line(word: str, says: str, hint: str) -> None:
    GlobalHydra.instance().clear()
    with pytest.raises((HydraException, UserError)) as raised:
        compose_settings(word.split())
    told = as_user_error(raised.value)
    assert told is not None and says in told.message and hint in told.hint


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("check", "frozen=true"), "frozen is not a setting\n  there are: augment, data, out, outputs, seed"),
        (("check", "+frozen=true"), "frozen is not a setting of check\n  there are: augment, data, out, outputs, seed"),
        (("check", "data.faults=skip"), "data.faults is not a setting\n  it is data.on_unreadable now"),
        (("test", "+own_classes=true"), "own_classes has another name\n  it is user_classes now"),
    ],
)
def test_of_another_command_the_present_name_is_no_help(words: tuple[str, ...], says: str) -> None:
    assert says in check_message(in_process(*words))


@pytest.mark.parametrize(
    ("file", "content", "says"),
    [
        (
            "experiment/own.yaml",
            HEAD + "frozen: true",
            "conf/experiment/own.yaml: frozen has another name",
        ),
        (
            "experiment/own.yaml",
            HEAD + "data: {faults: skip}",
            "conf/experiment/own.yaml: data.faults has",
        ),
        ("method/own.yaml", "defaults: [bce]\nmomentum: 0.9", "conf/method/own.yaml: method.momentum has another name"),
        (
            "method/own.yaml",
            "defaults: [bce]\nstages: [{name: end_to_end, train: [image_net, classifier], losses: [classification]}]",
            "method.stages.train=image_net has another name",
        ),
    ],
)
def test_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, content: str, says: str) -> None:
    conf = Path(shutil.copytree(registry.CONF, tmp_path / "conf"))
    (conf / file).write_text(content + "\n")
    monkeypatch.setattr(registry, "CONF", conf)
    with pytest.raises(UserError) as raised:
        compose_settings([f"{Path(file).parent}=own"])
    assert raised.value.message.startswith(says) and raised.value.hint.startswith("it is ")
