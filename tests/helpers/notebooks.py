"""Notebooks, run in a kernel; ``python tests/helpers/notebooks.py`` renews what docs/quickstart.ipynb shows."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parents[2]
QUICKSTART = ROOT / "docs" / "quickstart.ipynb"


def executed(file: Path, folder: Path) -> NotebookNode:
    """A notebook with what its cells print now, run in ``folder``. Raises ``CellExecutionError``."""
    notebook = nbformat.read(file, as_version=4)
    client = NotebookClient(
        notebook, timeout=600, kernel_name="python3", coalesce_streams=True, resources={"metadata": {"path": folder}}
    )
    with commands_in_path(folder):
        found: NotebookNode = client.execute()
    for cell in found.cells:
        cell.metadata.pop("execution", None)  # times
        if "outputs" in cell:
            cell.outputs = [each for each in cell.outputs if each.get("name") != "stderr" or each.text.strip()]
            for pictures in (
                each.data for each in cell.outputs if {"image/png", "image/jpeg"} <= each.get("data", {}).keys()
            ):
                del pictures[max("image/png", "image/jpeg", key=lambda kind: len(pictures[kind]))]
    return found


@contextmanager
def commands_in_path(folder: Path) -> Iterator[None]:
    """``retdm`` in a cell's shell is this check-out's."""
    with tempfile.TemporaryDirectory(dir=folder, prefix=".") as scratch:
        command = Path(scratch, "retdm")
        command.write_text(f'#!/bin/sh\nexec {sys.executable} -m retdm "$@"\n')
        command.chmod(0o755)
        path = os.pathsep.join([scratch, os.environ.get("PATH", "")])
        modules = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
        with mock.patch.dict(os.environ, PATH=path, PYTHONPATH=modules):
            yield


if __name__ == "__main__":
    place = Path(tempfile.gettempdir(), "quickstart")  # the outputs name it
    place.mkdir()
    nbformat.write(executed(QUICKSTART, place), QUICKSTART)
