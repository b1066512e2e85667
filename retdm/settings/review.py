"""Settings of ``retdm review``, checked before PyTorch is imported, and as those of a run."""

from collections.abc import Mapping
from typing import Any

from retdm.batch import BagBatch
from retdm.errors import UserError
from retdm.registry import CONF
from retdm.settings.checks import check_command, check_group
from retdm.settings.classes import class_of, resolve_classes
from retdm.settings.compose import cache_folder, place
from retdm.settings.declared import is_ours, lineage
from retdm.settings.first_choice import size_images
from retdm.settings.run_settings import RunSettings
from retdm.settings.timm_names import check_timm

ON_FEATURES = "retdm.methods.on_features.base.FeatureMethod"  # by name: the class needs PyTorch
CHANGED = {"observe": None, "unlabelled": "unknown"}  # settings of labels to train on, and what leaves them


def check_review(asked: dict[str, Any], choices: Mapping[str, Any]) -> None:
    """Check the settings, but for those of classes of the user's own.

    Args:
        asked: as composed.
        choices: group -> name of its YAML file.

    Raises:
        UserError: a key is unknown, a value cannot be, the data has no images, its labels would be hidden or filled in,
            or the method is not fitted to features of whole images.
    """
    check_command("review", asked, choices)
    data = class_of("data", asked["data"])
    if data.gives is BagBatch:
        raise UserError(
            f"data={choices['data']} gives bags of features, and what is reviewed are images", "data=<a set of images>"
        )
    cache_folder(asked["data"], asked["outputs"])
    check_group("data", asked["data"], data, choices)
    for key, meaning in CHANGED.items():
        if (value := asked["data"].get(key, meaning)) != meaning:
            raise UserError(
                f"data.{key}={value} changes the labels of the training split, and a review is of those in the table",
                "leave it out",
            )
    for group in ("backbone", "method"):
        target = asked[group].get("_target_")
        if is_ours(target):
            check_group(group, asked[group], target, choices)
    method = asked["method"]
    if method and ON_FEATURES not in (each.target for each in lineage(str(method.get("_target_")))):
        raise UserError(
            f"method={choices['method']} is not fitted to features of whole images, and would be trained for hours",
            f"leave it out (a logistic regression), or choose among: {', '.join(sorted(_on_features()))}",
        )
    check_timm(asked["backbone"], asked["data"], choices)


def review_settings(asked: dict[str, Any], choices: Mapping[str, Any]) -> RunSettings:
    """The checked settings as those of a run, whose features and image cache they share."""
    from retdm.settings.devices import device_named, precision  # brings PyTorch

    groups = [group for group in ("data", "backbone", "method") if asked[group]]
    classes = resolve_classes(asked, groups)
    for group, kind in classes.items():
        check_group(group, asked[group], kind, choices)
    place(asked["data"], classes["data"])
    accelerator = {"cpu": "cpu", "cuda": "gpu"}[device_named(asked["device"])]
    size_images(asked["data"], classes["data"], accelerator)
    trainer = {"accelerator": accelerator, "devices": 1, "num_nodes": 1}
    return RunSettings(
        data=asked["data"],
        choices={group: str(choices[group]) for group in groups},
        classes=classes,
        method=asked["method"],
        backbone=asked["backbone"],
        trainer=trainer | {"precision": precision(asked["precision"], accelerator)},
        seed=asked["seed"],
        outputs=asked["outputs"],
    )


def _on_features() -> set[str]:
    """Names of the methods of conf/method that are fitted to features of whole images."""
    found = set()
    for file in (CONF / "method").glob("*.yaml"):
        target = next((line.split()[1] for line in file.read_text().splitlines() if line.startswith("_target_:")), "")
        if ON_FEATURES in (each.target for each in lineage(target)):
            found.add(file.stem)
    return found
