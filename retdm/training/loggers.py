"""The loggers of conf/logger: their settings, and Lightning's logger that is built of them.

They show a run while it trains and change nothing in it. What the report reads is the run folder's own
``history.jsonl``, which is written whatever was chosen here.
"""

import importlib
import importlib.util
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from pytorch_lightning.loggers import CSVLogger, Logger, MLFlowLogger, TensorBoardLogger, WandbLogger

from retdm.errors import UserError
from retdm.stop import is_leader


class LoggerSettings:
    """Settings of a logger; one of your own is a subclass that ``_target_`` names.

    Attributes:
        package: that it needs beside retdm's own, which an extra of the same name installs.
    """

    package: ClassVar[str | None] = None

    def check(self) -> None:
        """The logger can be built.

        Raises:
            UserError: its package is not installed.
        """
        if self.package is None:
            return
        found = importlib.util.find_spec(self.package)
        if found is None or found.origin is None:  # a folder of that name, such as wandb's own, has no origin
            raise UserError(
                f"logger={self.package} needs a package that is not installed", f'pip install "retdm[{self.package}]"'
            )

    @contextmanager
    def opened(self, folder: Path) -> Iterator[Logger | None]:
        """The logger of the run in ``folder`` within the block; None for none."""
        try:
            yield self.build(folder)
        finally:
            self.close()

    def build(self, folder: Path) -> Logger | None:
        """The same, to be closed by its owner."""
        raise NotImplementedError

    def close(self) -> None:
        """Do nothing; a subclass ends a logger of which a process can have only one."""


class NoLogger(LoggerSettings):
    """Nothing beside the run folder's own files."""

    def build(self, folder: Path) -> Logger | None:
        return None


class TensorBoard(LoggerSettings):
    """Event files in ``tensorboard/``, with pictures, embeddings and the settings beside the results."""

    def build(self, folder: Path) -> Logger | None:
        return Curves(folder, name="", version="tensorboard", default_hp_metric=False)


class Curves(TensorBoardLogger):
    """TensorBoard sorts groups by name and opens the first two: criteria and losses, not the epoch of Lightning."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        super().log_metrics({"work/epoch" if name == "epoch" else name: value for name, value in metrics.items()}, step)


class CSV(LoggerSettings):
    """``csv/version_<n>/metrics.csv``: one file for each start, for Lightning's logger begins its file anew."""

    def build(self, folder: Path) -> Logger | None:
        return CSVLogger(folder, name="csv")


@dataclass(frozen=True)
class Wandb(LoggerSettings):
    """Weights & Biases; its files lie in ``wandb/``, and a continued run goes on under its first id.

    Args:
        project: under which the runs stand.
        entity: user or team; None is the account's own.
        offline: write to the run folder alone; ``wandb sync`` uploads it later.
    """

    package = "wandb"
    project: str = "retdm"
    entity: str | None = None
    offline: bool = False

    def build(self, folder: Path) -> Logger | None:
        known_as = folder / "wandb" / "run_id.txt"
        if is_leader() and not known_as.exists():
            known_as.parent.mkdir(parents=True, exist_ok=True)
            known_as.write_text(uuid.uuid4().hex[:8])
        return WandbLogger(
            name="/".join(folder.parts[-3:]),
            save_dir=folder,
            id=known_as.read_text() if known_as.exists() else None,
            resume="allow",
            project=self.project,
            entity=self.entity,
            offline=self.offline,
        )

    def close(self) -> None:
        importlib.import_module(self.package).finish()  # or the next run of a sweep would go on in this one


@dataclass(frozen=True)
class MLflow(LoggerSettings):
    """MLflow; a continued run is an entry of its own, under the same name.

    Args:
        experiment: under which the runs stand.
        tracking_uri: of the server or the store; None is the environment's ``MLFLOW_TRACKING_URI``, else
            ``mlruns/mlflow.db`` in the run folder.
    """

    package = "mlflow"
    experiment: str = "retdm"
    tracking_uri: str | None = None

    def build(self, folder: Path) -> Logger | None:
        uri = self.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
        if uri is None:
            (folder / "mlruns").mkdir(parents=True, exist_ok=True)
            uri = f"sqlite:///{folder / 'mlruns' / 'mlflow.db'}"
        return MLFlowLogger(experiment_name=self.experiment, run_name="/".join(folder.parts[-3:]), tracking_uri=uri)
