"""The classes that the groups of a run's settings name: data a source, method a method, backbone a backbone."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from retdm.errors import UserError
from retdm.registry import resolve
from retdm.settings.declared import parameters_of

EXAMPLES = {
    "data": "retdm.data.user.csv_labels.CsvLabels",
    "augment": "retdm.data.augment.Light",
    "method": "retdm.methods.networks.classifier.Classifier",
    "backbone": "retdm.backbones.vgg.VGG16",
    "optimizer": "retdm.training.optimizers.SGD",
    "logger": "retdm.training.loggers.TensorBoard",
}
KINDS = {
    "data": "not a source of images or bags",
    "augment": "not an augmentation",
    "method": "not a method",
    "backbone": "not a backbone",
    "optimizer": "not the settings of an optimizer",
    "logger": "not the settings of a logger",
}
BASES = {
    "data": "retdm.data.source.Source",
    "augment": "retdm.data.augment.Augmentation",
    "method": "retdm.methods.base.Method",
    "backbone": "retdm.backbones.base.Backbone",
    "optimizer": "retdm.training.optimizers.OptimizerSettings",
    "logger": "retdm.training.loggers.LoggerSettings",
}


def class_of(group: str, config: Mapping[str, Any], *, trusted_only: bool = False) -> Any:
    """The class that a group's ``_target_`` names, known to be of that group before anything of it is called.

    Args:
        group: ``data``, ``augment``, ``method``, ``backbone``, ``optimizer`` or ``logger``.
        config: its settings.
        trusted_only: see :func:`retdm.registry.resolve`.

    Raises:
        UserError: it names none, another kind of thing, or (``trusted_only``) a class outside this package.
    """
    if "_target_" not in config:
        raise UserError(f"{group} has no _target_", f"conf/{group}/<name>.yaml names the class there")
    found = resolve(config["_target_"], trusted_only=trusted_only)
    if not issubclass(found, resolve(BASES[group])):
        raise UserError(
            f"{group}._target_ {config['_target_']!r} is {KINDS[group]}", f"name a class such as {EXAMPLES[group]}"
        )
    return found


def resolve_classes(content: Mapping[str, Any], groups: Iterable[str], *, trusted_only: bool = False) -> dict[str, Any]:
    """Group -> class of each of the groups that names one; nothing inside a group's settings names another.

    Raises:
        UserError: see :func:`class_of`.
    """
    found = {}
    for group in groups:
        if content[group]:
            found[group] = class_of(group, content[group], trusted_only=trusted_only)
            for path in _named_inside(content[group], group):
                raise UserError(f"{path} names a class", f"only {group}._target_ does")
    return found


def source_of(kind: Any, config: Mapping[str, Any]) -> Any:
    """The data set that its group's settings describe, no image of it decoded yet.

    Args:
        kind: its class.
        config: settings of the group, those of loaders among them.
    """
    takes = parameters_of(kind)
    return kind(**{key: value for key, value in config.items() if key in takes and key != "_target_"})


def _named_inside(value: Any, path: str) -> Iterator[str]:
    items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        if key == "_target_" and "." in path:  # not the group's own
            yield f"{path}.{key}"
        yield from _named_inside(item, f"{path}.{key}")
