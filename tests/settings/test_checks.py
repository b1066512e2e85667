import shutil
from pathlib import Path

import pytest
from composing import composed

from retdm import registry
from retdm.errors import UserError
from retdm.registry import CONF
from retdm.settings.compose import compose_settings

# What cannot


@pytest.mark.parametrize(
    "override, message, near",
    [
        ("+method.wieghts=1", "method.wieghts is not a setting of retdm", "did you mean weights?"),
        ("+method.backbone=x", "method.backbone is not a setting of retdm", ""),
        ("+method.width=3", "method.width is not a setting of retdm", ""),
        ("+data.batchsize=4", "data.batchsize is not a setting of synthetic", "did you mean batch_size?"),
        ("+data.source=4", "data.source is not a setting of synthetic", ""),
        ("+backbone.chanels=[8]", "backbone.chanels is not a setting of vgg_small", "did you mean channels?"),
        ("+backbone.load=false", "backbone.load is not a setting of vgg_small", ""),
        ("+trainer.device=1", "trainer.device is not a setting of the trainer", "did you mean devices?"),
        ("+schedule.joint.epochs=1", "schedule.joint.epochs is not a setting of a stage", "did you mean max_epochs?"),
        ("+schedule.jont.lr=1", "schedule.jont is not a setting of schedule from_scratch", "did you mean joint?"),
        ("+sed=1", "sed is not a setting of a run", "did you mean seed?"),
    ],
)
def test_an_unknown_key_is_named_with_the_nearest_there_is(override: str, message: str, near: str) -> None:
    with pytest.raises(UserError) as error:
        composed(override)
    assert error.value.message == message
    assert error.value.hint.startswith(near or "there are: ")


@pytest.fixture
def conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the project's configuration, to spoil."""
    copied = tmp_path / "conf"
    shutil.copytree(CONF, copied)
    monkeypatch.setattr(registry, "CONF", copied)
    return copied


@pytest.mark.parametrize(
    "file, line, key",
    [
        ("method/retdm.yaml", "temprature: 0.2", "method.temprature"),
        ("data/synthetic.yaml", "batchsize: 4", "data.batchsize"),
        ("backbone/vgg_small.yaml", "chanels: [8]", "backbone.chanels"),
        ("trainer/default.yaml", "device: 1", "trainer.device"),
        ("schedule/from_scratch.yaml", "jont: {lr: 0.1}", "schedule.jont"),
        ("experiment/scene_retdm.yaml", "method: {temprature: 0.2}", "method.temprature"),
        ("experiment/scene_retdm.yaml", "sed: 3", "sed"),
    ],
)
def test_an_unknown_key_in_a_file_is_named_with_the_file(conf: Path, file: str, line: str, key: str) -> None:
    with (conf / file).open("a") as opened:
        opened.write(f"\n{line}\n")
    with pytest.raises(UserError) as error:
        compose_settings(["experiment=scene_retdm"] if "experiment" in file else [])
    assert error.value.message.startswith(f"conf/{file}: {key} is not a setting of ")


def test_a_value_that_cannot_be_is_blamed_on_the_file_that_has_it_and_not_on_another(conf: Path) -> None:
    with (conf / "experiment/scene_retdm.yaml").open("a") as opened:
        opened.write("\ndata: {workers: many}\n")
    for word, where in (("experiment=scene_retdm", "conf/experiment/scene_retdm.yaml: "), ("data.workers=many", "")):
        with pytest.raises(UserError) as error:
            compose_settings([word])
        assert error.value.message.startswith(f"{where}data.workers=many is not a whole number")


@pytest.mark.parametrize(
    "override, message",
    [
        ("seed=-1", "seed=-1 is not a whole number of at least 0"),
        ("seed=one", "seed=one is not a whole number"),
        ("method.decide=most", "method.decide=most is not known"),
        ("trainer.precision=16", "trainer.precision=16 is not one of auto, bf16-mixed, 32-true"),
        ("trainer.precision=fp16", "trainer.precision=fp16 is not one of auto"),
        ("schedule.joint.lr=fast", "schedule.joint.lr=fast is not a number"),
        ("schedule.joint.lr=-1", "schedule.joint.lr=-1 is not a number"),
        ("schedule.joint.lr=nan", "schedule.joint.lr=nan is not a number"),
        ("schedule.joint.rule=onecycle", "schedule.joint.rule=onecycle is not one of"),
        ("method.k=0", "method.k=0 is not a whole number of at least 1"),
        ("method.temperature=inf", "method.temperature=inf is not a number"),
        ("method.weights.metric=x", "method.weights.metric=x is not a number"),
        ("backbone.channels=8", "backbone.channels=8 is not a list"),
        ("data.observe=true", "data.observe=True is not text or null"),
        ("threshold=2", "threshold=2 is not a number from 0 to 1 or null"),
        ("trainer.num_nodes=0", "trainer.num_nodes=0 is not a whole number of at least 1"),
        ("trainer.accelerator=tpu", "trainer.accelerator=tpu is not one of auto, cpu, gpu"),
        ("schedule.joint.max_epochs=1.5", "schedule.joint.max_epochs=1.5 is not a whole number"),
        ("backbone._target_=retdm.backbones.vgg.VGG61", "there is no class 'VGG61' in retdm.backbones.vgg"),
    ],
)
def test_a_value_that_cannot_be_is_named(override: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        composed(override)
    assert message in error.value.message


STAGE = "name: end_to_end, train: [encoder, classifier], losses: [classification]"


@pytest.mark.parametrize(
    "written",
    [
        "lr: 0",
        "lr: fast",
        "lr: .inf",
        "max_epochs: 1.5",
        "max_epochs: -1",
        "patience: 0",
        "warmup: 1.5",
        "rule: cosine",
    ],
)
def test_a_value_that_a_method_s_file_gives_a_stage_is_checked(conf: Path, written: str) -> None:
    (conf / "method" / "own.yaml").write_text(f"defaults: [bce]\nstages: [{{{STAGE}, {written}}}]")
    with pytest.raises(UserError, match=f"method.stages.end_to_end.{written.partition(':')[0]}=.* is not"):
        compose_settings(["method=own"])


def test_a_setting_that_a_stage_does_not_have_is_named(conf: Path) -> None:
    (conf / "method" / "own.yaml").write_text(f"defaults: [bce]\nstages: [{{{STAGE}, epochs: 3}}]")
    with pytest.raises(UserError, match="method.stages.end_to_end.epochs is not a setting of a stage") as error:
        compose_settings(["method=own"])
    assert error.value.hint.startswith("did you mean max_epochs?")
