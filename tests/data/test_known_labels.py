import logging
from typing import Any

import numpy as np
import pytest

from retdm.data.known_labels import check_known
from retdm.data.module import BagData
from retdm.errors import UserError

PARTS = {"train": np.arange(0, 20), "validation": np.arange(20, 30), "test": np.arange(30, 40)}


def told(caplog: pytest.LogCaptureFixture, targets: np.ndarray, known: np.ndarray, hint: str = "do this") -> str:
    caplog.clear()
    names = [f"label {j}" for j in range(targets.shape[1])]
    check_known(names, targets, known, PARTS, hint=hint)
    return "\n".join(record.getMessage() for record in caplog.records)


def test_labels_with_few_positives_are_told_with_their_counts(caplog: pytest.LogCaptureFixture) -> None:
    targets = np.ones((40, 3), np.uint8)
    assert told(caplog, targets, np.ones((40, 3), bool)) == ""
    targets[22:, 1] = 0  # 20, 2, 0
    targets[26:30, 2] = 0  # 20, 6, 10
    known = np.ones((40, 3), bool)
    known[20:22, 2] = False  # 20, 4, 10
    assert told(caplog, targets, known) == (
        "fewer than 5 rows with a label in validation or test (training/validation/test): "
        "label 1 20/2/0, label 2 20/4/10; what is measured of them says little: do this"
    )
    assert caplog.records[0].levelno == logging.WARNING
    assert "label 3 0/0/0 and 6 more;" in told(caplog, np.zeros((40, 10), np.uint8), np.ones((40, 10), bool), "")


@pytest.mark.parametrize("part", PARTS)
def test_a_part_without_a_known_cell_is_an_error(part: str) -> None:
    known = np.ones((40, 2), bool)
    known[PARTS[part]] = False
    with pytest.raises(UserError, match=f"of the {part} part has a known label"):
        check_known(["a", "b"], np.ones((40, 2), np.uint8), known, PARTS, hint="")


@pytest.mark.parametrize(
    ("settings", "hint"),
    [
        ({}, "data.stratified=true shares them out, data.folds=5 chooses on all of the training part"),
        ({"folds": 3}, "data.stratified=true shares them out"),
    ],
)
def test_data_says_it_with_the_settings_that_help(
    settings: dict[str, Any], hint: str, caplog: pytest.LogCaptureFixture
) -> None:
    class Bags:
        names, ids, split, fingerprint = ["a", "b"], [str(i) for i in range(40)], None, "bags"
        instances, offsets = np.zeros((40, 2), np.float32), np.arange(41)
        targets = np.stack([np.arange(40) % 2, np.arange(40) == 3], 1).astype(np.uint8)
        known, instance_targets = np.ones((40, 2), bool), None

        def __len__(self) -> int:
            return 40

    BagData(Bags(), test_fraction=0.4, validation_fraction=0.5, **settings)
    assert caplog.records[-1].getMessage().endswith(f"says little: {hint}")
    assert "b 0/0/1" in caplog.text or "b 0/1/0" in caplog.text or "b 1/0/0" in caplog.text
