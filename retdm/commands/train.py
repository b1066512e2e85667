"""Train a method on data, evaluate it and write the run folder; a run that was stopped continues.

  retdm train [experiment=<name>] [<group>=<name>] [<key>=<value>] …

examples
  retdm train                                        data drawn by the program, in minutes
  retdm train experiment=scene_retdm backbone=mobilenet_v2 data.root=/data
  retdm train -m experiment=scene_retdm method.weights.metric=0.1,0.3,1

retdm train --help method=<name> (or data=<name>, …) shows its settings.
retdm train --cfg job prints every setting with its value.
"""

import logging
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from retdm.commands import sweep
from retdm.commands.guard import guarded
from retdm.commands.output.tables import line_of, print_report
from retdm.display.text import printable
from retdm.errors import UserError
from retdm.registry import PACKAGE
from retdm.runs.errors import as_user_error
from retdm.runs.folder.paths import Busy, RunFolder, shown
from retdm.settings.compose import settings_of
from retdm.settings.run_settings import RunSettings
from retdm.stop import is_leader

log = logging.getLogger("retdm")


def main(config: DictConfig) -> None:
    """One job of ``retdm train``, alone or in a sweep."""
    guarded(lambda: _job(config))


def _job(config: DictConfig) -> None:
    hydra = HydraConfig.get()
    in_sweep = hydra.mode == RunMode.MULTIRUN
    try:
        settings = settings_of(config, dict(hydra.runtime.choices), list(hydra.overrides.task))
        if in_sweep and settings.run is not None:
            raise UserError("run=<folder> is one run's own place", "leave it out of a sweep")
        if in_sweep and sweep.needs_own_process(settings):
            with RunFolder(settings.folder).locked():
                pass  # or Busy
            sweep.run_alone(list(hydra.overrides.task))
            folder = settings.folder
        else:
            folder = train(settings, in_sweep=in_sweep)
    except Busy as error:
        if not in_sweep:
            raise
        print(f"{error.message}: its result is awaited at the end", flush=True)
        folder = settings.folder
    except Exception as error:
        # A sweep goes on after a failed job: its table and exit code report it.
        if not in_sweep:
            raise
        known = as_user_error(error)
        if known is None:
            log.exception("this job failed")
        sweep.record(hydra, None, f"{type(error).__name__}: {error}" if known is None else known.message)
        return
    if in_sweep:
        sweep.record(hydra, folder, None)


def train(settings: RunSettings, *, in_sweep: bool = False) -> Path:
    """Train one run to its end and print its report; in a sweep one line, for the table is the sweep's.

    Returns:
        The run's folder.

    Raises:
        UserError: something in settings or data is wrong; it stands in the folder's ``error.txt`` too.
        Stopped: a signal came; the same settings continue.
    """
    from retdm.runs.advice import next_steps  # bring PyTorch and Lightning
    from retdm.runs.train import train_run

    folder, title, report = train_run(settings, in_sweep=in_sweep)
    if not is_leader():
        return folder.path
    own = any(not kind.__module__.startswith(PACKAGE) for kind in settings.classes.values())
    test = f"retdm test run={shown(folder.path)}" + " user_classes=true" * own
    if report is None:
        print(f"finished already: {shown(folder.path)} (overwrite=true runs it anew)")
        if folder.page.exists():
            print(f"page       {printable(shown(folder.page))}")
        print(test, flush=True)
    elif in_sweep:
        print(line_of(title, report), flush=True)
    else:
        _draw_page(folder)
        title = f"{title}   {shown(folder.path)}"
        steps = next_steps(settings, folder)
        print_report(folder, title, report, per_label=settings.per_label, steps=steps, last=test)
    return folder.path


def _draw_page(folder: RunFolder) -> None:
    """Write the page of a run that has just ended; one that fails is a warning, for the run has not."""
    from retdm.report.one_run.page import write_run_page

    try:
        write_run_page(folder.path)
    except Exception as error:
        log.warning("the page of the run failed: %s: %s", type(error).__name__, error)
        log.debug("where it failed", exc_info=True)
