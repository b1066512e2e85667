"""What README and the how-to pages print as Python runs as it is printed."""

import functools
import re
import shutil
import sys
import textwrap
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from command_line import TINY, TINY_NET, in_process

import retdm
from retdm import registry
from retdm.data.synthetic.source import Synthetic

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "howto" / "adding-a-method.md"


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
    loss, network = "retdm/losses/poly.py", "retdm/methods/networks/peak.py"
    assert written == {loss, "conf/method/poly.yaml", network, "conf/method/peak.yaml"}
    tiny = [word for word in TINY if not word.startswith("method.")]
    for words in (["method=poly"], ["method=bce", "method.loss=poly"], ["method=peak"]):
        done = in_process("train.py", *words, f"outputs={tmp_path}", *tiny)
        assert done.code == 0, done.err
    for name in ("poly", "bce", "peak"):
        assert len(list((tmp_path / "synthetic" / name).glob("*/metrics.json"))) == 1
    done = in_process("train.py", "method=bce", "method.loss={name: poly, epsilon: -2}", f"outputs={tmp_path}", *tiny)
    assert done.code == 2 and "method.loss.epsilon=-2 is not a number of at least -1" in done.err


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the readers of these pages have: images with a table of labels, and names for what a snippet takes as given.

    ``retdm.train`` trains a tiny network for an epoch.
    """
    monkeypatch.chdir(tmp_path)
    source = Synthetic(60, side=16)
    names = ["beach.jpg", "forest.jpg", *(f"{i}.jpg" for i in range(2, 60))]
    lines = [",".join(["image", *source.names])]
    Path("photos").mkdir()
    for i, name in enumerate(names):
        for folder in (Path(), Path("photos")):  # as paths of a table, and as a folder
            source.read(i).save(folder / name)
        lines.append(",".join([name, *map(str, source.targets[i])]))
    for folder in (Path(), Path("photos")):
        (folder / "labels.csv").write_text("\n".join(lines))
    train = retdm.train

    def tiny(words: str = "", **given: Any) -> retdm.Run:
        method = [] if "method" in given else ["schedule=short", "method.embedding_dim=8"]
        net = [word for word in TINY_NET if not word.startswith(("schedule", "method"))]
        return train([*words.split(), "backbone=vgg_small", *net, *method], **given)

    monkeypatch.setattr(retdm, "train", tiny)
    at_random = {"backbone.weights": "none", "image_size": 32}
    monkeypatch.setattr(retdm, "embed", functools.partial(retdm.embed, **at_random))
    in_process("features", "backbone=vgg_small", "images=photos", "image_size=16", "device=cpu")  # to features.npz
    given = {name: torch.rand(3, 4) for name in ("image_embedding", "label_embedding")}
    return {**given, "scores": torch.rand(3, 3), "target": torch.eye(3), "known": torch.ones(3, 3, dtype=torch.bool)}


@pytest.mark.parametrize(
    "page", ["README.md", "docs/howto/python.md", "docs/howto/features.md", "docs/explanation/criteria.md"]
)
def test_the_python_of_a_page_runs_from_top_to_bottom(page: str, reader: dict[str, Any]) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    assert blocks
    for block in blocks:
        if "retdm.load" in block:  # a run of RETDM is loaded, which is the first of the page
            block = block.replace("outputs/scene/retdm/<name>", reader["first"])
        exec(compile(block.replace("/photos", "photos"), page, "exec"), reader)
        if "run" in reader:
            reader.setdefault("first", str(reader["run"].folder))
