"""Every command printed in README and docs is one that the program takes."""

import re
import shlex
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
from composing import composed
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override
from test_benchmarks import NOT_HERE, SMALLEST

from retdm.batch import Batch
from retdm.commands.report import asked
from retdm.commands.train import train
from retdm.registry import CONF
from retdm.runs.build import check_takes
from retdm.settings.compose import compose_settings

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("[!_]*.md"))]
# What stands for the reader's own in a printed command.
PLACEHOLDERS = {
    "<command>": "report",
    "<file>": "weights.pt",
    "<set>": "scene",
    "<method>": "bce",
    "data=<name>": "data=scene",
    "loss=<name>": "loss=asymmetric",
    "<name>": "bce",
    "<folder>": "folder",
}
TO_BE_WRITTEN = {"method=peak", "method.loss=poly"}  # by the reader of a page; tests/docs/test_snippets.py runs them
COMMAND = re.compile(r"(?:\w+=\S+ )*((?:python (?:train\.py|test\.py|-m retdm (?=\w)|benchmarks/)|retdm (?=[a-z-])).*)")
SHORT = {"retdm train": "python train.py", "retdm test": "python test.py", "retdm": "python -m retdm"}
IN_LINE = re.compile(r"`([^`]+)`")


def printed() -> Iterator[tuple[str, str]]:
    """(page, command) of every command in a block or between backticks, or in a comment before settings."""
    for page in PAGES:
        pieces = page.read_text().replace("\\\n", " ").split("```")  # outside, inside, outside, …
        lines = [line for block in pieces[1::2] for line in block.splitlines()[1:]]
        lines += [" ".join(span.split()) for text in pieces[::2] for span in IN_LINE.findall(text)]
        yield from ((page.name, command) for line in lines for command in commands_of(line))
    for file in sorted(CONF.rglob("*.yaml")):
        head = "\n".join(line.removeprefix("#") for line in file.read_text().splitlines() if line.startswith("#"))
        lines = head.replace("\\\n", " ").splitlines()
        yield from ((file.name, command) for line in lines for command in commands_of(" ".join(line.split())))


def commands_of(line: str) -> Iterator[str]:
    """The commands of a line, without its comment."""
    for part in re.split(r"\s#\s|&&", line)[: line.count("&&") + 1]:
        if found := COMMAND.fullmatch(part.strip()):
            yield in_full(found[1].rstrip("…").strip())


def in_full(command: str) -> str:
    """``retdm …`` as the command that a check-out has for the same."""
    short = next((short for short in SHORT if command == short or command.startswith(f"{short} ")), "")
    return command.replace(short, SHORT[short], 1) if short else command


COMMANDS = sorted({command for _, command in printed()})
TRAINING = [command for command in COMMANDS if command.startswith("python train.py")]


def words_of(command: str) -> list[str]:
    for mark, word in PLACEHOLDERS.items():  # "data=<name>" before "<name>"
        command = command.replace(mark, word)
    return shlex.split(command)[1:]


def single(words: list[str]) -> list[str]:
    """The first job of a sweep."""
    parser = OverridesParser.create()
    return [_first(parser.parse_override(word)) if "=" in word else word for word in words]


def _first(override: Override) -> str:
    key = override.key_or_group
    value: Any = override.value()
    if isinstance(value, Glob):
        names = sorted(file.stem for file in (CONF / key).glob("*.yaml"))
        return f"{key}={next(name for name in names if any(fnmatch(name, each) for each in value.include))}"
    if override.is_sweep_override():
        return f"{key}={next(iter(override.sweep_string_iterator()))}"
    return str(override.input_line)


def test_commands_are_found() -> None:
    assert len(COMMANDS) > 35
    assert {"python train.py", "python -m retdm report outputs"} <= set(COMMANDS)


@pytest.mark.parametrize("command", TRAINING)
def test_a_printed_training_command_has_only_settings_that_are_there(command: str) -> None:
    words = [word for word in words_of(command)[1:] if word not in ("-m", "--multirun")]
    if {"--help", "--cfg"} & set(words) or TO_BE_WRITTEN & set(words):
        return
    GlobalHydra.instance().clear()
    of_hydra = [word for word in words if word.startswith(("hydra/", "hydra."))]
    if of_hydra:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            compose("train", of_hydra, return_hydra_config=True)
    check_takes(composed(*single([word for word in words if word not in of_hydra])))


@pytest.mark.parametrize("command", sorted(set(COMMANDS) - set(TRAINING)))
def test_another_printed_command_has_only_settings_that_are_there(command: str) -> None:
    words = words_of(command)
    if words[0].startswith("benchmarks/"):
        name = Path(words[0]).stem
        options = {word.partition("=")[0] for word in words[1:]}
        assert name in SMALLEST or name in NOT_HERE
        assert name in NOT_HERE or options <= {word.partition("=")[0] for word in SMALLEST.get(name, "").split()} | {
            "--network"
        }
        return
    kind = words[0] if words[0] == "test.py" else words[2]
    rest = words[1:] if words[0] == "test.py" else words[3:]
    if kind == "report":
        if rest:
            asked(rest)
    elif kind != "cache":
        GlobalHydra.instance().clear()
        with initialize_config_dir(str(CONF), version_base="1.3"):
            compose(kind.removesuffix(".py"), single(rest))


@pytest.mark.slow
@pytest.mark.parametrize("command", TRAINING)
def test_a_printed_training_command_runs_in_its_smallest_setting(command: str, tmp_path: Path) -> None:
    """Its method, schedule and settings on a few drawn images or bags and a tiny network."""
    words = [word for word in words_of(command)[1:] if word not in ("-m", "--multirun")]
    if {"--help", "--cfg"} & set(words) or TO_BE_WRITTEN & set(words):
        return
    GlobalHydra.instance().clear()
    settings = compose_settings(single(words))
    of_images = settings.classes["data"].gives is Batch
    drawn = "data=synthetic data.size=60 data.image_size=16 data.batch_size=16" if of_images else "data=synthetic_bags"
    small = compose_settings([*drawn.split(), "backbone.channels=[8,16]", "trainer.accelerator=cpu"])
    kept = {key: value for key, value in settings.data.items() if key in ("split", "folds", "fold", "test_fraction")}
    for stage in settings.method.get("stages", []):
        stage["max_epochs"] = min(stage["max_epochs"], 1)
    settings = settings.changed(
        outputs=str(tmp_path),
        data=small.data | kept | {"cache": str(tmp_path / "cache")},
        backbone=small.backbone,
        trainer=small.trainer,
        choices=settings.choices | {key: small.choices[key] for key in ("data", "backbone")},
    )
    folder = train(settings)
    assert (folder / "metrics.json").stat().st_size > 0
