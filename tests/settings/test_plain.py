from collections.abc import Callable

import yaml

from retdm.settings.plain import differences
from retdm.settings.run_settings import RunSettings

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
