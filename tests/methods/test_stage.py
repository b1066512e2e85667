from dataclasses import replace
from typing import Any

import pytest

from retdm.errors import UserError
from retdm.methods.stage import Stage, parse_stages

WHOLE: dict[str, Any] = {
    "name": "joint",
    "train": ["encoder", "classifier"],
    "losses": ["classification"],
    "lr": 0.1,
    "rule": "one_cycle",
    "max_epochs": 3,
}


def test_stages_are_parsed_in_their_order_and_with_their_defaults() -> None:
    first = {key: value for key, value in WHOLE.items() if key != "rule"} | {"name": "first", "patience": 4}
    assert parse_stages([first, WHOLE]) == [
        Stage("first", ("encoder", "classifier"), ("classification",), 0.1, 3, "plateau", 4),
        Stage("joint", ("encoder", "classifier"), ("classification",), 0.1, 3, "one_cycle", 2),
    ]


def test_a_stage_of_no_epochs_is_left_out() -> None:
    parsed = parse_stages([WHOLE | {"name": "none", "max_epochs": 0}, WHOLE])
    assert [stage.name for stage in parsed] == ["joint"]


def test_a_stage_is_as_long_as_its_least_steps_need() -> None:
    stage = replace(parse_stages([WHOLE])[0], min_steps=20)
    assert [stage.lengthened(steps).max_epochs for steps in (1, 3, 6, 7, 20, 100)] == [20, 7, 4, 3, 3, 3]
    assert parse_stages([WHOLE])[0].lengthened(1) == parse_stages([WHOLE])[0]


@pytest.mark.parametrize(
    "stages, reason",
    [
        ([WHOLE | {"inputs": "features"}], "the stage would train"),
        ([WHOLE, WHOLE | {"name": "later", "train": ["classifier"], "inputs": "features"}], "an earlier stage has"),
    ],
)
def test_features_are_those_of_the_start_and_no_stage_may_read_them_that_changes_them(
    stages: list[dict[str, Any]], reason: str
) -> None:
    with pytest.raises(UserError, match=f"inputs=features are those of the backbone at the start, which {reason}"):
        parse_stages(stages)
    assert parse_stages([WHOLE | {"train": ["classifier"], "inputs": "features"}, WHOLE | {"name": "later"}])


@pytest.mark.parametrize("key", ["train", "losses", "lr", "max_epochs"])
def test_a_missing_setting_is_named_with_the_schedules_key(key: str) -> None:
    for given in (WHOLE | {key: None}, {name: value for name, value in WHOLE.items() if name != key}):
        with pytest.raises(UserError, match=f"stage joint: {key} is not set") as error:
            parse_stages([given])
        assert f"schedule.joint.{key}" in error.value.hint


def test_two_stages_of_one_name_are_refused_for_their_best_checkpoints_would_share_a_file() -> None:
    with pytest.raises(UserError, match="two stages are called joint"):
        parse_stages([WHOLE, WHOLE])
