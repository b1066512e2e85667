"""A run folder is a file that anybody may have written: nothing in it is executed, and what is odd is one line."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from command_line import in_process

import retdm
from retdm.errors import UserError
from retdm.runs.folder.paths import RunFolder, read_config
from retdm.runs.folder.saved import without_places
from retdm.settings.classes import class_of, resolve_classes

Damage = Callable[[Path], None]


@pytest.fixture
def copy(tiny_run: Path, tmp_path: Path) -> Path:
    """A copy of a finished run."""
    return Path(shutil.copytree(tiny_run, tmp_path / "copy"))


def refused(command: str, folder: Path) -> str:
    """The message of a command that must refuse a run folder."""
    done = in_process(command, f"run={folder}")
    assert done.code == 2, done.out
    assert done.err.startswith("error: ") and len(done.err.splitlines()) <= 6
    assert "Traceback" not in done.err + done.out
    assert not (folder / "test.json").exists()
    return done.err


def changed(key: str, value: Any) -> Damage:
    """Sets a dotted key of a folder's ``config.yaml``; None takes it out."""

    def change(folder: Path) -> None:
        content = yaml.safe_load((folder / "config.yaml").read_text())
        *path, last = key.split(".")
        node = content
        for word in path:
            node = node[word]
        node.pop(last)
        if value is not None:
            node[last] = value
        (folder / "config.yaml").write_text(yaml.safe_dump(content))

    return change


# Nothing is executed


@pytest.mark.parametrize("group", ["data", "method", "backbone"])
@pytest.mark.parametrize("target", ["subprocess.Popen", "evil.Source"])
def test_a_foreign_configuration_runs_no_command_and_imports_no_module(
    copy: Path, tmp_path: Path, group: str, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    touched = tmp_path / "touched"
    (tmp_path / "evil.py").write_text(f"import pathlib; pathlib.Path({str(touched)!r}).touch()\nclass Source: ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    changed(group, {"_target_": target, "args": f"touch {touched}", "shell": True})(copy)
    assert f"_target_ '{target}' is not a class of this package" in refused("test.py", copy)
    assert not touched.exists()


def test_own_classes_are_accepted_where_the_command_says_so(copy: Path) -> None:
    changed("data._target_", "makers.PartlyKnown")(copy)
    assert "user_classes=true accepts it" in refused("test.py", copy)
    done = in_process("test.py", f"run={copy}", "user_classes=true")
    assert "the images and labels are not those" in done.err  # it was made, and has other labels


@pytest.mark.parametrize("group", ["method", "backbone"])
def test_a_checkpoint_names_no_class_of_another_kind(copy: Path, group: str) -> None:
    path = copy / "checkpoints" / "best.ckpt"
    content = torch.load(path, weights_only=True)
    content["retdm"]["settings"][group] = {"_target_": "retdm.data.synthetic.source.Synthetic"}
    torch.save(content, path)
    with pytest.raises(UserError, match=f"'retdm.data.synthetic.source.Synthetic' is not a {group}"):
        retdm.load(copy)


@pytest.mark.parametrize(
    ("group", "target", "says"),
    [
        ("data", "subprocess.Popen", "is not a source of images or bags"),
        ("data", "retdm.methods.networks.classifier.Classifier", "is not a source of images or bags"),
        ("method", "subprocess.Popen", "is not a method"),
        ("method", "retdm.backbones.vgg.VGG16", "is not a method"),
        ("backbone", "retdm.methods.networks.classifier.Classifier", "is not a backbone"),
        ("backbone", 0.5, "names no class"),
        ("backbone", ["a"], "names no class"),
    ],
)
def test_what_a_group_names_is_of_that_group_or_is_not_called(group: str, target: Any, says: str) -> None:
    with pytest.raises(UserError, match=says):
        class_of(group, {"_target_": target})


def test_only_a_group_itself_names_a_class() -> None:
    settings = {"data": {"_target_": "retdm.data.synthetic.source.Synthetic", "a": [{"b": {"_target_": "x.Y"}}]}}
    with pytest.raises(UserError, match=r"data\.a\.0\.b\._target_ names a class"):
        resolve_classes(settings, ("data",))


def test_every_choice_that_is_delivered_is_of_its_group() -> None:
    conf = Path(retdm.__file__).parents[1] / "conf"
    for group in ("data", "method", "backbone"):
        for file in sorted((conf / group).glob("*.yaml")):
            config = yaml.safe_load(file.read_text())
            assert "_target_" not in config or class_of(group, config, trusted_only=True), file


def test_a_folder_says_neither_what_is_fetched_nor_where_a_cache_is_made(tmp_path: Path) -> None:
    data = {"download": True, "cache": str(tmp_path / "made")}
    assert without_places(data) == {"download": False, "cache": "outputs/cache"}
    assert without_places({"cache": str(tmp_path)}) == {"cache": str(tmp_path)}


# What is odd is one line


LAUGHS = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12))
MERGES = "b0: &b0 {k: 1}\n" + "".join(f"b{i}: &b{i}\n  <<: [{', '.join([f'*b{i - 1}'] * 9)}]\n" for i in range(1, 12))


@pytest.mark.parametrize(
    "content",
    [
        LAUGHS + "identity: *a11\n",
        LAUGHS + "identity: {}\nextra: *a11\n",
        MERGES + "identity: {}\n",
        "identity: &me {again: *me}\n",
        "identity: {a: " + "[" * 3000 + "]" * 3000 + "}\n",
        "identity: {a: " + "1" * 9000 + "}\n",
        "identity: {}\nb: " + "x" * 2_000_000,
        "identity: [1, 2]\n",
        "",
        "\xff",
        "a: [",
    ],
    ids=["laughs", "laughs beside", "merges", "itself", "deep", "number", "long", "list", "empty", "latin", "cut"],
)
def test_a_configuration_that_no_run_wrote_is_told_at_once(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.yaml").write_text(content, encoding="latin-1")
    with pytest.raises(UserError, match=r"config\.yaml is not a run's config\.yaml"):
        read_config(RunFolder(tmp_path))


def test_aliases_as_a_run_writes_them_are_read(copy: Path) -> None:
    content = read_config(RunFolder(copy))
    shared = yaml.safe_dump({**content, "again": content["identity"]})
    assert "*id" in shared
    (copy / "config.yaml").write_text(shared)
    assert read_config(RunFolder(copy))["again"] == content["identity"]


def cut(name: str) -> Damage:
    def cut_in_half(folder: Path) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) // 2])

    return cut_in_half


def other_weights(folder: Path) -> None:
    path = folder / "checkpoints" / "best.ckpt"
    content = torch.load(path, weights_only=True)
    content["state_dict"].pop(next(iter(content["state_dict"])))
    torch.save(content, path)


def other_run(folder: Path) -> None:
    path = folder / "checkpoints" / "best.ckpt"
    content = torch.load(path, weights_only=True)
    content["retdm"]["identity"]["seed"] = 1
    torch.save(content, path)


def older_run(folder: Path) -> None:
    path = folder / "checkpoints" / "best.ckpt"
    content = torch.load(path, weights_only=True)
    content["retdm"].pop("identity")
    torch.save(content, path)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (changed("choices", None), "config.yaml: choices does not name data, method and backbone"),
        (changed("seed", None), "config.yaml: seed is missing"),
        (changed("trainer", None), "config.yaml: trainer is missing"),
        (changed("trainer.precision", 3), "config.yaml: trainer.precision=3 is not one of auto"),
        (changed("data", [1]), "config.yaml: data=[1] is not names with values"),
        (changed("backbone._target_", 0.5), "config.yaml: _target_ 0.5 names no class"),
        (changed("data.batch_size", "x"), "config.yaml: data.batch_size=x is not a whole number"),
        (changed("method.k", "x"), "config.yaml: method.k=x is not a whole number"),
        (cut("split.json"), "split.json is not JSON"),
        (lambda folder: (folder / "split.json").unlink(), "has no split.json"),
        (other_weights, "best.ckpt: its weights do not fit its settings"),
        (other_run, "best.ckpt is of another run than its folder: seed: 0 -> 1"),
        (older_run, "best.ckpt is not a checkpoint of retdm"),
        (changed("format", None), "config.yaml was written by another version of retdm"),
    ],
)
def test_a_damaged_run_is_told_of_in_one_line(copy: Path, damage: Damage, says: str) -> None:
    damage(copy)
    assert says in refused("test.py", copy)


def test_a_run_is_loaded_only_with_a_checkpoint_of_its_own(copy: Path) -> None:
    other_run(copy)
    with pytest.raises(UserError, match=r"best\.ckpt is of another run than its folder: seed: 0 -> 1"):
        retdm.load(copy)


@pytest.mark.parametrize(("key", "value"), [("labels", "cat"), ("labels", None), ("dim", "x"), ("image_size", 1.5)])
def test_a_checkpoint_that_says_nonsense_of_itself_is_told(copy: Path, key: str, value: Any) -> None:
    path = copy / "checkpoints" / "best.ckpt"
    content = torch.load(path, weights_only=True)
    content["retdm"][key] = value
    torch.save(content, path)
    with pytest.raises(UserError, match=f"best.ckpt: {key} is not what a run writes there"):
        retdm.load(copy)


@pytest.mark.parametrize("content", ["", "{}", "[1", '{"test": {}}'])
def test_metrics_that_are_not_whole_finish_nothing(tmp_path: Path, content: str) -> None:
    (tmp_path / "metrics.json").write_text(content)
    assert not RunFolder(tmp_path).finished


def test_whole_metrics_finish_a_run(copy: Path) -> None:
    assert RunFolder(copy).finished
    assert json.loads((copy / "metrics.json").read_text())["seconds"] >= 0
