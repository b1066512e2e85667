from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.sparse import csr_matrix

from retdm.data.given.targets import cells_of, targets_of
from retdm.errors import UserError

NAN = float("nan")
EXPECTED = np.array([[1, 0], [NAN, 1]])


@pytest.mark.parametrize(
    "given",
    [
        EXPECTED,
        EXPECTED.astype(np.float16),
        EXPECTED.tolist(),
        [[1, 0], [None, 1]],
        [[True, False], [None, True]],
        torch.from_numpy(EXPECTED),
        torch.from_numpy(EXPECTED).bfloat16().requires_grad_(),
        np.ma.masked_array([[1, 0], [0, 1]], mask=[[0, 0], [1, 0]]),
        [[1, 0], [pd.NA, 1]],
        np.array([[1, 0], [pd.NaT, 1]], dtype=object),
        pd.DataFrame({"cat": pd.Categorical([1, None]), "dog": pd.Categorical([0, 1])}),
        pd.DataFrame({"cat": [1, None], "dog": [False, True]}),
        pd.DataFrame({"cat": pd.array([1, None], dtype="Int64"), "dog": pd.array([False, True], dtype="boolean")}),
        pd.DataFrame({"cat": [True, None], "dog": [0.0, 1.0]}, index=[7, 3]),
    ],
)
def test_every_form_of_a_table_gives_the_same_cells(given: Any) -> None:
    found = targets_of(given, ["cat", "dog"])
    assert found.names == ["cat", "dog"]
    np.testing.assert_array_equal(found.cells, EXPECTED)


def test_booleans_integers_and_sparse_matrices_are_known_everywhere() -> None:
    for given in (np.eye(2, dtype=bool), np.eye(2, dtype=np.int8), csr_matrix(np.eye(2))):
        np.testing.assert_array_equal(cells_of(given), np.eye(2))


def test_a_table_brings_its_labels_and_labels_choose_and_order_its_columns() -> None:
    table = pd.DataFrame({"cat": [1, 0], "dog": [0, 1], "image": ["a.jpg", "b.jpg"]})
    assert targets_of(table[["cat", "dog"]]).names == ["cat", "dog"]
    found = targets_of(table, ["dog", "cat"])
    assert found.names == ["dog", "cat"]
    assert found.cells.tolist() == [[0, 1], [1, 0]]
    assert targets_of(table, (name for name in ("dog", "cat"))).names == ["dog", "cat"]


@pytest.mark.parametrize(
    ("given", "labels", "message"),
    [
        (EXPECTED, None, "labels is missing"),
        (EXPECTED, ["cat"], r"shape \(2, 2\), expected \(n, 1\)"),
        (np.ones(2), ["cat"], r"targets\[:, None\] is one column"),
        (np.ones((2, 2, 1)), ["cat", "dog"], r"shape \(2, 2, 1\)"),
        (np.ones((0, 2)), ["cat", "dog"], r"shape \(0, 2\)"),
        ([], ["cat"], r"shape \(0,\)"),
        ([[1], [1, 0]], ["cat", "dog"], "not equally long"),
        ([[1, 0.5]], ["cat", "dog"], "row 0, label 'dog': 0.5 is neither"),
        ([[1, 0], [0, -1]], ["cat", "dog"], "(?s)row 1, label 'dog': -1 .*np.where"),
        ([[1, np.inf]], ["cat", "dog"], "label 'dog': inf is neither"),
        ([["1", "0"]], ["cat", "dog"], "(?s)row 0, label 'cat': '1' .*dtype=float"),
        (np.array([[1j, 0]]), ["cat", "dog"], "row 0, label 'cat': 1j is neither"),
        ([[10**400, None]], ["cat", "dog"], "row 0, label 'cat': 1000.* is neither"),
        (pd.DataFrame([[1, 0, 1]], columns=["cat", "cat", "dog"]), ["cat"], "several columns 'cat'"),
        (["cat;dog", "cat"], ["cat", "dog"], "(?s)shape .*get_dummies"),
        ([["cat"], ["cat", "dog"]], ["cat", "dog"], "(?s)not equally long.*get_dummies"),
        (pd.DataFrame({"cat": ["yes", "no"]}), None, "row 0, label 'cat': 'yes' is neither"),
        (pd.DataFrame({"cat": [1]}), ["dog"], "(?s)no column 'dog'.*there are: cat"),
        (pd.DataFrame({0: [1]}), None, "label 0 is of type int"),
        (EXPECTED, "ab", "is one text"),
        (EXPECTED, 2, "labels is of type int"),
        (EXPECTED, {"cat", "dog"}, "type set, which has no order"),
        (EXPECTED, ["cat", "cat"], "'cat' twice"),
        (EXPECTED, ["cat", "Cat"], "differ in next to nothing"),
        (EXPECTED, ["cat", " "], "label 2 has no name"),
        (EXPECTED, ["cat", "a\x1bb"], "control characters"),
        ([[1, NAN]], ["cat", "dog"], "no target of these labels is known: dog"),
    ],
)
def test_what_is_no_table_of_targets_is_refused(given: Any, labels: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        targets_of(given, labels)
