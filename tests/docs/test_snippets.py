"""What docs/adding-a-method.md prints runs as it is printed."""

import re
import shutil
import sys
import textwrap
from pathlib import Path
from types import ModuleType

import pytest
from command_line import TINY, in_process

from retdm import registry

PAGE = Path(__file__).resolve().parents[2] / "docs" / "adding-a-method.md"


def snippets() -> dict[str, str]:
    """Block by the file that the page says it is."""
    pattern = r"`((?:retdm|conf)/[\w/]+\.(?:py|yaml))`(?:(?!```).)*?```\w+\n(.*?)\n *```"
    return {file: textwrap.dedent(block) for file, block in re.findall(pattern, PAGE.read_text(), re.DOTALL)}


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, ModuleType]:
    """The modules of the page where the page says that they are, and its YAML in a copy of ``conf``."""
    found = {}
    for file, block in snippets().items():
        if file.endswith(".yaml"):
            conf = Path(shutil.copytree(registry.CONF, tmp_path / "conf"))
            (conf.parent / file).write_text(block)
            monkeypatch.setattr(registry, "CONF", conf)
            continue
        name = file.removesuffix(".py").replace("/", ".")
        module = ModuleType(name)
        monkeypatch.setitem(sys.modules, name, module)
        exec(compile(block, file, "exec"), vars(module))
        found[file] = module
    return found


def test_the_method_of_the_page_trains(written: dict[str, ModuleType], tmp_path: Path) -> None:
    assert set(written) == {"retdm/losses/focal.py", "retdm/methods/focal.py"}
    done = in_process(
        "train.py", "method=focal", f"outputs={tmp_path}", *(word for word in TINY if not word.startswith("method."))
    )
    assert done.code == 0, done.err
    assert len(list((tmp_path / "synthetic" / "focal").glob("*/metrics.json"))) == 1
