"""Settings and choices by the names that they had before, and the error that gives the present one."""

import re
from collections.abc import Container, Iterator, Mapping
from typing import Any

from retdm.errors import UserError
from retdm.settings.plain import where_written

# A key, or a key with the value that has another name. What is in a stage goes by ``method.stages.<key>``.
RENAMED = {
    "frozen": "precompute",
    "own_classes": "user_classes",
    "data.faults": "data.on_unreadable",
    "data.keep_pairs_together": "data.group_duplicates",
    "data.difficulties": "data.characteristics",
    "data.characteristics.look_alikes": "data.characteristics.distractors",
    "method.candidates": "method.tune",
    "method.momentum": "optimizer.momentum",
    "method.weight_decay": "optimizer.weight_decay",
    "method.gamma_positive": "method.loss.gamma_positive",
    "method.gamma_negative": "method.loss.gamma_negative",
    "method.clip_negative": "method.loss.clip",
    "method.detach": "method.loss.detach",
    "method.clip.image_net": "method.clip.encoder",
    "method.lr_factor.image_net": "method.lr_factor.encoder",
    "method.stages.train=image_net": "method.stages.train=encoder",
    "schedule=frozen": "schedule=precomputed",
    "experiment=difficulties": "experiment=characteristics",
    **{f"experiment={name}_retdm": f"experiment={name}" for name in ("msrcv2", "mirflickr", "coco", "nuswide")},
    **{
        f"experiment=scene_{method}": f"experiment=scene method={method}"
        for method in ("bce", "asl", "c2ae", "center", "cnn_rnn", "cnn_softmax", "cnn_warp")
    },
    **{
        f"experiment=scene_{method}": f"experiment=scene backbone=vgg16_full method={method}"
        for method in ("lmmo_knn", "mlspl")
    },
    **{
        f"experiment={name}_vgg_{method}": f"experiment={name}_vgg method={method}"
        for name in ("scene", "msrcv2")
        for method in ("lr", "l1lr")
    },
    **{
        f"experiment=table1_{name}_{method}": f"experiment=table1_{name} method={method}"
        for name in ("scene", "msrcv2")
        for method in ("dba", "kisar", "mimlfast", "mimlknn", "mimlsvm", "ranklsim")
    },
}
# Former names, where the present one stands, that are settings of other choices: a ``grid`` of crops.
RENAMED_BESIDE = {"method.grid": "method.tune"}


def renamed(word: str, known: Container[str], beside: Container[str] = ()) -> str | None:
    """A hint at the present name of an unknown ``<key>`` or ``<key>=<value>``; None where it is no former name.

    Args:
        word: the former name.
        known: the groups and settings of the command; None, too, where the present name is of another command.
        beside: the keys that stand beside it.
    """
    names = RENAMED | {former: now for former, now in RENAMED_BESIDE.items() if now.rpartition(".")[2] in beside}
    now = names.get(word, "")
    return f"it is {now} now" if re.split("[.=]", now)[0] in known else None


def refuse_renamed(content: Mapping[str, Any], known: Container[str], choices: Mapping[str, Any]) -> None:
    """Raise ``UserError`` for the first setting that is given by a former name.

    Args:
        content: settings of a command, as composed.
        known: as of :func:`renamed`.
        choices: group -> name of its YAML file, by which the message names the file.
    """
    for path, value, word in _words(content):
        if hint := renamed(word, known):
            raise UserError(f"{where_written(path, choices, value)}{word} has another name", hint)


def _words(content: Any, path: str = "") -> Iterator[tuple[str, Any, str]]:
    """(path, value there, word) for every key and ``<key>=<value>``; a list's items go by the path of the list."""
    if isinstance(content, Mapping):
        for key, value in content.items():
            inner = f"{path}.{key}" if path else str(key)
            yield inner, value, inner
            yield from _words(value, inner)
    elif isinstance(content, list):
        for item in content:
            yield from _words(item, path)
    elif isinstance(content, str):
        yield path, content, f"{path}={content}"
