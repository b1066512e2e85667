"""MATLAB files are read by a process of their own, whose end is not the reader's."""

from pathlib import Path

import numpy as np
import pytest
import scipy.io

from retdm.data.user import mat
from retdm.data.user.bag_files import BagFiles
from retdm.errors import UserError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    scipy.io.savemat(
        tmp_path / "bags.mat", {"bags": np.array([[np.ones((2, 3))], [np.eye(3)]], object), "y": np.eye(2)}
    )
    return tmp_path / "bags.mat"


def test_it_gives_what_scipy_gives(file: Path) -> None:
    expected = scipy.io.loadmat(file)
    found = mat.read_mat(file)
    assert found.keys() == expected.keys()
    assert np.array_equal(found["y"], expected["y"])
    assert all(np.array_equal(*pair) for pair in zip(found["bags"].ravel(), expected["bags"].ravel(), strict=True))
    assert "bags" not in mat.read_mat(file, "y")


def test_a_file_that_ends_its_reader_is_an_error_of_one_line(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mat, "READ", "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    with pytest.raises(UserError, match=r"bags\.mat cannot be read: .*SIGSEGV: the file is damaged"):
        BagFiles(str(file))


def test_the_error_has_the_readers_message(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"^(?!Traceback).+"):
        mat.read_mat(file)
