"""What docs/howto/adding-a-method.md prints runs as it is printed."""

import re
import shutil
import sys
import textwrap
from pathlib import Path
from types import ModuleType

import pytest
from command_line import TINY, in_process

from retdm import registry

PAGE = Path(__file__).resolve().parents[2] / "docs" / "howto" / "adding-a-method.md"


def snippets() -> dict[str, str]:
    """Block by the file that the page says it is."""
    pattern = r"`((?:retdm|conf)/[\w/]+\.(?:py|yaml))`(?:(?!```|`(?:retdm|conf)/[\w/]+\.).)*?```\w+\n(.*?)\n *```"
    return {file: textwrap.dedent(block) for file, block in re.findall(pattern, PAGE.read_text(), re.DOTALL)}


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The page's files: its modules where it says that they are, and its YAML files in a copy of ``conf``."""
    conf = Path(shutil.copytree(registry.CONF, tmp_path / "conf"))
    monkeypatch.setattr(registry, "CONF", conf)
    found = snippets()
    for file, block in found.items():
        if file.endswith(".yaml"):
            (conf.parent / file).write_text(block)
            continue
        name = file.removesuffix(".py").replace("/", ".")
        module = ModuleType(name)
        monkeypatch.setitem(sys.modules, name, module)
        exec(compile(block, file, "exec"), vars(module))
    return set(found)


def test_the_methods_of_the_page_train(written: set[str], tmp_path: Path) -> None:
    loss, network = "retdm/losses/focal.py", "retdm/methods/networks/peak.py"
    assert written == {loss, "conf/method/focal.yaml", network, "conf/method/peak.yaml"}
    tiny = [word for word in TINY if not word.startswith("method.")]
    for words in (["method=focal"], ["method=bce", "method.loss=focal"], ["method=peak"]):
        done = in_process("train.py", *words, f"outputs={tmp_path}", *tiny)
        assert done.code == 0, done.err
    for name in ("focal", "bce", "peak"):
        assert len(list((tmp_path / "synthetic" / name).glob("*/metrics.json"))) == 1
    done = in_process("train.py", "method=bce", "method.loss={name: focal, gamma: -1}", f"outputs={tmp_path}", *tiny)
    assert done.code == 2 and "method.loss.gamma=-1 is not a number of at least 0" in done.err
