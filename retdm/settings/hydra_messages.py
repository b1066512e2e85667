"""Hydra's errors in the words of whoever typed the command, with what to write instead."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import MISSING, fields

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError

from retdm.decisions import rule_of
from retdm.errors import UserError
from retdm.methods.stage import START, Stage
from retdm.registry import CONF, close_names, files_of, nearest
from retdm.settings.plain import flat
from retdm.settings.renamed import renamed

HELP = "--help lists what can be chosen"
BY_COMPONENT = ("method.lr_factor", "method.clip")  # mappings of which the YAML files name few components or none
OF_A_STAGE = {field.name for field in fields(Stage) if field.default is not MISSING}  # which a schedule may leave out
OF_RULES = ("method.decide", "decide")  # settings that are decision rules
CHOSEN = re.compile(r"(?:Multiple values for |force-add of config groups is not supported: '\++)(\w+)")
NO_NAME = "Config group override must be a string or a list. Got "  # a ValueError, of ``method=3``


def explained(error: BaseException) -> UserError:
    """Hydra's or OmegaConf's error as one of ours, with what to write instead."""
    if str(error).startswith(NO_NAME):
        kind = str(error).removeprefix(NO_NAME).replace("NoneType", "null")
        return UserError(f"data, method, backbone and other choices are made by name, not by {kind}", HELP)
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, name = error.missing_cfg_file.rpartition("/")
        hint = renamed(f"{group}={name}", [group]) or nearest(name, list(error.options or []))
        return UserError(f"there is no {group or 'config'} named {name}", hint)
    if isinstance(error, OverrideParseException):
        return _unreadable(error.override)
    cause = error.__cause__
    if isinstance(error, HydraException) and isinstance(cause, ConfigAttributeError | ConfigKeyError):
        return _unknown_key(str(cause.full_key), cause.parent_node)
    if found := re.match(r"Could not override '(.+)'\. No match in the defaults list", str(error)):
        return UserError(f"{found[1]}=<name> is no choice of this command", HELP)
    if found := CHOSEN.match(str(error)):
        return UserError(f"{found[1]} is chosen already", f"{found[1]}=<name>, without a plus sign, chooses another")
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    lines = [line for line in lines if not line.startswith(("full_key", "object_type", "Set the environment"))]
    if lines and lines[0].startswith("Ambiguous value for argument '"):
        return _unreadable(lines[0].removeprefix("Ambiguous value for argument '").rstrip("'"))
    return UserError(" ".join(lines[:3]), HELP)


def _unreadable(word: str) -> UserError:
    """The error of a word that Hydra cannot parse; where quotes would mend it, the hint has them."""
    key, sign, value = word.partition("=")
    if not sign or not key:
        return UserError(f"{word}: a setting is written <key>=<value>", HELP)
    if key in OF_RULES and ">" in value:  # a wish such as precision>=.9
        try:
            rule_of(value)
        except UserError as error:
            return UserError(f"{word} is not known", error.hint)
    mended = f"{key}={quoted(value)}"
    try:
        OverridesParser.create().parse_override(mended)
    except HydraException:
        return UserError(f"{word}: {key} is no name of a setting", HELP)
    several = f"; as several runs: -m {word}" if "," in value else ""
    return UserError(f"{word} cannot be read as it stands", f"quote the value: {shlex.quote(mended)}{several}")


def quoted(value: str) -> str:
    """A value as one text of Hydra's grammar, whatever is in it; quotes around it are replaced."""
    escaped = value.strip("\"'").replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _unknown_key(full_key: str, parent: object) -> UserError:
    """The error of an unknown key: the choices that have it, or keys like it. Hydra would always advise to add it with
    a plus sign; here that is said of the keys alone which are accepted then."""
    message = f"{full_key} is not a setting"
    here = [str(key) for key in parent if key != "hydra"] if isinstance(parent, DictConfig) else []
    known = [str(key) for key in _root(parent)] if isinstance(parent, DictConfig) else []
    if hint := renamed(full_key, known, here):
        return UserError(message, hint)
    group, _, rest = full_key.rpartition(".")
    near = close_names(rest, here)
    if near:
        return UserError(message, nearest(rest, here))
    left_out = (group == "schedule" and rest in START) or (group.startswith("schedule.") and rest in OF_A_STAGE)
    if group in BY_COMPONENT or left_out:
        return UserError(f"{full_key} is not set yet", f"add it with a plus sign: +{full_key}=<value>")
    if isinstance(parent, DictConfig) and "_target_" in parent and (owners := _owners(group, rest)):
        return UserError(message, owners)
    if isinstance(parent, DictConfig):
        keys = {path: path.rpartition(".")[2] for path in _paths(_root(parent))}
        exact = {key for key in keys.values() if key == rest}
        part = {key for key in keys.values() if rest in key.split("_")}
        alike = exact or part | set(close_names(rest, keys.values()))
        if found := [path for path, key in keys.items() if key in alike]:
            return UserError(message, "did you mean " + " or ".join(found[:4]) + "?")
    return UserError(message, nearest(rest, here))


def _owners(group: str, key: str) -> str:
    """``data.root is a setting of data=csv, scene`` where other choices of the group have this key or one like it."""
    having: dict[str, list[str]] = {}
    for file in sorted((CONF / group).glob("*.yaml")) if group and "." not in group else ():
        for each in {str(key) for part in files_of(group, file.stem) for key in OmegaConf.load(part)} - {"defaults"}:
            having.setdefault(each, []).append(file.stem)
    near = close_names(key, having, most=1)
    if not near:
        return ""
    owners = having[near[0]]
    return f"{group}.{near[0]} is a setting of {group}={', '.join(owners[:8])}{', …' if len(owners) > 8 else ''}"


def _root(node: DictConfig) -> DictConfig:
    root = node._get_root()
    assert isinstance(root, DictConfig)
    return root


def _paths(config: DictConfig) -> Iterator[str]:
    """Dotted paths of all settings; of a schedule's stages those that the method has."""
    content = OmegaConf.to_container(config, resolve=False)
    assert isinstance(content, dict)
    stages = [stage["name"] for stage in content.get("method", {}).get("stages", [])]
    content["schedule"] = {name: keys for name, keys in content.get("schedule", {}).items() if name in stages}
    content.pop("hydra", None)
    yield from (path for path, _ in flat(content))
