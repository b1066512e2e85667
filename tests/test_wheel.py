"""The installed package: all of it is in the wheel, and every module of it can be imported outside the checkout."""

import os
import pkgutil
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import setuptools

import retdm

ROOT = Path(__file__).resolve().parents[1]
IMPORT_ALL = """
import importlib, pkgutil, retdm
print(retdm.__file__)
for module in pkgutil.walk_packages(retdm.__path__, "retdm."):
    if module.name != "retdm.__main__":
        print(importlib.import_module(module.name).__name__)
"""


def test_every_file_of_the_package_is_among_those_of_a_wheel() -> None:
    asked = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    packages = set(setuptools.find_packages(str(ROOT), **asked["packages"]["find"]))
    data = {
        file
        for package, patterns in asked["package-data"].items()
        for pattern in patterns
        for file in (ROOT / package.replace(".", "/")).glob(pattern)
    }
    for file in (ROOT / "retdm").rglob("*"):
        if file.is_file() and "__pycache__" not in file.parts:
            package = ".".join(file.parent.relative_to(ROOT).parts)
            assert (file.suffix == ".py" and package in packages) or file in data, file


@pytest.mark.slow
def test_every_module_of_an_installed_wheel_can_be_imported_outside_the_checkout(tmp_path: Path) -> None:
    source, wheels, installed = tmp_path / "source", tmp_path / "wheels", tmp_path / "installed"
    shutil.copytree(ROOT / "retdm", source / "retdm", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-build-isolation", "--no-deps", "-w", str(wheels), str(source)], check=True)
    (wheel,) = wheels.iterdir()
    subprocess.run([*pip, "install", "--no-deps", "--target", str(installed), str(wheel)], check=True)
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(installed)},
        check=True,
        capture_output=True,
        text=True,
    )
    place, *modules = done.stdout.split()
    assert Path(place).is_relative_to(installed)
    assert modules == [
        each.name for each in pkgutil.walk_packages(retdm.__path__, "retdm.") if "__main__" not in each.name
    ]
