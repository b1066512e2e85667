import functools
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

from retdm import registry
from retdm.backbones import build_backbone
from retdm.batch import BagBatch
from retdm.commands import help
from retdm.errors import UserError
from retdm.registry import CONF, resolve
from retdm.runs import compose
from retdm.runs.build import check_takes
from retdm.runs.compose import compose_settings, precision
from retdm.runs.plain import differences
from retdm.runs.settings import RunSettings

GROUPS = ("method", "data", "backbone", "schedule", "trainer", "experiment")


def choices(group: str) -> list[str]:
    return sorted(file.stem for file in (CONF / group).glob("*.yaml"))


# What can be chosen


@pytest.mark.parametrize("method", choices("method"))
def test_every_method_composes_with_each_stage_complete_and_every_schedule_knows_its_stages(method: str) -> None:
    found = compose_settings([f"method={method}", "schedule=short"])
    assert issubclass(resolve(found.method["_target_"]), torch.nn.Module)
    assert found.choices["method"] == method
    assert "schedule" not in found.as_dict()
    stages = {stage["name"]: stage for stage in found.method.get("stages", [])}
    for schedule in choices("schedule"):
        lengths = yaml.safe_load((CONF / "schedule" / f"{schedule}.yaml").read_text())
        lengths = lengths.get("schedule", lengths)
        for name, stage in stages.items():
            assert {"lr", "rule", "max_epochs"} <= set(lengths[name])
            assert {"name", "train", "losses", "lr", "max_epochs", "rule"} <= set(stage)
            assert schedule != "short" or all(stage[key] == value for key, value in lengths[name].items())


@pytest.mark.parametrize("experiment", choices("experiment"))
def test_every_experiment_composes_and_keeps_to_what_it_says(experiment: str) -> None:
    own = compose_settings([f"experiment={experiment}"])
    check_takes(own)
    for group, name in own.choices.items():
        assert name in (*choices(group), "none")


@pytest.mark.parametrize("experiment", ["scene_bce", "scene_vgg_l1lr", "smoke"])
def test_a_method_on_the_command_line_takes_the_place_of_the_experiments(experiment: str) -> None:
    own = compose_settings([f"experiment={experiment}"])
    found = compose_settings([f"experiment={experiment}", "method=retdm"])
    assert found.choices == own.choices | {"method": "retdm"}


@pytest.mark.parametrize("group", ["data", "backbone", "optimizer", "trainer"])
def test_every_other_choice_composes(group: str) -> None:
    for name in choices(group):
        settings = compose_settings([f"{group}={name}"])
        assert settings.choices[group] == name
        assert (settings.choices["backbone"] == "none") == (settings.classes["data"].gives is BagBatch)


@pytest.mark.parametrize("group", GROUPS)
def test_help_gives_every_choice_a_line_that_says_what_it_is(group: str) -> None:
    words = " ".join(help.help_text().split())
    for name in choices(group):
        said = help.first_comment(CONF / group / f"{name}.yaml")
        assert len(said) > 10, f"conf/{group}/{name}.yaml has no first comment"
        assert " ".join([name, *said.split()]) in words


def test_help_is_as_wide_as_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    body = help.help_text().split("examples")[0].splitlines()[3:]
    assert max(map(len, body)) <= 80


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("method=retdm", ["temperature: 0.2", "divides the distances too", "lr_factor: component, or"]),
        ("data=csv", ["stratified: false", "One line an image", "image_column: the column of"]),
        ("schedule=short", ["joint: {lr: 0.005"]),
        ("method=bec", ["there is no method named bec", "did you mean bce?"]),
    ],
)
def test_help_for_one_choice_shows_its_settings_and_what_they_mean(word: str, says: list[str]) -> None:
    text = help.help_text(["--help", word])
    assert [each for each in says if each not in text] == []


def test_the_cached_side_follows_the_image_size() -> None:
    assert compose_settings(["data=synthetic", "data.image_size=56"]).data["side"] == 64


def test_the_cache_lies_under_outputs_unless_it_is_said() -> None:
    assert compose_settings(["outputs=/somewhere"]).data["cache"] == "/somewhere/cache"
    assert compose_settings(["outputs=/somewhere", "data.cache=/fast"]).data["cache"] == "/fast"


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
        compose_settings([override])
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


@pytest.mark.parametrize(
    "override, message",
    [
        ("seed=-1", "seed=-1 is out of range"),
        ("seed=one", "seed=one is not a whole number"),
        ("method.decide=most", "method.decide=most is not known"),
        ("trainer.precision=16", "trainer.precision=16 is not text"),
        ("trainer.precision=fp16", "trainer.precision=fp16 is not known"),
        ("schedule.joint.lr=fast", "schedule.joint.lr=fast is not a number"),
        ("schedule.joint.max_epochs=1.5", "schedule.joint.max_epochs=1.5 is not a whole number"),
        ("backbone._target_=retdm.backbones.vgg.VGG61", "there is no class 'VGG61' in retdm.backbones.vgg"),
    ],
)
def test_a_value_that_cannot_be_is_named(override: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        compose_settings([override])
    assert message in error.value.message


# Precision


def test_precision_is_chosen_by_what_the_processor_can_do(monkeypatch: pytest.MonkeyPatch) -> None:
    for able, expected in ((True, "bf16-mixed"), (False, "32-true")):
        monkeypatch.setattr(compose, "_has_bfloat16", lambda accelerator, able=able: able)
        assert precision("auto", "cpu") == expected
        assert precision("32-true", "cpu") == "32-true"
        assert precision("bf16-mixed", "cpu") == "bf16-mixed"


@pytest.mark.parametrize("capability, able", [((7, 5), False), ((8, 0), True), ((9, 0), True)])
def test_a_gpu_has_bfloat16_from_ampere_on(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], able: bool
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    assert compose._has_bfloat16("gpu") == compose._has_bfloat16("auto") == able


@pytest.mark.parametrize("flags, able", [("fpu avx512f", False), ("fpu avx512_bf16", True), ("fpu amx_bf16", True)])
def test_a_cpu_has_bfloat16_where_its_flags_say_so(monkeypatch: pytest.MonkeyPatch, flags: str, able: bool) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(Path, "read_text", lambda self: f"model name : any\nflags : {flags}\n")
    assert compose._has_bfloat16("cpu") == compose._has_bfloat16("auto") == able


# The folder's name


SCENE = ["data=scene", "backbone=vgg_small", "trainer.precision=32-true"]


@functools.cache
def name_of(*overrides: str) -> str:
    return compose_settings([*SCENE, *overrides]).folder.name


def test_the_folder_says_data_method_backbone_and_split() -> None:
    folder = compose_settings([*SCENE, "outputs=/runs", "data.split=3", "method=retdm_oneway"]).folder
    assert folder.parent == Path("/runs/scene/retdm_oneway")
    assert folder.name.startswith("vgg_small-3-")
    assert compose_settings([*SCENE, "run=/my/own"]).folder == Path("/my/own")


@pytest.mark.parametrize(
    "overrides",
    [
        ["data.root=/elsewhere"],
        ["data.workers=3"],
        ["data.cache=/fast"],
        ["data.download=true"],
        ["outputs=/elsewhere"],
        ["tags=[mine]"],
        ["overwrite=true"],
        ["per_label=true"],
        ["trainer.devices=2", "trainer.num_nodes=3"],
        ["trainer.accelerator=cpu"],
        ["trainer.checkpoint_steps=7", "trainer.log_every_n_steps=3"],
        ["schedule.end_to_end.lr=0.7"],  # a stage that this method has not
    ],
)
def test_the_name_stays_under_what_changes_no_result(overrides: list[str]) -> None:
    assert name_of(*overrides) == name_of()


@pytest.mark.parametrize(
    "override",
    [
        "seed=1",
        "data.split=1",
        "data.train_size=100",
        "data.batch_size=32",
        "data.image_size=64",
        "data.on_unreadable=skip",
        "data.group_duplicates=near",
        "method=bce",
        "method.k=9",
        "method.weights.metric=0.2",
        "schedule.joint.lr=0.7",
        "schedule.joint.max_epochs=0",
        "schedule.joint.rule=plateau",
        "backbone.channels=[32,64,128]",
        "trainer.precision=bf16-mixed",
    ],
)
def test_the_name_changes_with_what_changes_results(override: str) -> None:
    assert name_of(override) != name_of()


def test_the_name_depends_on_the_content_of_the_weights_and_not_on_their_place(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("a.pt", "b.pt", "c.pt")]
    content = build_backbone({"_target_": "retdm.backbones.vgg.VGGSmall"}).net.state_dict()
    torch.save(content, files[0])
    shutil.copy(files[0], files[1])
    torch.save({name: tensor + 1 for name, tensor in content.items()}, files[2])
    one, copied, other = (name_of(f"backbone.weights={file}") for file in files)
    assert one == copied
    assert len({one, other, name_of()}) == 3


# Differences


def test_differences_are_told_by_key_with_old_and_new() -> None:
    old = {"seed": 0, "data": {"split": 0, "size": 10}, "gone": 1}
    new = {"seed": 1, "data": {"split": 0, "size": 12}, "come": "x" * 50}
    assert differences(old, new) == [
        f"come: None -> {'x' * 37}…",
        "data.size: 10 -> 12",
        "gone: 1 -> None",
        "seed: 0 -> 1",
    ]
    assert differences(old, old) == []


def test_a_difference_within_a_stage_is_told_with_the_stage(tiny: Callable[..., RunSettings]) -> None:
    old, new = (tiny("method=retdm", *more).identity for more in ([], ["schedule.joint.lr=0.3", "method.k=3"]))
    assert differences(old, new) == ["method.k: 10 -> 3", "method.stages.joint.lr: 0.005 -> 0.3"]
    without = old | {"method": old["method"] | {"stages": old["method"]["stages"][:2]}}
    assert differences(old, without)[0].startswith("method.stages.joint: {'name': 'joint'")
    assert differences(old, yaml.safe_load(yaml.safe_dump(dict(old)))) == []  # as config.yaml gives it back


def test_a_users_own_data_is_told_apart_by_its_folder_and_its_labels(tmp_path: Path) -> None:
    def run_folder(root: Path) -> Path:
        return compose_settings(["data=csv", f"data.root={root}", "backbone=vgg_small"]).folder

    roots = [tmp_path / "a", tmp_path / "b"]
    for root in roots:
        root.mkdir()
        (root / "labels.csv").write_text("image,cat\n1.jpg,1\n2.jpg,0\n")
    first = run_folder(roots[0])
    assert run_folder(roots[0]) == first != run_folder(roots[1])
    (roots[0] / "labels.csv").write_text("image,cat\n1.jpg,1\n2.jpg,1\n")
    assert run_folder(roots[0]) != first


def test_an_experiment_may_set_what_belongs_to_the_run_and_the_command_has_the_last_word() -> None:
    assert compose_settings(["experiment=scene_vgg_lr", "backbone.weights=none"]).refit is True
    assert compose_settings(["experiment=scene_vgg_lr", "backbone.weights=none", "refit=false"]).refit is False


def test_the_papers_schedule_has_the_papers_batch_and_rates() -> None:
    settings = compose_settings(["schedule=paper", "data=scene", "data.root=/"])
    assert settings.data["batch_size"] == 256
    stages = settings.method["stages"]
    assert [stage["name"] for stage in stages] == ["classification", "label_embedding", "joint"]
    assert all(stage["lr"] == 0.1 and stage["rule"] == "plateau" for stage in stages)  # a tenth of it is the floor
    assert compose_settings(["schedule=paper", "data.batch_size=32"]).data["batch_size"] == 32
    assert compose_settings([]).data["batch_size"] != 256
