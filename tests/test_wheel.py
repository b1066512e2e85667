"""The wheel, unpacked in an empty folder: nothing of the checkout is needed to use it."""

import json
import os
import subprocess
import sys
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path

import hatchling.build
import pytest
from command_line import TINY
from PIL import Image

import retdm

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(ROOT)
        return folder / hatchling.build.build_wheel(str(folder))


@pytest.fixture(scope="module")
def installed(wheel: Path) -> Path:
    folder = wheel.parent / "installed"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


# What a console script does, once for each command line, in one process: imports take most of a command's time.
TYPE = """
import json, sys
from retdm.__main__ import main
for words, expected in json.loads(sys.argv[1]):
    for stream in (sys.stdout, sys.stderr):
        print("typed", *words, file=stream, flush=True)
    sys.argv[:] = ["retdm", *words]
    code = 0
    try:
        main()
    except SystemExit as end:
        code = end.code or 0
    assert code == expected, (words, code)
import retdm
print("typed load", retdm.__file__, retdm.load("outputs/run").predict("teal.png").shape)
"""


def test_the_wheel_holds_every_file_of_the_package_and_of_conf_and_nothing_else(installed: Path) -> None:
    def files(folder: Path) -> set[Path]:
        return {
            file.relative_to(folder)
            for file in folder.rglob("*")
            if file.is_file() and "__pycache__" not in file.parts and file.suffix != ".pyc"
        }

    wanted = files(ROOT / "retdm") | {Path("conf") / file for file in files(ROOT / "conf")}
    assert files(installed / "retdm") == wanted
    assert {each.name for each in installed.iterdir()} == {"retdm", f"retdm-{retdm.__version__}.dist-info"}


def test_it_names_its_command_licence_readme_and_pythons(installed: Path) -> None:
    (info,) = installed.glob("*.dist-info")
    assert "retdm = retdm.__main__:main" in (info / "entry_points.txt").read_text()
    about = Parser().parsestr((info / "METADATA").read_text())
    assert about["License-Expression"] == "MIT" and about["Requires-Python"] == ">=3.11"
    assert (
        about["Description-Content-Type"] == "text/markdown" and about.get_payload() == (ROOT / "README.md").read_text()
    )
    assert "Typing :: Typed" in about.get_all("Classifier", [])


def test_the_source_archive_builds_the_same_wheel(wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    with tarfile.open(tmp_path / hatchling.build.build_sdist(str(tmp_path))) as archive:
        archive.extractall(tmp_path, filter="data")
    (source,) = (each for each in tmp_path.iterdir() if each.is_dir())
    assert (source / "tests" / "test_wheel.py").is_file() and (source / "train.py").is_file()
    monkeypatch.chdir(source)
    again = tmp_path / hatchling.build.build_wheel(str(tmp_path))
    with zipfile.ZipFile(wheel) as one, zipfile.ZipFile(again) as other:
        assert one.namelist() == other.namelist()
        assert all(one.read(name) == other.read(name) for name in one.namelist())


def test_every_command_works_elsewhere(installed: Path, tmp_path: Path) -> None:
    Image.new("RGB", (20, 20), "teal").save(tmp_path / "teal.png")
    run = "run=outputs/run"
    refused = " ".join(["train", "run=outputs/refused", *TINY, "+method.weights.metrik=1"])  # once PyTorch is there
    typed = {
        refused: "",
        "--help": "\n  train     ",
        "train --help": "methods (method=…)",
        " ".join(["train", run, *TINY, "method=bce", "logger=none"]): f"retdm test {run}",
        f"test {run}": "wrote outputs/run/test.json",
        f"predict {run} images=teal.png gallery=true": "1 images in ",
        f"search {run} image=teal.png top=3": "search.html",
        f"export {run} onnx=false": "model.pt2: ",
        "report outputs/run out=report": "",
        "check data=synthetic data.size=12": "overview.png",
        "cache": " caches, ",
        "train -m seed=0,1 method=lr data.size=40 data.image_size=16 logger=none": "2 runs: ",
    }
    done = subprocess.run(
        [sys.executable, "-P", "-c", TYPE, json.dumps([(words.split(), 2 * (words == refused)) for words in typed])],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    message = "error: method.weights.metrik: there is no such loss\n  losses: classification, metric, reconstruction"
    assert done.stderr.split("typed ")[1] == f"{refused}\n{message}\n"  # and nothing else
    _, *said, loaded = done.stdout.split("typed ")
    assert len(said) == len(typed)
    for text, (words, expected) in zip(said, typed.items(), strict=True):
        assert text.startswith(words) and expected in text.removeprefix(words)
    assert list((tmp_path / "report").glob("*.html"))
    assert loaded.startswith(f"load {installed}") and loaded.endswith("(1, 5)\n")
