"""What a run does next, by what is in its folder; and its ``config.yaml``."""

import logging
import os
from typing import Any

import yaml

from retdm.decisions import rule_of
from retdm.decisions.calibration import check_kind
from retdm.errors import UserError
from retdm.files import write_text
from retdm.runs.folder.paths import SWEEP, RunFolder, read_config, read_metrics, shown
from retdm.runs.folder.provenance import provenance
from retdm.runs.folder.rows import BEFORE_REFIT, VALIDATION, ChosenOn, read_chosen_on
from retdm.settings.plain import differences
from retdm.settings.run_settings import FORMAT, RunSettings, check_format
from retdm.training.checkpoint_files import read_checkpoint

log = logging.getLogger("retdm")


def plan(folder: RunFolder, settings: RunSettings) -> str:
    """``start``, ``continue``, or ``finished``; afterwards the folder is ready for that, and its config is this run's.

    ``overwrite=true`` clears a run once and records that in the config: the same command continues what it began, so
    that a job which is killed and started again comes to its end. A run that has ended is cleared again, unless it is
    of the same sweep, which has other jobs to do.

    Raises:
        UserError: the folder holds something else than a run, or a run of other settings. It is left as it is.
    """
    old = read_config(folder) if folder.config.exists() else None
    if old is None and (other := folder.artifacts()):
        raise UserError(
            f"{shown(folder.path)} holds {other[0].name} of something else than a run", "choose another run=<folder>"
        )
    found = [] if old is None else differences(old["identity"], settings.identity)
    cleared = (old or {}).get("cleared_by")
    older = old is not None and old.get("format") != FORMAT
    if settings.overwrite and (old is None or older or found or not _goes_on(folder, cleared)):
        folder.clear()
        cleared = os.environ.get(SWEEP, "a command")
    elif folder.begun and old is not None:
        check_format(old, folder.config)
        if found:
            raise UserError(
                f"{shown(folder.path)} holds a run of other settings: {'; '.join(found[:4])}",
                "choose another run=<folder>, or overwrite=true",
            )
    if folder.finished:
        return "finished"
    continues = folder.last.exists()
    if continues:
        folder.error.unlink(missing_ok=True)
    else:
        folder.clear()
    content = {
        **settings.as_dict(),
        "identity": settings.identity,
        "provenance": provenance(settings.typed),
        "cleared_by": cleared,
    }
    write_text(folder.config, yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
    return "continue" if continues else "start"


def _goes_on(folder: RunFolder, cleared: Any) -> bool:
    """True where ``overwrite=true`` began the run, and now continues it or leaves it finished."""
    if cleared is None:
        return False
    if folder.finished:
        return bool(cleared == os.environ.get(SWEEP))
    try:
        return not folder.last.exists() or bool(read_checkpoint(folder.last))
    except UserError:  # it cannot be continued; the message of this error names overwrite=true
        return False


def threshold_before(settings: RunSettings) -> float | None:
    """Threshold of a deep run with ``refit=true``, which trains on its validation split and cannot choose one there.

    That of the settings, else the one that the finished run of the same settings without ``refit`` has chosen; None
    where there is none and the method decides otherwise.

    Raises:
        UserError: the method decides by it, and there is none.
    """
    if settings.threshold is not None:
        return float(settings.threshold)
    if settings.method.get("decide") != "validation":
        return None
    before = RunFolder(settings.changed(refit=False, run=None).folder)
    found = read_metrics(before) if before.finished else None
    if found is None or not isinstance(found.get("threshold"), int | float):
        raise UserError(
            "refit=true, decide=validation: a run that trains on its validation split cannot choose a threshold on it",
            "run the same with refit=false first, whose threshold is taken; or give one: threshold=<number>, as "
            "printed by retdm report <folder> choose=<criterion>",
        )
    log.info("threshold %.3g, as %s chose on validation", found["threshold"], shown(before.path))
    return float(found["threshold"])


def chosen_on_before(settings: RunSettings) -> ChosenOn | None:
    """What thresholds of a deep run with ``refit=true`` are chosen on, which trains on its validation split.

    What the finished run of the same settings without ``refit`` chose on; None where the method's rule has no
    threshold to choose on images, and no calibration is fitted to them.

    Raises:
        UserError: it has, and there is no such run.
    """
    rule, kind = rule_of(settings.method.get("decide", "half")), check_kind(settings.method.get("calibrate"))
    if not rule.needs_rows and kind is None:
        return None
    what = f"decide={rule.name}" if rule.needs_rows else f"calibrate={kind}"
    before = RunFolder(settings.changed(refit=False, run=None).folder)
    found = read_chosen_on(before) if before.finished else None
    if found is None:
        raise UserError(
            f"refit=true, {what}: a run that trains on its validation split cannot choose on it",
            "run the same with refit=false first, on whose predictions it then chooses",
        )
    log.info("thresholds are chosen on the predictions of %s", shown(before.path))
    return found._replace(source=BEFORE_REFIT) if found.source == VALIDATION else found
