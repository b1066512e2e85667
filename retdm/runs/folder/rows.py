"""Scored images that a run keeps: what it predicted for its test split, and what its decision rule chooses on.

Notation: n images, L labels. Arrays by name: ``index`` int64 (n,), ``scores`` (n, L) in [0, 1], ``target`` and
``known`` (n, L).
"""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from retdm.decisions.calibration import Calibration, Kind, calibrated, fit_calibration
from retdm.decisions.conformal import check_count
from retdm.decisions.rules import ConformalRule, Rule, Threshold, check_goes_with
from retdm.errors import UserError
from retdm.files import atomic
from retdm.runs.folder.paths import RunFolder, shown

Rows = dict[str, NDArray[Any]]

VALIDATION, OUT_OF_FOLD, BEFORE_REFIT = "validation", "out_of_fold", "before_refit"
SOURCES = {
    VALIDATION: "the validation split",
    OUT_OF_FOLD: "the training split, each scored by a probe that did not see it",
    BEFORE_REFIT: "the validation split, before it was trained on too",
}


class ChosenOn(NamedTuple):
    """Scored images that thresholds are chosen on.

    Attributes:
        rows: arrays by name.
        source: what these images are, one of ``SOURCES``. Out-of-fold scores stand in for a small validation split.
    """

    rows: Rows
    source: str

    @property
    def cells(self) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.bool_]]:
        """``scores``, ``target`` and ``known`` (bool), all (n, L)."""
        return self.rows["scores"], self.rows["target"], self.rows["known"].astype(bool)

    def calibration(self, kind: Kind | None) -> Calibration | None:
        """A calibration of this kind, fitted to these images; None of none."""
        return None if kind is None else fit_calibration(kind, *self.cells)

    def choose(self, rule: Rule, how: Calibration | None = None) -> Threshold:
        """The threshold of a rule on these images, of their scores as they are calibrated.

        Raises:
            UserError: the rule promises what these scores cannot keep.
        """
        scores, target, known = self.cells
        check_promise(rule, self.source, len(scores))
        check_goes_with(rule, None if how is None else how["kind"])
        return rule.choose(calibrated(how, scores), target, known)


def check_promise(rule: Rule, source: str, images: int) -> None:
    """Raise ``UserError`` where a rule promises what cannot be kept by so many images of this source.

    Other images must be to the run as these are: not learnt from, and scored in the same way.
    """
    if not isinstance(rule, ConformalRule):
        return
    if source != VALIDATION:
        raise UserError(
            f"{rule.name} guarantees nothing here: its threshold would be chosen on {SOURCES[source]}, and other "
            "images are scored in another way",
            "a run with refit=false and a validation split of 50 images or more; or a rule without a guarantee",
        )
    check_count(rule.risk, rule.most, images)


def write_rows(path: Path, rows: Mapping[str, NDArray[Any]], labels: Sequence[str]) -> None:
    """Write arrays as ``.npz``, whole or not at all, with the names of the ``labels`` (L,)."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **rows, labels=np.array(labels))  # type: ignore[arg-type]
    with atomic(path) as part:
        part.write_bytes(buffer.getvalue())


def write_chosen_on(folder: RunFolder, found: ChosenOn, labels: Sequence[str]) -> None:
    """``validation.npz`` of a run."""
    write_rows(folder.validation, {**found.rows, "source": np.array(found.source)}, labels)


def read_chosen_on(folder: RunFolder) -> ChosenOn | None:
    """What ``validation.npz`` of a run says; None where there is none.

    Raises:
        UserError: it is not what a run wrote.
    """
    if not folder.validation.exists():
        return None
    try:
        with np.load(folder.validation, allow_pickle=False) as arrays:
            rows = {name: arrays[name] for name in ("index", "scores", "target", "known")}
            source, shape = str(arrays["source"]), (len(rows["index"]), len(arrays["labels"]))
        sound = source in SOURCES and all(rows[name].shape == shape for name in ("scores", "target", "known"))
    except Exception as error:  # what NumPy and zipfile raise depends on the byte at which they give up
        reason = str(error) or type(error).__name__
        raise UserError(f"{shown(folder.validation)} cannot be read: {reason}", "retdm test run=… writes it") from error
    if not sound:
        raise UserError(f"{shown(folder.validation)} is not what a run wrote", "retdm test run=… writes it")
    return ChosenOn(rows, source)


def chosen_on_of(folder: RunFolder, what: str, *, refit: bool) -> ChosenOn:
    """What a rule or a calibration can choose on in a finished run.

    Args:
        folder: of the run.
        what: chooses there, as ``decide=<rule>``, for the message.
        refit: the run is trained on its validation split too.

    Raises:
        UserError: the run keeps nothing to choose on.
    """
    found = read_chosen_on(folder)
    if found is None:
        how = (
            "the run is trained on its validation split: take one with refit=false"
            if refit
            else f"retdm test run={shown(folder.path)} writes it"
        )
        raise UserError(f"{what} chooses on {shown(folder.validation)}, which is not there", how)
    return found
