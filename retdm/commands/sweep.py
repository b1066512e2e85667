"""Many runs by one command: each job leaves a record, and the end shows them all."""

import hashlib
import importlib
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import time
import warnings
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

import retdm
from retdm.commands.output.tables import number, print_table
from retdm.display.screen import console
from retdm.display.text import printable
from retdm.errors import UserError
from retdm.files import write_json
from retdm.runs.errors import report
from retdm.runs.folder.paths import SWEEP, RunFolder, read_json, read_metrics, shown
from retdm.settings.compose import GROUPS
from retdm.settings.first_choice import register_resolvers
from retdm.settings.run_settings import RunSettings
from retdm.stop import Stopped, listening

EXTRAS = {"hydra_joblib_launcher": "joblib", "hydra_submitit_launcher": "slurm"}
SPLITS = ("data.split=", "data.fold=")  # over which a setting is averaged
SHOWN = ("mAP", "O-F1", "C-F1", "hamming_loss", "one_error", "average_precision")


# In a launcher's worker Hydra composes a job's settings before any code of ours runs, but after this import.
register_resolvers()
# Our launchers' YAML has the names by which the plugins call their own, and is complete without theirs.
warnings.filterwarnings("ignore", r"\s*'hydra/launcher/\w+' is validated against ConfigStore schema")


def per_job(words: list[str]) -> list[str]:
    """A command line whose ``method.<key>=<value>`` Hydra takes where ``method=<a>,<b>`` is swept.

    Before any job, Hydra composes what is not swept, with the default method in the place of the swept ones, and
    refuses the keys that it does not have. As a choice of one value a key is read in its job alone.
    """
    if not {"-m", "--multirun"} & set(words):
        return words
    parser = OverridesParser.create()
    try:
        parsed = {word: parser.parse_override(word) for word in words if "=" in word and not word.startswith("-")}
        if any(one.is_sweep_override() and one.key_or_group in GROUPS for one in parsed.values()):
            return [_as_choice(parsed[word]) if word in parsed else word for word in words]
    except HydraException:
        pass  # Hydra reports it
    return words


def _as_choice(override: Override) -> str:
    word, value = str(override.input_line), override.value()
    plain = override.type == OverrideType.CHANGE and not override.is_sweep_override() and value not in (None, "")
    if plain and override.key_or_group.startswith(tuple(f"{group}." for group in GROUPS)):
        key, _, text = word.partition("=")
        return f"{key}=choice({text})"
    return word


def check_launcher(name: str, target: str) -> None:
    """Raise ``UserError`` where the package of a launcher is missing, or Slurm for its launcher."""
    module = target.rpartition(".")[0]
    package = module.split(".")[1]
    try:
        importlib.import_module(module)
    except ImportError as error:
        if package in EXTRAS:
            raise UserError(
                f"hydra/launcher={name} needs the package {package.replace('_', '-')}",
                f'pip install -e ".[{EXTRAS[package]}]"',
            ) from error
    if target.endswith(".SlurmLauncher") and not (shutil.which("sbatch") and shutil.which("srun")):
        raise UserError(
            f"hydra/launcher={name}: there is no sbatch or srun here", "start it on a machine of the cluster"
        )


def needs_own_process(settings: RunSettings) -> bool:
    """Lightning starts further processes by the command line, which in a sweep would be the whole sweep."""
    trainer = settings.trainer
    return bool(trainer["devices"] != 1 or trainer["num_nodes"] > 1)


def run_alone(overrides: list[str]) -> None:
    """One job as a command of its own.

    Raises:
        UserError: it failed; its own message stands above.
    """
    passed_on = False
    with listening() as request:
        request.deferred = True
        # The package may have been found beside train.py, where a process of its own would not look.
        path = os.pathsep.join([str(Path(retdm.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]).rstrip(
            os.pathsep
        )
        command = [sys.executable, "-m", "retdm", "train", *overrides]
        with subprocess.Popen(command, env=os.environ | {"PYTHONPATH": path}) as job:
            while (code := job.poll()) is None:
                if request.number and not passed_on:
                    passed_on = True
                    job.send_signal(request.number)  # a job that had it already takes it for the same request
                time.sleep(0.1)
        request.deferred = False
        if request.number:
            raise Stopped(request.number)
    if code:
        raise UserError(f"the job's own process ended with code {code}", "its own message stands above")


def record(hydra: Any, folder: Path | None, error: str | None) -> None:
    """Write the outcome of a job where the sweep's end reads it, whichever process ran it."""
    overrides = [o for o in hydra.overrides.task if not o.startswith(("outputs=", "tags="))]
    content = {"overrides": overrides, "run": None if folder is None else str(folder), "error": error}
    write_json(Path(hydra.sweep.dir) / f"{hydra.job.num:05d}.json", content)


class SweepTable(Callback):
    """The end of a sweep: a table of its runs, whichever process ran them, and a non-zero exit if one failed."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        try:
            check_launcher(config.hydra.runtime.choices["hydra/launcher"], config.hydra.launcher._target_)
            if config.overwrite is True:
                os.environ[SWEEP] = _clearing(config)
        except UserError as error:
            report(error)
            sys.exit(2)  # Hydra goes on after a callback's error

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        # Loading processes cannot be started in the way in which joblib started this one.
        if multiprocessing.get_start_method(allow_none=True) == "loky":
            multiprocessing.set_start_method(None, force=True)

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        folder = Path(config.hydra.sweep.dir)
        jobs = [json.loads(path.read_text()) for path in sorted(folder.glob("[0-9]*.json"))]
        if not jobs:
            return
        varied = [o for o in jobs[0]["overrides"] if any(o not in job["overrides"] for job in jobs)]
        common = [o for o in jobs[0]["overrides"] if o not in varied]
        table: list[list[str]] = []
        failed, over_splits = [], defaultdict(list)
        for job in jobs:
            name = " ".join(o for o in job["overrides"] if o not in common) or "(as it is)"
            found = _awaited(RunFolder(job["run"])) if job["run"] else None
            if found is not None:
                row = [found["test"][key] for key in SHOWN] + [found["seconds"] / 60]
                over_splits[" ".join(o for o in name.split() if not o.startswith(SPLITS))].append(row)
                table.append([name, *(number(value) for value in row[:-1]), f"{row[-1]:.1f}"])
            else:
                failed.append(f"{name} failed: {job['error'] or 'the process that ran it did not finish it'}")
                table.append([name, "failed", *[""] * len(SHOWN)])
        for name, rows in over_splits.items():
            if len(rows) > 1:
                columns = np.array(rows, float).T  # None, an undefined criterion, becomes NaN
                means = [number(column.mean()) for column in columns[:-1]]
                table.append([f"{name} mean of {len(rows)}".strip(), *means, f"{columns[-1].mean():.1f}"])
                table.append(["± standard deviation", *(number(column.std(ddof=1)) for column in columns[:-1]), ""])
        console().print(printable(f"{len(jobs)} runs: {' '.join(common)}"), style="italic", soft_wrap=True)
        print_table(["run", *SHOWN, "minutes"], table)
        if failed:
            print(*map(printable, failed), sep="\n", flush=True)
            print(
                f"error: {len(failed)} of {len(jobs)} runs failed; the same command tries them again", file=sys.stderr
            )
            sys.exit(1)
        if os.environ.pop(SWEEP, None):
            _note_of(config).unlink(missing_ok=True)


def _note_of(config: DictConfig) -> Path:
    """Where a sweep with ``overwrite=true`` notes that it has begun, until all its runs have ended well."""
    words = json.dumps([str(Path.cwd()), *config.hydra.overrides.task])
    return Path(config.outputs, ".sweeps", f"overwrite-{hashlib.sha256(words.encode()).hexdigest()[:16]}.json")


def _clearing(config: DictConfig) -> str:
    """The name of this sweep, which the runs that it clears record; after an interruption that of the earlier start."""
    note = _note_of(config)
    try:
        earlier = read_json(note)
    except UserError:
        earlier = None
    if isinstance(earlier, str):
        return earlier
    note.parent.mkdir(parents=True, exist_ok=True)
    name = f"sweep {Path(config.hydra.sweep.dir).name}"
    write_json(note, name)
    return name


def _awaited(folder: RunFolder) -> dict[str, Any] | None:
    """The criteria of a run, once no other process works in its folder; None where it is not finished then."""
    if folder.busy():
        print(f"waiting for another process that works in {shown(folder.path)}", flush=True)
        while folder.busy():
            time.sleep(0.5)
    return read_metrics(folder) if folder.finished else None
