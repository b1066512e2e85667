"""The pages that the site makes of ``conf`` and ``--help``; CI builds the whole site."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

pytest.importorskip("sphinx", reason="sphinx is not installed (extra docs)")
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def site() -> ModuleType:
    spec = importlib.util.spec_from_file_location("from_conf", ROOT / "docs" / "_site" / "from_conf.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def text(directive: Any, argument: str) -> str:
    """The Markdown that a directive stands for."""
    return "\n\n".join(directive.text(directive.__new__(directive), argument))


@pytest.mark.parametrize("command", ["test", "predict", "search", "features", "decide", "export", "check"])
def test_a_command_has_its_own_keys_in_a_table_and_none_of_hydras(site: ModuleType, command: str) -> None:
    keys = set(yaml.safe_load((ROOT / "conf" / f"{command}.yaml").read_text())) - {"defaults", "hydra"}
    assert set(re.findall(r"^\| `(\w+)` \|", text(site.Command, command), re.MULTILINE)) == keys


def test_the_choices_of_train_are_left_to_pages_of_their_own(site: ModuleType) -> None:
    assert "retdm train" in text(site.Command, "train")
    assert "(method=…)" not in text(site.Command, "train")


@pytest.mark.parametrize("group", ["method", "data", "schedule"])
def test_each_choice_is_a_section_with_its_settings(site: ModuleType, group: str) -> None:
    made = text(site.Choices, group)
    files = sorted((ROOT / "conf" / group).glob("*.yaml"))
    assert re.findall(r"^### (.+)$", made, re.MULTILINE) == [f"{group}={file.stem}" for file in files]
    assert made.count("```yaml") == len(files)


def test_settings_of_included_files_are_in_the_section(site: ModuleType) -> None:
    asl = text(site.Choices, "method").split("### ")[2]
    assert asl.startswith("method=asl") and "gamma_negative: 4.0" in asl and "activation: sigmoid" in asl


def test_a_comment_means_what_it_says_in_markdown(site: ModuleType) -> None:
    assert site._plain("a * b_c, <run>, `x_y*`") == r"a \* b\_c, \<run>, `x_y*`"
    assert site._table("key: a|b  # one | other").splitlines()[-1] == r"| `key` | `a\|b` | one \| other |"


def test_a_signature_shows_the_type_of_a_ranged_number(site: ModuleType) -> None:
    shown = "(x: Annotated[float, ~retdm.ranges.Range(low=0, high=1, words=from 0 to below 1)] = 0.5, y: int = 1)"
    signature, _ = site.without_ranges(None, "function", "f", None, None, shown, "float")
    assert signature == "(x: float = 0.5, y: int = 1)"
