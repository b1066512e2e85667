"""The user's own bags of features, from one file. Notation: n bags, T instances in all, D features, L labels.

Labels are 0 and 1, or -1 and 1; NaN, in text an empty cell or ``?``, where nobody said. In text true, false, yes and no
are read too. Label names follow the rules of a label table: single spaces, NFC, no two that differ in case alone.

``.npz`` (``numpy.savez``): ``instances`` (T, D); either ``offsets`` (n + 1,), so that bag i is
``instances[offsets[i]:offsets[i + 1]]``, or ``bag`` (T,), the number from 0 on of each instance's bag; ``targets``
(n, L); ``names`` (L,), text. Bags are named by their number from 0 on.

``.mat`` (up to version 7): a cell array ``bags`` of n matrices (instances, D); ``targets`` or ``target`` (L, n);
``class_name``, L texts, where the labels have names. The layout of ``miml data.mat`` by Zhou and Zhang. Bags are named
by their number from 1 on.

``.csv``: one line an instance, under a line of column names, separated by commas, semicolons, tabs or ``|``: ``bag``
(any text; lines of a bag need not be adjacent), the columns that ``label_columns`` lists, which must be the same on all
lines of a bag; all others are features.

``.arff``: the format of the MIML library (https://github.com/kdis-lab/MIML): a bag's name, one relational attribute
whose instances are parted by ``\\n`` within quotes, and the labels, which are ``label_columns``, or those that the
``.xml`` of the same name lists, or, without one, all other attributes.
"""

import csv
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from retdm.data.bag_source import BagArrays, stacked
from retdm.data.user.csv_table import separator_of
from retdm.data.user.label_names import near, some, tidy
from retdm.data.user.mat import read_mat
from retdm.errors import UserError

BAG = "bag"
ATTRIBUTE = re.compile(r"""@attribute\s+(?:'([^']+)'|"([^"]+)"|([^\s{]+))\s*(.*)""", re.IGNORECASE)
NUMBERS = {"": np.nan, "?": np.nan, "true": 1.0, "yes": 1.0, "false": 0.0, "no": 0.0}
VALUE = re.compile(r"""\s*("[^"]*"|'[^']*'|[^,]*?)\s*,""")


class Read(NamedTuple):
    """The content of a file; the fields are arguments of ``BagArrays``."""

    names: Sequence[str]
    ids: Sequence[str]
    instances: NDArray[Any]
    offsets: NDArray[Any]
    targets: NDArray[Any]
    columns: Sequence[str] | None = None


class BagFiles(BagArrays):
    """A ``BagSource`` from the user's file.

    Args:
        file: ``.npz``, ``.mat``, ``.csv`` or ``.arff``, as above.
        label_columns: the columns (csv) or attributes (arff) that are labels, or the only one.

    Raises:
        UserError: the file cannot be read or does not hold bags; it names the first line, bag or column at fault.
    """

    user_settings = ("file",)

    @staticmethod
    def user_files(file: str) -> tuple[Path, ...]:
        """The file itself."""
        return (Path(file).expanduser(),)

    def __init__(self, file: str | None = None, label_columns: str | list[str] | None = None) -> None:
        if file is None:
            raise UserError("data.file is not set", f"name the file of your bags: {', '.join(READERS)}")
        path = Path(file).expanduser()
        reader = READERS.get(path.suffix.lower())
        if reader is None:
            raise UserError(f"data.file={file} ends in {path.suffix!r}", f"it must be one of: {', '.join(READERS)}")
        if isinstance(label_columns, str):
            label_columns = [label_columns]
        try:
            found = reader(path, label_columns)
        except UserError:
            raise
        except Exception as error:  # zip, MATLAB and text decoders raise nearly anything on broken bytes
            reason = f"{path} cannot be read: {type(error).__name__}: {error}"
            raise UserError(reason, "retdm/data/user/bag_files.py describes its layout") from error
        super().__init__("bags", path, **found._asdict())


def _npz(path: Path, label_columns: list[str] | None) -> Read:
    with np.load(path, allow_pickle=False) as content:
        found = {name: content[name] for name in content.files}
    layout = [key for key in ("offsets", BAG) if key in found]
    missing = [key for key in ("instances", "targets", "names") if key not in found]
    if missing or len(layout) != 1:
        raise UserError(
            f"{path} holds {', '.join(found)}; expected instances, targets, names, and either offsets or bag",
            "numpy.savez(file, instances=…, offsets=…, targets=…, names=…)",
        )
    ids = [str(i) for i in range(len(found["targets"]))]
    instances, offsets = found["instances"], found[layout[0]]
    if layout == [BAG]:
        order, offsets = _grouped(offsets, len(ids), len(instances), path)
        instances = instances[order]
    return Read(found["names"].ravel().astype(str).tolist(), ids, instances, offsets, found["targets"])


def _grouped(bag: NDArray[Any], n: int, total: int, path: Path) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(the order that puts instances bag after bag, offsets)."""
    if bag.shape != (total,) or bag.dtype.kind not in "iu":
        raise UserError(f"{path}: bag is {bag.shape} of {bag.dtype}, expected {total:,} integers, one an instance")
    if (strange := (bag < 0) | (bag >= n)).any():
        first = int(np.argmax(strange))
        raise UserError(f"{path}: bag[{first}] is {bag[first]}, expected 0 to {n - 1} (targets has {n:,} rows)")
    sizes = np.bincount(bag, minlength=n)
    return np.argsort(bag, kind="stable"), np.concatenate([[0], np.cumsum(sizes)])


def _mat(path: Path, label_columns: list[str] | None) -> Read:
    content = read_mat(path)
    cells, targets = content.get("bags"), content.get("targets", content.get("target"))
    if cells is None or cells.dtype != np.dtype(object) or targets is None:
        holds = ", ".join(name for name in content if not name.startswith("__"))
        raise UserError(
            f"{path} holds {holds}; expected a cell array bags of matrices (instances x features), and targets",
            "bags = {…}; targets = …; save('file.mat', 'bags', 'targets'), targets being labels x bags",
        )
    bags = cells.ravel()
    ids = [str(i + 1) for i in range(len(bags))]
    if targets.ndim != 2 or targets.shape[1] != len(bags):
        raise UserError(f"{path}: targets are {targets.shape}, expected (labels, {len(bags)}), a column a bag")
    if "class_name" in content:
        names = [str(np.asarray(cell).item()).strip() for cell in content["class_name"].ravel()]
    else:
        names = [f"label {i + 1}" for i in range(len(targets))]
    return Read(names, ids, *stacked(bags, ids, path), targets.T)


def _csv(path: Path, label_columns: list[str] | None) -> Read:
    with path.open(newline="", encoding="utf-8-sig") as opened:
        sign, excel = separator_of(opened.readline())
        if not excel:
            opened.seek(0)
        rows = csv.reader(opened, delimiter=sign)
        header = [tidy(name, path) for name in next(rows, [])]
        at, labels = _bag_and_labels(path, header, label_columns)
        features = [i for i in range(len(header)) if i not in labels and i != at]
        instances: dict[str, list[NDArray[np.float32]]] = {}
        targets: dict[str, NDArray[np.float32]] = {}
        for row in rows:
            if not row:
                continue
            where = f"{path}:{rows.line_num + (excel > 0)}"
            if len(row) != len(header):
                raise UserError(f"{where}: {len(row)} cells, expected {len(header)} as in the first line")
            bag = row[at].strip()
            stated = _numbers([row[i] for i in labels], where)
            if not np.array_equal(targets.setdefault(bag, stated), stated, equal_nan=True):
                raise UserError(
                    f"{where}: bag {bag} has other labels than on its lines before", "a bag has one label set"
                )
            instances.setdefault(bag, []).append(_numbers([row[i] for i in features], where))
    if not instances:
        raise UserError(f"{path} has no line below its column names", "write one line an instance")
    ids = list(instances)
    stack = stacked([np.stack(instances[bag]) for bag in ids], ids, path)
    return Read(
        [header[i] for i in labels], ids, *stack, np.stack([targets[bag] for bag in ids]), _at(header, features)
    )


def _bag_and_labels(path: Path, header: list[str], label_columns: list[str] | None) -> tuple[int, list[int]]:
    if twice := next((name for name in header if header.count(name) > 1), None):
        raise UserError(f"{path}: two columns are called {twice!r}")
    bag = next((i for i, name in enumerate(header) if name.lower() == BAG), None)
    if bag is None:
        raise UserError(f"{path} has no column {BAG}", f"it has {some(header)}; one of them names each line's bag")
    if not label_columns:
        raise UserError("data.label_columns is not set", f"list which of {some(header)} are labels")
    features = [name for i, name in enumerate(header) if i != bag]
    places = [_place(name, features, path) for name in label_columns]
    return bag, [place + (place >= bag) for place in places]


def _place(name: object, names: list[str], path: Path) -> int:
    wanted = tidy(str(name), "data.label_columns")
    if wanted not in names:
        meant = near(wanted, names)
        raise UserError(f"{path} has no label {wanted!r}", f"there is {meant!r}" if meant else f"it has {some(names)}")
    return names.index(wanted)


def _at(items: Sequence[str], places: Sequence[int]) -> list[str]:
    return [items[i] for i in places]


def _numbers(cells: Sequence[str], where: str) -> NDArray[np.float32]:
    """Cells as float32, NaN for empty ones and ``?``, 1 and 0 for words that mean them."""
    try:
        return np.fromiter(map(float, cells), np.float32, len(cells))  # nearly always, and fast
    except ValueError:
        pass
    try:
        return np.array([_number(_unquoted(cell.strip()).lower()) for cell in cells], np.float32)
    except ValueError as error:
        raise UserError(f"{where}: {error}", "features and labels are numbers") from error


def _number(cell: str) -> float:
    return NUMBERS[cell] if cell in NUMBERS else float(cell)


def _unquoted(text: str) -> str:
    return text.strip("\"'")


def _arff(path: Path, label_columns: list[str] | None) -> Read:
    lines = _lines(path)
    names, bag, columns = _attributes(path, lines)
    outside = [i for i in range(len(names)) if i != bag]
    wanted = label_columns or _names_in_xml(path.with_suffix(".xml")) or _at(names, [i for i in outside if i])
    labels = sorted(_place(name, names, path) for name in wanted)  # in the order of the attributes
    name_at = next((i for i in outside if i not in labels), None)
    ids: list[str] = []
    bags, targets = [], []
    for number, line in lines:
        where = f"{path}:{number}"
        values = VALUE.findall(line + ",")
        if len(values) != len(names):
            raise UserError(f"{where}: {len(values)} values, expected {len(names)}, the bag's own in quotes")
        rows = [_numbers(row.split(","), where) for row in _unquoted(values[bag]).split("\\n") if row.strip()]
        if short := [len(row) for row in rows if len(row) != len(columns)]:
            raise UserError(f"{where}: an instance has {short[0]} values, expected {len(columns)}")
        ids.append(str(len(ids)) if name_at is None else _unquoted(values[name_at]))
        bags.append(np.array(rows, np.float32))
        targets.append(_numbers(_at(values, labels), where))
    return Read(_at(names, labels), ids, *stacked(bags, ids, path), np.array(targets), columns)


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """(number, text) of the lines that are neither empty nor comments."""
    with path.open(encoding="utf-8-sig") as opened:
        for number, line in enumerate(opened, 1):
            text = line.strip()
            if text and not text.startswith("%"):
                yield number, text


def _attributes(path: Path, lines: Iterator[tuple[int, str]]) -> tuple[list[str], int, list[str]]:
    """(names of the attributes, place of the relational one, names of the attributes inside it); stops at @data."""
    names: list[str] = []
    columns: list[str] = []
    bag, inside = None, False
    for number, line in lines:
        word = line.split()[0].lower()
        if word == "@data":
            break
        if word == "@end":
            inside = False
        elif word == "@attribute":
            match = ATTRIBUTE.match(line)
            relational = match is not None and match[4].strip().lower() == "relational"
            if match is None or (relational and bag is not None):
                raise UserError(f"{path}:{number}: {line[:60]!r} is not understood", "one relational attribute is read")
            (columns if inside else names).append(tidy(match[1] or match[2] or match[3], f"{path}:{number}"))
            if relational:
                bag, inside = len(names) - 1, True
        elif word != "@relation":
            raise UserError(f"{path}:{number}: {line[:60]!r} is not understood", "expected @attribute, @end or @data")
    if bag is None or inside:
        what = "is not ended by @end" if inside else "is missing"
        raise UserError(f"{path}: the relational attribute {what}", "it holds the instances of a bag")
    return names, bag, columns


def _names_in_xml(path: Path) -> list[str]:
    """Labels that a Mulan XML file lists; none where there is no such file."""
    if not path.exists():
        return []
    try:
        elements = ElementTree.parse(path).iter()
        return [element.attrib["name"] for element in elements if element.tag.rpartition("}")[2] == "label"]
    except (ElementTree.ParseError, KeyError) as error:
        raise UserError(f"{path} cannot be read: {error}", 'expected <labels><label name="…"/>…</labels>') from error


READERS: dict[str, Callable[[Path, list[str] | None], Read]] = {
    ".npz": _npz,
    ".mat": _mat,
    ".csv": _csv,
    ".arff": _arff,
}
