"""The settings of a run: what was chosen, the classes it names, and what its results depend on."""

import copy
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import yaml

from retdm.errors import UserError
from retdm.files import file_hash
from retdm.registry import CONF
from retdm.settings.classes import resolve_classes

FORMAT = 3  # of a run's config.yaml; a folder of another one is trained anew
# Where a run keeps its files and how many hands work on it changes no result.
NOT_RESULTS = {"root", "cache", "workers", "download"}


def check_format(content: Mapping[str, Any], where: Path) -> None:
    """Settings that a file of a run holds are of this version. Raises ``UserError``."""
    if content.get("format") != FORMAT:
        raise UserError(
            f"{where} was written by another version of retdm",
            "train anew: the run's command with overwrite=true, or with run=<another folder>",
        )


@dataclass(frozen=True)
class RunSettings:
    """The settings of one run, complete and checked.

    Attributes:
        data, augment, method, backbone, optimizer, trainer, logger: the keys of each group with their values;
            ``backbone`` is empty where the data gives bags, ``optimizer`` where the method is fitted, ``augment`` where
            no image is trained on.
        start: of a network's weights: ``random``, but for those of the backbone; ``frequencies``, so too, but that a
            linear head on the backbone's features gives every image the labels' frequencies; or ``probe``, a logistic
            regression of these features.
        average: share of the starting weights in those that are tested, from 0 to below 1.
        ema: decay of the moving average of the weights that is tested in their place; 0 takes none.
        choices: group -> name of the YAML file that was chosen for it.
        classes: group -> the class that its ``_target_`` names.
        typed: the words of the command that composed them; no word of it changes anything else.
        recorded: the identity that the run's own files hold; None computes it.
        seed, refit, precompute, outputs, run, overwrite, threshold, tags, per_label: as in ``conf/train.yaml``.
    """

    data: dict[str, Any]
    choices: dict[str, str]
    classes: Mapping[str, Any] = field(repr=False)
    method: dict[str, Any] = field(default_factory=dict)
    backbone: dict[str, Any] = field(default_factory=dict)
    augment: dict[str, Any] = field(default_factory=dict)
    optimizer: dict[str, Any] = field(default_factory=dict)
    start: str = "random"
    average: float = 0.0
    ema: float = 0.0
    trainer: dict[str, Any] = field(default_factory=dict)
    logger: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    refit: bool = False
    precompute: bool = False
    outputs: str = "outputs"
    run: str | None = None
    overwrite: bool = False
    threshold: float | None = None
    tags: list[Any] = field(default_factory=list)
    per_label: bool = False
    typed: tuple[str, ...] = field(default=(), repr=False)
    recorded: Mapping[str, Any] | None = field(default=None, repr=False)

    def changed(self, **values: Any) -> "RunSettings":
        """The same settings with other values of some fields; where a ``_target_`` changes, its class is resolved."""
        renamed = [
            group
            for group in self.classes.keys() & values.keys()
            if values[group].get("_target_") != getattr(self, group).get("_target_")
        ]
        return replace(self, **values, classes={**self.classes, **resolve_classes(values, renamed)})

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as ``config.yaml`` and a checkpoint keep them."""
        kept = [each.name for each in fields(self) if each.name not in ("classes", "typed", "recorded")]
        return {"format": FORMAT} | {name: copy.deepcopy(getattr(self, name)) for name in kept}

    @property
    def split(self) -> int:
        """Number of the random split."""
        return int(self.data.get("split", 0))

    @property
    def network(self) -> str:
        """Name of the backbone, with that of the network inside it where it has one."""
        return network_of(self.choices, self.backbone)

    @cached_property
    def identity(self) -> Mapping[str, Any]:
        """All that changes a run's results, and nothing else; its hash names the folder."""
        if self.recorded is not None:
            return self.recorded
        from retdm.backbones import weights_hash  # brings PyTorch

        data = {key: value for key, value in self.data.items() if key not in NOT_RESULTS}
        weights = self.backbone and {"weights": weights_hash(self.classes["backbone"], self.backbone)}
        return {
            "data": {"name": self.choices["data"]} | data | self._user_files(),
            "augment": self.augment,
            "backbone": self.backbone | weights,
            "method": {key: value for key, value in self.method.items() if (key, value) != ("calibrate", "none")},
            "optimizer": self.optimizer,
            "start": self.start,
            "average": self.average,
            "ema": self.ema,
            "seed": self.seed,
            "refit": self.refit,
            "precompute": self.precompute,
            "precision": self.trainer["precision"],
            **({} if self.threshold is None else {"threshold": self.threshold}),
        }

    def _user_files(self) -> dict[str, Any]:
        """Path and content of the user's own files, because different data has the same ``data=csv``."""
        kind = self.classes["data"]
        named = [self.data[key] for key in kind.user_settings if key in self.data]
        if not named:
            return {}
        paths = [path.absolute() for path in kind.user_files(*named)] if None not in named else []
        return {"user_files": {str(path): file_hash(path) if path.is_file() else None for path in paths}}

    @property
    def folder(self) -> Path:
        """``outputs/<data>/<method>/<backbone>-<split>-<hash>``, or ``run``."""
        if self.run is not None:
            return Path(self.run)
        short = hashlib.sha256(json.dumps(self.identity, sort_keys=True).encode()).hexdigest()[:6]
        leaf = f"{self.network}-{self.split}-{short}"
        return Path(self.outputs, self.choices["data"], self.choices["method"], leaf)


def network_of(choices: Mapping[str, Any], backbone: Any) -> str:
    """Name of a network: its choice, as ``vgg16`` or ``dinov2_small``; with the name that it has in timm where the
    choice leaves that open or the command changes it: ``timm_resnet50d``."""
    choice = str(choices["backbone"])
    name = backbone.get("name") if isinstance(backbone, Mapping) else None
    return choice if name in (None, _named_by(choice)) else re.sub(r"[^\w.-]+", "_", f"{choice}_{name}")


@cache
def _named_by(choice: str) -> str | None:
    """The network of timm that a file of conf/backbone stands for; None where it stands for any, or there is none."""
    file = CONF / "backbone" / f"{choice}.yaml"
    content = yaml.safe_load(file.read_text()) if choice != "timm" and file.is_file() else {}
    return content.get("name")
