"""Training from Python, by the machinery of the command."""

import signal
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retdm.api.hydra_apart import hydra_apart
from retdm.api.run import Run
from retdm.api.words import parsed, words_of
from retdm.data.given.images import as_files
from retdm.data.given.targets import targets_of
from retdm.data.images import checked_range
from retdm.errors import UserError
from retdm.registry import PACKAGE
from retdm.runs.errors import as_user_error
from retdm.settings.compose import compose_settings
from retdm.stop import Stopped, listening

if TYPE_CHECKING:
    from retdm.data.images import Picture

_one_run = threading.Lock()  # threads, algorithms and signals are the process's


def train(
    words: str | Sequence[str] = "",
    /,
    *,
    images: "Iterable[Picture] | None" = None,
    targets: Any = None,
    labels: Sequence[str] | None = None,
    splits: Sequence[str] | None = None,
    groups: Sequence[Any] | None = None,
    **settings: Any,
) -> Run:
    """Train a method on data, evaluate it and write the run folder, as ``retdm train`` does.

    The same call finds its run again: where it is finished nothing is trained, and where it was stopped it continues.
    The report is printed as by the command. One run is trained at a time: a call from another thread waits.

    Args:
        words: those of the command, ``"data=csv data.root=/photos method=bce"``, quoted as in a shell; or a list.
        images: the user's own, instead of ``data=<name>``: n paths, PIL images, arrays (H, W) or (H, W, C) or tensors
            (C, H, W), in a list, an array (n, H, W, C), a column of a table or a generator. Integers of 8 and 16 bits
            span their type, floats span [0, 1]; other values need ``**{"data.value_range": [low, high]}``.
        targets: of ``images``: (n, L) of 1 (has the label), 0 (has not) and NaN or None (unknown); an array, nested
            lists or a DataFrame of label columns.
        labels: names of the L labels; a DataFrame brings its own, of which ``labels`` chooses.
        splits: ``"train"``, ``"validation"`` or ``"test"`` for each of ``images``; None divides them at random.
        groups: text or number of the group of each of ``images``, a patient or a shoot, whose images stay in one split;
            None or "" for an image that belongs to no other.
        settings: more settings, ``method="lr"``, ``seed=1``; with dots as ``**{"data.image_size": 64}`` or
            ``data={"image_size": 64}``.

    Returns:
        The finished run.

    Raises:
        UserError: something in settings or data is wrong, as the command would say it; a sweep is asked for, or several
            devices, which are the command's.
        KeyboardInterrupt: Ctrl-C, or a notebook's stop; what was trained is saved, and the same call continues.
    """
    with _one_run, _as_exceptions(), hydra_apart():
        asked = words_of(words, settings)
        if images is not None or targets is not None:
            asked = [*_own_images(images, targets, labels, splits, groups, asked), *asked]
        elif any(each is not None for each in (labels, splits, groups)):
            raise UserError(
                "labels, splits and groups are of images and targets, which are not given", "images=…, targets=…"
            )
        run = compose_settings(asked)
        from retdm.api.untouched import untouched  # brings PyTorch, once almost all that is wrong has been told
        from retdm.settings.devices import count_of, devices_and_nodes

        devices, nodes = devices_and_nodes(run.trainer)
        if nodes * count_of(devices) > 1:
            raise UserError(
                f"trainer.devices={run.trainer['devices']}: retdm.train works in the process that calls it",
                "on several devices: `retdm train …` in a shell; retdm.Run(<folder>) reads its run",
            )
        with untouched():
            from retdm.commands.train import train as train_and_report  # it prepares for sweeps

            folder = train_and_report(run)
    return Run(folder, user_classes=any(not kind.__module__.startswith(PACKAGE) for kind in run.classes.values()))


def _own_images(images: Any, targets: Any, labels: Any, splits: Any, groups: Any, asked: Sequence[str]) -> list[str]:
    """The words for images and targets, which are written as files where the run's own will be."""
    if images is None or targets is None:
        raise UserError(
            f"{'images' if images is None else 'targets'} is missing",
            "both are given: n images, and their targets (n, L)",
        )
    values: dict[str, Any] = {override.key_or_group: override.value() for override in parsed(asked)}
    for key in ("data", "data.root", "data.labels"):
        if key in values:
            raise UserError(
                f"{key}={values[key]}: the data is images and targets already", f"leave out {key} or images"
            )
    value_range = checked_range(values.get("data.value_range"))
    outputs = Path(str(values.get("outputs", "outputs")))
    found = as_files(images, targets_of(targets, labels), splits, outputs, value_range, groups)
    return words_of(
        ["data=csv"],
        {
            "data.root": found.root,
            "data.labels": found.table,
            "data.image_column": found.image_column,
            "data.other_columns": [],
            **({} if found.group_column is None else {"data.group": found.group_column}),
        },
    )


@contextmanager
def _as_exceptions() -> Iterator[None]:
    """Errors that a user can mend are ``UserError``; a signal takes effect in the caller's way, once all is saved."""
    try:
        with listening(ends_process=False) as request:
            yield
        return
    except Stopped as stopped:
        number = stopped.number
    except UserError:
        raise
    except Exception as error:
        known = as_user_error(error)
        if known is None:
            raise
        raise known from error
    if number != signal.SIGINT:
        signal.raise_signal(number)  # to the handler that was there before
    raise KeyboardInterrupt("the same call of retdm.train continues" if request.continues else "") from None
