"""Sources of bags, checked. Notation: n bags, T instances in all, D features, L labels."""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from retdm.data.source import BagSource
from retdm.data.user.label_names import distinct
from retdm.errors import UserError

EMPTY_HINT = "leave bags without instances out"


class BagArrays(BagSource):
    """A ``BagSource`` whose arrays are checked to fit together; a set of bags reads its files and passes them here.

    Args:
        name: begins the fingerprint, the rest of which is a hash of the contents.
        where: the file of the arrays, for messages.
        names: the L labels, all different.
        ids: one name a bag, all different.
        instances: finite numbers (T, D), bag after bag.
        offsets: integers (n + 1,); bag i is ``instances[offsets[i] : offsets[i + 1]]``, never empty.
        targets: (n, L) of 0 and 1, or -1 and 1; NaN where nobody said whether the bag has the label.
        instance_targets: (T, L), the same of each instance, without NaN.
        columns: names of the D features, for messages.

    Raises:
        UserError: they do not fit together; it names the first bag at fault.
    """

    def __init__(
        self,
        name: str,
        where: object,
        *,
        names: Sequence[str],
        ids: Sequence[str],
        instances: ArrayLike,
        offsets: ArrayLike,
        targets: ArrayLike,
        instance_targets: ArrayLike | None = None,
        columns: Sequence[str] | None = None,
    ) -> None:
        self.names = distinct(_different(names, "labels", where), where)
        self.ids = _different(ids, "bags", where)
        self.instances = _instances(instances, where)
        self.offsets = _offsets(offsets, self.ids, len(self.instances), where)
        self._check_finite(columns, where)
        self.targets, self.known = _labelled(targets, (len(self.ids), len(self.names)), "targets", self, where)
        if instance_targets is not None:
            shape = (len(self.instances), len(self.names))
            self.instance_targets, known = _labelled(instance_targets, shape, "instance targets", self, where)
            if not known.all():
                raise UserError(f"{where}: instance targets hold NaN", "every instance's labels must be known")
            self.knows_instances = True
        self.fingerprint = f"{name}-{self._digest()}"

    def _check_finite(self, columns: Sequence[str] | None, where: object) -> None:
        strange = ~np.isfinite(self.instances)
        if strange.any():
            row, column = np.argwhere(strange)[0]
            bag = self.ids[np.searchsorted(self.offsets, row, side="right") - 1]
            feature = columns[column] if columns is not None else column + 1
            raise UserError(
                f"{where}: bag {bag}, column {feature} holds {self.instances[row, column]}, expected a finite number",
                "fill it in or leave the instance out",
            )

    def _digest(self) -> str:
        digest = hashlib.sha256("\0".join([*self.names, *self.ids]).encode())
        for array in (self.instances, self.offsets, self.targets, self.known):
            digest.update(array.data)
        return digest.hexdigest()[:16]


def stacked(bags: Iterable[Any], ids: Sequence[str], where: object) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """(instances (T, D), offsets (n + 1,)) of one array (instances, D) a bag.

    Raises:
        UserError: a bag is no table of numbers, or is not as wide as the first that has an instance.
    """
    arrays = [np.asarray(bag) for bag in bags]
    width = next((array.shape[1] for array in arrays if array.size and array.ndim == 2), 0)
    for bag, array in zip(ids, arrays, strict=True):
        if array.size and (array.ndim != 2 or array.shape[1] != width or array.dtype.kind not in "biuf"):
            found = f"{' x '.join(map(str, array.shape)) or 'one value'} of {array.dtype}"
            raise UserError(f"{where}: bag {bag} is {found}, expected instances x {width} features, numbers")
    sizes = [len(array) if array.size else 0 for array in arrays]
    full = [_narrowed(array) for array in arrays if array.size]
    instances = np.concatenate(full) if full else np.zeros((0, width), np.float32)
    return instances, np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])


def _narrowed(array: NDArray[Any]) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):  # becomes inf, which is reported with its bag and column
        return np.ascontiguousarray(array, dtype=np.float32)


def _different(values: Sequence[str], what: str, where: object) -> list[str]:
    found = [str(name) for name in values]
    if not found:
        raise UserError(f"{where} has no {what}", "there must be at least one")
    seen: set[str] = set()
    for name in found:
        if name in seen or not name.strip():
            raise UserError(f"{where}: {what} must have different names, found {name!r} twice or blank")
        seen.add(name)
    return found


def _instances(values: ArrayLike, where: object) -> NDArray[np.float32]:
    array = np.asarray(values)
    if array.ndim != 2 or not array.shape[1] or array.dtype.kind not in "biuf":
        raise UserError(
            f"{where}: instances are {array.shape} of {array.dtype}, expected numbers (instances, features)"
        )
    return _narrowed(array)


def _offsets(values: ArrayLike, ids: list[str], total: int, where: object) -> NDArray[np.int64]:
    array = np.asarray(values)
    if array.shape != (len(ids) + 1,) or array.dtype.kind not in "iu":
        raise UserError(
            f"{where}: offsets are {array.shape} of {array.dtype}, expected {len(ids) + 1:,} integers",
            "one for the beginning of each bag, and the end of the last",
        )
    offsets = np.ascontiguousarray(array, dtype=np.int64)
    if offsets[0] != 0 or offsets[-1] != total:
        raise UserError(
            f"{where}: offsets go from {offsets[0]} to {offsets[-1]}, expected 0 to {total} (all instances)"
        )
    sizes = np.diff(offsets)
    if (sizes < 0).any():
        raise UserError(
            f"{where}: bag {ids[int(np.argmax(sizes < 0))]} ends before it begins", "offsets must not decrease"
        )
    if (sizes == 0).any():
        raise UserError(f"{where}: bag {ids[int(np.argmax(sizes == 0))]} is empty", EMPTY_HINT)
    return offsets


def _labelled(
    values: ArrayLike, shape: tuple[int, int], what: str, bags: BagArrays, where: object
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """(targets of 0 and 1, known), both of ``shape``."""
    array = np.asarray(values)
    if array.shape != shape or array.dtype.kind not in "biuf":
        raise UserError(f"{where}: {what} are {array.shape} of {array.dtype}, expected numbers {shape}")
    numbers = array.astype(np.float64, order="C")
    known = ~np.isnan(numbers)
    negative = -1 if (numbers == -1).any() else 0
    strange = known & (numbers != 1) & (numbers != negative)
    if strange.any():
        row, label = np.argwhere(strange)[0]
        owner = f"bag {bags.ids[row]}" if what == "targets" else f"instance {row + 1}"
        value, other = numbers[row, label], "-1 and 1" if negative else "0 and 1"
        raise UserError(
            f"{where}: {what} of {owner}, label {bags.names[label]} hold {value:g}, expected {other} as in the others",
            "write 0 and 1, or -1 and 1, and NaN where it is not known (-1 beside 0 and 1, as in CheXpert)",
        )
    return (numbers == 1).astype(np.uint8), known
