"""MATLAB files of Scene read in this process; tests of other sets and of a user's bags read theirs in another."""

from pathlib import Path
from typing import Any

import pytest
import scipy.io

from retdm.data.sets import scene, scene_bags


def read_here(file: Path, *names: str) -> dict[str, Any]:
    """What ``read_mat`` gives, and raises, without a process that imports SciPy."""
    with file.open("rb") as opened:
        try:
            content: dict[str, Any] = scipy.io.loadmat(opened, variable_names=names or None)
        except Exception as error:
            raise ValueError(f"{type(error).__name__}: {error}") from error
    return content


@pytest.fixture(autouse=True)
def one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (scene, scene_bags):
        monkeypatch.setattr(module, "read_mat", read_here)
