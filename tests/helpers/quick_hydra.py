"""Hydra as it is in tests: what the files of ``conf`` compose to is kept, by what was chosen of them."""

import contextlib
import copy
import pickle
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hydra._internal import config_loader_impl
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository
from hydra._internal.defaults_list import DefaultsList, Overrides
from hydra._internal.hydra import Hydra
from hydra.plugins.config_source import ConfigResult
from omegaconf import DictConfig

from retdm.registry import CONF

FIXED = {str(CONF), "hydra.conf", ""}  # places of files that no test changes: the project's and Hydra's own
_load = ConfigRepository.load_config
_list = config_loader_impl.create_defaults_list
_compose = ConfigLoaderImpl._compose_config_from_defaults_list


def are_fixed(repo: Any) -> bool:
    """Whether nothing of the user's own is among what Hydra reads."""
    return {source.path for source in repo.get_sources()} <= FIXED


@contextlib.contextmanager
def quick_composition() -> Iterator[None]:
    """Hydra reads each file once, puts the same files together once, and does not compose a command's settings twice.

    Values of the command are set anew each time, by Hydra. The second composition is to see whether they set
    ``hydra.mode``, which nothing here does.
    """
    files: dict[str, bytes] = {}
    lists: dict[str, DefaultsList] = {}
    configs: dict[str, bytes] = {}

    def load(self: ConfigRepository, config_path: str) -> ConfigResult | None:
        if not are_fixed(self):
            return _load(self, config_path)
        if config_path not in files:
            files[config_path] = pickle.dumps(_load(self, config_path))
        found: ConfigResult | None = pickle.loads(files[config_path])
        return found

    def defaults_list(
        repo: Any, config_name: str | None, overrides_list: Any, prepend_hydra: bool, skip_missing: bool
    ) -> DefaultsList:
        if not are_fixed(repo):
            return _list(repo, config_name, overrides_list, prepend_hydra, skip_missing)
        words = Overrides(repo=repo, overrides_list=overrides_list)
        chosen = [words.override_choices, words.append_group_defaults, words.deletions]
        key = repr([config_name, prepend_hydra, skip_missing, chosen])
        if key not in lists:
            lists[key] = _list(repo, config_name, overrides_list, prepend_hydra, skip_missing)
        found = lists[key]
        return replace(found, config_overrides=words.config_overrides)

    def config(self: ConfigLoaderImpl, defaults: Any, repo: Any) -> DictConfig:
        if not are_fixed(repo):
            return _compose(self, defaults, repo)
        key = repr(defaults)
        if key not in configs:
            configs[key] = pickle.dumps(_compose(self, defaults, repo))
        found: DictConfig = pickle.loads(configs[key])
        return found

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(ConfigRepository, "load_config", load)
        patched.setattr(ConfigRepository, "__deepcopy__", lambda self, memo: copy.copy(self), raising=False)
        patched.setattr(config_loader_impl, "create_defaults_list", defaults_list)
        patched.setattr(ConfigLoaderImpl, "_compose_config_from_defaults_list", config)
        patched.setattr(Hydra, "get_mode", lambda self, config_name, overrides: None)
        yield


@contextlib.contextmanager
def plain_hydra() -> Iterator[None]:
    """Hydra as it is for users, within :func:`quick_composition`."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(ConfigRepository, "load_config", _load)
        patched.setattr(config_loader_impl, "create_defaults_list", _list)
        patched.setattr(ConfigLoaderImpl, "_compose_config_from_defaults_list", _compose)
        yield
