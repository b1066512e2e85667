"""A finished run as an object: its criteria, its predictions, its pictures, its model."""

from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from retdm.display.text import printable
from retdm.errors import UserError
from retdm.report.read import Run as Record
from retdm.report.read import find_runs
from retdm.runs.folder.paths import RunFolder, read_json, shown

if TYPE_CHECKING:
    from retdm.runs.trained.model import Model


class Run:
    """A finished run, read from its folder when something of it is asked for.

    Args:
        folder: of the run, as :func:`retdm.train` and the command write it.
        user_classes: its model may name methods and backbones outside this package, see :func:`retdm.load`.

    Attributes:
        folder: absolute; ``retdm test run=…`` and the other commands take it.

    Raises:
        UserError: there is no finished run in the folder.
    """

    def __init__(self, folder: str | PathLike[str], *, user_classes: bool = False) -> None:
        self.folder = Path(folder).absolute()
        self._user_classes = user_classes
        found = [run for run in find_runs([self.folder]) if run.folder == self.folder]
        if not found or found[0].state != "finished":
            state = found[0].damage or found[0].state if found else "in folders below it alone"
            raise UserError(
                f"there is no finished run in {shown(self.folder)}: {state}", "repeat the call that began it"
            )
        self._record: Record = found[0]

    def __repr__(self) -> str:
        record, test = self._record, self.metrics["test"]
        found = ", ".join(f"{name} {test[name]:.3f}" for name in ("mAP", "O-F1") if test.get(name) is not None)
        names = f"{record.data} · {record.method} · {record.backbone} · split {record.split}"
        return f"<retdm run {names}: test {found or 'without criteria'}; {printable(shown(self.folder))}>"

    @property
    def metrics(self) -> dict[str, Any]:
        """The content of ``metrics.json``: criteria by name under ``test`` and ``validation``, ``per_label``,
        ``threshold`` and more (docs/explanation/criteria.md); None is a criterion that is not defined."""
        assert self._record.metrics is not None
        return self._record.metrics

    @property
    def settings(self) -> dict[str, Any]:
        """The content of ``config.yaml``: all settings, with what was chosen where the call left it open."""
        return self._record.config

    @cached_property
    def model(self) -> "Model":
        """The trained model on the CPU, loaded when it is first asked for; :func:`retdm.load` takes other devices."""
        from retdm.runs.trained.model import load

        return load(self.folder, user_classes=self._user_classes)

    @cached_property
    def predictions(self) -> dict[str, NDArray[Any]]:
        """Predictions of the m images of the test split.

        ``images`` (m,): their paths in the data set; ``index`` (m,): their places in it, which for ``images`` given to
        :func:`retdm.train` are places there; ``scores`` float32 (m, L) in [0, 1]; ``target`` (m, L) of 0 and 1;
        ``known`` bool (m, L), false where the target is unknown; ``labels`` (L,).
        """
        found = self._record.predictions()
        names = read_json(RunFolder(self.folder).split)["test"]  # both in the order of the set
        return {"images": np.array(names), **found, "known": found["known"].astype(bool)}

    @property
    def page(self) -> Path:
        """The page of the run for a browser, with its data, curves, criteria and worst mistakes: one HTML file."""
        return RunFolder(self.folder).page

    @property
    def pictures(self) -> dict[str, Path]:
        """The run's pictures by name: PNG files."""
        return {file.stem: file for file in sorted((self.folder / "pictures").glob("*.png"))}
