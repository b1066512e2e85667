"""The first second of a command: what it refuses and says before PyTorch is imported."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import ROOT, TINY, in_process

REFUSED = {
    "train metod=bce": "metod is not a setting",
    "train method=bec": "there is no method named bec",
    "train method.kk=3": "method.kk is not a setting",
    "train method.k=abc": "method.k=abc is not a whole number",
    "train data.image_size=4": "data.image_size=4 is not",
    "train backbone.channels=[4]": "backbone.channels=[4] is not",
    "train method.decide=often": "method.decide=often is not known",
    "train method.decide=precision>=.9": "method.decide=precision>=.9 is not known\n  precision:.9 is one",
    "predict run=run images=run decide=recall>.9": "decide=recall>.9 is not known\n  recall:.95 is one",
    "export run=run decide=top": "there is no decision rule 'top'",
    "decide run=nowhere": "there is no run in nowhere",
    "decide run=run rule=top3,recal:.9": "there is no decision rule 'recal:.9'",
    "train schedule.joint.epochs=3": "schedule.joint.epochs is not a setting",
    "train method=lr optimizer.momentum=0": "is fitted, without an optimizer",
    "train data=csv data.root=nowhere": "data.root=nowhere is no folder",
    "train data=scene data.root=nowhere": "the Scene images are not in ",
    "train data=scene_bags data.root=nowhere": "the Scene bags are not in ",
    "check data=csv data.root=nowhere": "data.root=nowhere is no folder",
    "check data.sice=3": "data.sice is not a setting",
    "test run=nowhere": "there is no run in nowhere",
    "predict run=run images=nowhere": "images: there is no nowhere",
    "predict run=run imgs=nowhere": "imgs is not a setting",
    "search run=nowhere labels=sea": "there is no checkpoint nowhere",
    "features images=run": "which network?",
    "features backbone=vgg_small images=nowhere": "images: there is no nowhere",
    "features backbone=vgg_small images=run view=map": "view=map is not one of",
    "features backbone=vgg_small images=run backbone.convs=0": "backbone.convs=0 is not",
    "features run=nowhere images=run out=x.csv": "out=x.csv ends in neither of",
    "export run=nowhere": "there is no checkpoint nowhere",
    "report nowhere": "there is no folder nowhere",
    "report run chose=mAP": "chose is not a setting",
    "cache nowhere": "there is no folder nowhere",
    "trian": "did you mean train?",
}
# Each command line in turn; what it brought along that takes seconds.
TYPE = """
import contextlib, io, json, sys
from quick_hydra import quick_composition
from retdm.__main__ import main
found = []
with quick_composition():
    for words in json.loads(sys.argv[1]):
        sys.argv[:] = ["retdm", *words]
        said = io.StringIO()
        with contextlib.redirect_stderr(said):
            try:
                main()
                code = 0
            except SystemExit as end:
                code = end.code
        heavy = sorted({"torch", "pytorch_lightning", "sklearn", "scipy.stats", "matplotlib"} & set(sys.modules))
        found.append([code, said.getvalue(), heavy])
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, str, list[str]]]:
    place = tmp_path_factory.mktemp("place")
    (place / "run").mkdir()
    (place / "run" / "checkpoints").mkdir()
    (place / "run" / "checkpoints" / "best.ckpt").touch()
    done = subprocess.run(
        [sys.executable, "-c", TYPE, json.dumps([words.split() for words in REFUSED])],
        cwd=place,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests" / "helpers")])},
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    assert not (place / "outputs").exists()  # nothing is left of what was refused
    return dict(zip(REFUSED, json.loads(done.stdout), strict=True))


@pytest.mark.parametrize("words", REFUSED)
def test_what_is_wrong_is_told_before_pytorch_is_there(words: str, said: dict[str, tuple[int, str, list[str]]]) -> None:
    code, message, heavy = said[words]
    assert code == 2 and REFUSED[words] in message and message.startswith("error: ")
    assert heavy == []


def test_the_first_line_names_the_command_and_what_was_chosen(copy: Path, tmp_path: Path) -> None:
    done = in_process("train.py", f"outputs={tmp_path}", *TINY, "data.size=-1")
    assert done.code == 2 and done.out == ""
    done = in_process("export", f"run={copy}", f"out={copy}", "onnx=false", "device=cpu")
    assert done.code == 2  # export has no device
    done = in_process("export", f"run={copy}", f"out={tmp_path / 'out'}", "onnx=false")
    assert done.out.startswith(f"retdm export run={copy}\n")
