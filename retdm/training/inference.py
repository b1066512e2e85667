"""The inference loop: what a method computes of batches outside training, whatever asks for it."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
import torch

from retdm.backbones.base import evaluating
from retdm.data.base_module import Data
from retdm.display.screen import track
from retdm.losses import gather_rows
from retdm.methods.base import Method, Predictions
from retdm.stop import is_leader

T = TypeVar("T")


def infer(method: Method, batches: Iterable[Any], compute: Callable[[Any], T]) -> Iterator[tuple[Any, T]]:
    """Apply ``compute`` to each batch, in evaluation mode and without gradients.

    The method computes on the device where it lies, and is left in the mode it came in whenever a result is handed on.

    Args:
        batches: as a data set gives them: images uint8, on the CPU.
        compute: takes the batch on the method's device, its images normalised: ``method.scores``, say.

    Yields:
        The batch that ``compute`` took, and its result.
    """
    for batch in batches:
        with evaluating(method):
            batch = method.prepared(batch)
            result = compute(batch)
        yield batch, result


def predict(method: Method, data: Data, split: str) -> dict[str, np.ndarray]:
    """Predictions for a whole split by all processes of the run, each of which computes its share of every batch.

    Args:
        split: ``train``, ``validation`` or ``test``.

    Returns:
        See :func:`gathered`; alike in all processes.
    """
    batches = data.split_loader(split, on_gpu=method.device.type == "cuda")
    shown = track(batches, f"evaluating {split}", len(batches)) if is_leader() else batches
    return gathered([rows for _, rows in infer(method, shown, method.predictions)])


def gathered(batches: Sequence[Predictions]) -> dict[str, np.ndarray]:
    """The predictions of all batches and processes as arrays: index (n,) in ascending order, scores, target and known
    (n, L)."""
    columns = [gather_rows(torch.cat(column)).cpu().numpy() for column in zip(*batches, strict=True)]
    order = np.argsort(columns[0], kind="stable")
    return {name: column[order] for name, column in zip(Predictions._fields, columns, strict=True)}
