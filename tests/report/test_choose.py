import shlex
from pathlib import Path
from typing import Any

import pytest
from composing import composed
from report_runs import read, write_run

from retdm.errors import UserError
from retdm.report import choose
from retdm.report.choose import choice_tables, command, differences, final, hydra_value, overrides, ranked
from retdm.report.groups import Group
from retdm.report.read import Run

BF16 = "trainer.precision=bf16-mixed"


def make(folder: Path, metric: float, values: dict[int, float | None], criterion: str = "mAP", **more: Any) -> None:
    for split, value in values.items():
        settings = {"weights": {"metric": metric}}
        write_run(folder / f"{metric}-{split}", split, settings=settings, validation={criterion: value}, **more)


@pytest.fixture
def no_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choose, "command", lambda group, splits=(): f"run {group.varied}")


@pytest.mark.usefixtures("no_command")
def test_the_best_by_validation_is_chosen_and_never_by_test(tmp_path: Path) -> None:
    make(tmp_path, 0.1, {0: 0.6, 1: 0.7}, test={"mAP": 0.1})
    make(tmp_path, 0.3, {0: 0.5, 1: 0.6}, test={"mAP": 0.9})
    (table,) = choice_tables(read(tmp_path)[1], "mAP")
    assert [row[0] for row in table.rows] == ["bce · vgg16 · metric=0.1", "bce · vgg16 · metric=0.3"]
    assert table.rows[0][1:] == ["2", ".650 ± .071"]
    assert table.columns[2] == "validation mAP ↑"
    assert table.notes == [
        "Chosen: bce · vgg16 · metric=0.1", "Over the splits: `run {'method.weights.metric': 0.1}`",
        "Split 0,1 by its own images: bce · vgg16 · metric=0.1 `run {'method.weights.metric': 0.1}`",
    ]  # fmt: skip


def test_each_split_chooses_by_its_own_images_and_one_split_alone_is_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choose, "command", lambda group, splits=(): f"{group.varied} on {splits}")
    make(tmp_path / "more", 0.1, {0: 0.9, 1: 0.5, 2: 0.9})
    make(tmp_path / "more", 0.3, {0: 0.5, 1: 0.6, 2: 0.4})
    (table,) = choice_tables(read(tmp_path / "more")[1], "mAP")
    assert [note.split("`")[1] for note in table.notes[2:]] == [
        "{'method.weights.metric': 0.1} on [0, 2]", "{'method.weights.metric': 0.3} on [1]",
    ]  # fmt: skip
    make(tmp_path / "one", 0.1, {0: 0.9})
    make(tmp_path / "one", 0.3, {0: 0.5})
    (table,) = choice_tables(read(tmp_path / "one")[1], "mAP")
    assert table.notes[2].startswith("Chosen by images of split 0, most of which other splits test.")


@pytest.mark.parametrize("criterion", ["hamming_loss", "ranking_loss", "coverage", "coverage_normalised", "one_error"])
def test_of_a_loss_the_smallest_is_chosen(tmp_path: Path, criterion: str) -> None:
    make(tmp_path, 0.1, {0: 0.3}, criterion)
    make(tmp_path, 0.3, {0: 0.2}, criterion)
    make(tmp_path, 0.5, {0: None}, criterion)
    found = ranked(read(tmp_path)[1], criterion)
    assert [group.varied["method.weights.metric"] for group in found] == [0.3, 0.1, 0.5]


@pytest.mark.usefixtures("no_command")
def test_settings_run_on_different_splits_are_compared_on_those_they_share(tmp_path: Path) -> None:
    make(tmp_path, 0.1, {0: 0.6, 1: 0.9})
    make(tmp_path, 0.3, {0: 0.7})
    (table,) = choice_tables(read(tmp_path)[1], "mAP")
    assert table.rows[0][0] == "bce · vgg16 · metric=0.3"
    assert table.notes[0] == "Not all were run on the same splits; compared over split 0, which all have."


@pytest.mark.usefixtures("no_command")
def test_settings_that_share_no_split_are_compared_with_a_warning(tmp_path: Path) -> None:
    make(tmp_path, 0.1, {0: 0.6})
    make(tmp_path, 0.3, {1: 0.7})
    (table,) = choice_tables(read(tmp_path)[1], "mAP")
    assert table.rows[0][0] == "bce · vgg16 · metric=0.3"
    assert table.notes[0] == "Not all were run on the same splits; compared each over splits of its own."


@pytest.mark.usefixtures("no_command")
def test_each_method_and_each_data_set_has_its_own_choice(tmp_path: Path) -> None:
    make(tmp_path / "a", 0.1, {0: 0.6})
    make(tmp_path / "b", 0.1, {0: 0.6}, method="retdm")
    make(tmp_path / "c", 0.1, {0: 0.6}, data="msrcv2")
    titles = [table.title for table in choice_tables(read(tmp_path)[1], "mAP")]
    assert titles == ["msrcv2: bce by validation", "scene: bce by validation", "scene: retdm by validation"]


def make_folds(folder: Path, metric: float, values: list[float], split: int = 0) -> None:
    for fold, value in enumerate(values):
        settings = {"weights": {"metric": metric}}
        write_run(folder / f"{metric}-{split}-{fold}", split, fold, settings=settings, validation={"mAP": value})


@pytest.mark.usefixtures("no_command")
def test_a_setting_is_judged_by_its_mean_over_splits_and_folds(tmp_path: Path) -> None:
    make_folds(tmp_path, 0.1, [0.7, 0.8])
    make_folds(tmp_path, 0.1, [0.5, 0.4], split=1)
    make_folds(tmp_path, 0.3, [0.6, 0.5])
    make_folds(tmp_path, 0.3, [0.7, 0.9], split=1)
    (table,) = choice_tables(read(tmp_path)[1], "mAP")
    assert table.rows == [
        ["bce · vgg16 · metric=0.3", "4", ".675 ± .171"], ["bce · vgg16 · metric=0.1", "4", ".600 ± .183"],
    ]  # fmt: skip
    assert table.notes[0] == "Chosen: bce · vgg16 · metric=0.3"


@pytest.mark.usefixtures("no_command")
def test_a_setting_that_lacks_a_fold_is_compared_on_those_it_has(tmp_path: Path) -> None:
    make_folds(tmp_path, 0.1, [0.6, 0.7, 0.99])
    make_folds(tmp_path, 0.3, [0.7, 0.8])
    (table,) = choice_tables(read(tmp_path)[1], "mAP")
    assert table.notes[:2] == [
        "Not all were run on the same folds; compared over split 0 (folds 0, 1), which all have.",
        "Chosen: bce · vgg16 · metric=0.3",
    ]


@pytest.mark.usefixtures("no_command")
def test_runs_that_learned_from_the_validation_part_are_not_chosen_from(tmp_path: Path) -> None:
    make_folds(tmp_path, 0.1, [0.6, 0.7])
    write_run(tmp_path / "final", settings={"weights": {"metric": 0.1}}, refit=True)
    (table,) = choice_tables(read(tmp_path)[1], "mAP")
    assert len(table.rows) == 1
    with pytest.raises(UserError, match="none of these runs has a validation split"):
        choice_tables(read(tmp_path / "final")[1], "mAP")


@pytest.mark.parametrize(
    "words, refit",
    [
        (["experiment=scene_retdm", "method.weights.metric=0.3"], True),
        (["experiment=scene_vgg", "method=lr", "refit=false", "method.C=0.3"], True),
        (["schedule=paper", "method.weights.metric=0.3"], False),
    ],
    ids=["one cycle", "fitted", "plateau"],
)
def test_the_command_leaves_folds_out_and_learns_from_validation_where_the_method_can(
    tmp_path: Path, words: list[str], refit: bool
) -> None:
    chosen, wanted = composed(*words, "data.folds=5", "data.fold=2"), composed(*words)
    run = Run(tmp_path, {**chosen.as_dict(), "identity": chosen.identity})
    printed = shlex.split(command(Group("", [run], {})))
    assert printed[:3] == ["retdm", "train", "-m"] and printed[-1] == "data.split=range(30)"
    assert composed(*printed[3:-1]).identity == {**wanted.identity, "refit": refit}


def test_a_criterion_that_no_run_has_is_an_error_that_lists_them(tmp_path: Path) -> None:
    make(tmp_path, 0.1, {0: 0.6})
    with pytest.raises(UserError, match="choose=pointing_accuracy is not a criterion"):
        choice_tables(read(tmp_path)[1], "pointing_accuracy")


@pytest.mark.parametrize(
    "words, named",
    [
        (
            [
                "schedule=short", "schedule.joint.lr=0.00001", "method.weights.metric=1", "data.train_size=9", "seed=3",
                "+method.lr_factor.encoder=0.1", "trainer.precision=32-true", "outputs='else where'",
            ],
            ["schedule.joint.lr=1e-05", "method.weights.metric=1", "data.train_size=9", "seed=3"],
        ),
        (
            ["experiment=scene", "backbone=vgg_small", "method=bce", "backbone.channels=[8,16]", BF16],
            ["experiment=scene", "backbone=vgg_small", "method=bce", "backbone.channels=[8,16]", BF16],
        ),
        (
            ["method=bce", "augment=light", "augment.scale=0.5", "augment.mixup=0.2", "+schedule.ema=0.9"],
            ["augment=light", "augment.scale=0.5", "augment.mixup=0.2", "++schedule.ema=0.9"],
        ),
        (
            ["schedule=fine_tune", "method=bce", "schedule.average=0.3"],
            ["schedule=fine_tune", "++schedule.average=0.3"],
        ),
        (
            ["data=csv", "data.root='{tmp}/it\\'s mine'", "~method.clip.label_net"],
            ["data=csv", "~method.clip.label_net", "data.image_size=224"],
        ),
        (
            ["data=csv", "data.root='{tmp}/it\\'s mine'", "backbone=vgg_small", "schedule=fine_tune", "optimizer=sgd"],
            ["data=csv", "backbone=vgg_small", "schedule=fine_tune", "optimizer=sgd", "data.image_size=224"],
        ),
        (["data=scene_bags"], ["data=scene_bags"]),
    ],
)  # fmt: skip
def test_the_command_gives_back_the_settings_of_the_run(
    tmp_path: Path, words: list[str], named: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "retdm.settings.devices._has_bfloat16", lambda accelerator: False
    )  # what auto is, on any machine
    (tmp_path / "it's mine").mkdir()
    (tmp_path / "it's mine" / "labels.csv").write_text("image,cat\na.jpg,1\n")
    (tmp_path / "it's mine" / "a.jpg").touch()
    settings = composed(*(word.replace("{tmp}", str(tmp_path)) for word in words), "data.split=3")
    found = overrides(settings.as_dict())
    assert set(named) <= set(found)
    assert not any("split" in word for word in found)
    again = composed(*found, "data.split=3")
    assert again.identity == settings.identity
    assert again.outputs == settings.outputs


def test_the_command_can_be_pasted_into_a_shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choose, "overrides", lambda settings: ["data=csv", "data.root='/my pictures'"])
    make(tmp_path, 0.1, {0: 0.6})
    text = command(read(tmp_path)[1][0])
    assert shlex.split(text) == [
        "retdm", "train", "-m", "data=csv", "data.root='/my pictures'", "data.split=range(30)",
    ]  # fmt: skip


def test_a_choice_that_is_there_no_more_leaves_the_table_without_a_command(tmp_path: Path) -> None:
    make(tmp_path, 0.1, {0: 0.6}, method="long_gone")
    (table,) = choice_tables(read(tmp_path)[1], "mAP")
    assert "there is no method named long_gone" in table.notes[1]


def test_a_setting_that_is_newer_than_the_run_is_left_alone_and_an_entry_of_a_mapping_taken_out() -> None:
    given = {"data.stratified": False, "method.clip.label_net": 1.0, "seed": 0}
    assert differences({"seed": 0}, given) == ["~method.clip.label_net"]


@pytest.mark.parametrize(
    "value, text",
    [(None, "null"), (True, "true"), (0.1, "0.1"), ("none", "none"), ("1e3", "'1e3'"), ("true", "'true'"), ("", "''"),
     ("a b", "'a b'"), ("it's", "'it\\'s'"), ([8, "a,b"], "[8,'a,b']"), ({"x": [1]}, "{x:[1]}")],
)  # fmt: skip
def test_values_are_written_as_hydra_reads_them(value: Any, text: str) -> None:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    assert hydra_value(value) == text
    read_back = OverridesParser.create().parse_override(f"key={text}").value()
    assert (str(read_back) if isinstance(value, str) else read_back) == value


def test_what_a_network_decides_by_after_refit_is_the_mean_of_what_the_folds_chose(tmp_path: Path) -> None:
    for fold, threshold in enumerate((0.0, 0.5)):
        metrics = {"threshold": threshold}
        write_run(tmp_path / str(fold), fold=fold, settings={"decide": "validation"}, metrics=metrics)
    _, (group,) = read(tmp_path)
    assert final(group)["threshold"] == 0.25 and final(group)["refit"]
    for run in group.runs:
        run.config["method"]["decide"] = "half"
    assert "threshold" not in final(group)
