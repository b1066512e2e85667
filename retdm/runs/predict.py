"""``python -m retdm.predict run=<folder> images=<…>``: label image files with a trained run."""

import csv
import glob
import io
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from retdm.criteria import decide
from retdm.criteria.decide import RULES
from retdm.data.source import UnreadableImage, read_image
from retdm.errors import UserError
from retdm.files import whole, write_json
from retdm.methods.base import Method
from retdm.runs import build
from retdm.runs.errors import guarded
from retdm.runs.folder import RunFolder, read_json, shown
from retdm.runs.gallery import MOST, Card, gallery_page, thumbnail
from retdm.runs.judge import OWN, own_thresholds
from retdm.runs.model import Model
from retdm.runs.names import nearest
from retdm.runs.values import fits, in_words
from retdm.screen import track
from retdm.text import path_cell, printable, safe_cell

KINDS: dict[str, Any] = {
    "run": str | None,
    "images": str | list[str] | None,
    "out": str | None,
    "decide": str | None,
    "device": str,
    "batch_size": int,
    "gallery": bool,
    "own_classes": bool,
}
ENDINGS = {
    ".avif", ".bmp", ".gif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"
}  # fmt: skip
THREADS = min(8, os.cpu_count() or 1)
T = TypeVar("T")
R = TypeVar("R")


class Unread(NamedTuple):
    """A file that cannot be read as an image, and why."""

    file: Path
    reason: str


class Found(NamedTuple):
    """What predicting leaves, before it is written. Letters: n readable images, L labels.

    Attributes:
        files: n paths as they were asked for.
        scores: float32 (n, L).
        decided: bool (n, L), labels that the rule gives.
        cards: what a gallery shows of each, where one is asked for.
        unreadable: the other files.
    """

    files: list[Path]
    scores: np.ndarray
    decided: np.ndarray
    cards: list[Card]
    unreadable: list[Unread]


def main(config: DictConfig) -> None:
    """Write ``predictions.csv`` and ``predictions.json``, and ``gallery.html`` where it is asked for."""
    guarded(lambda: _predict(config))


def _predict(config: DictConfig) -> None:
    asked = _checked(OmegaConf.to_container(config, resolve=True))
    device = _device(asked["device"])
    files = find_images([asked["images"]] if isinstance(asked["images"], str) else asked["images"])
    if asked["gallery"] and len(files) > MOST:
        raise UserError(
            f"gallery=true: {len(files):,} images are too many for one page (at most {MOST:,})",
            "choose fewer with images=<…>, or leave gallery=true out",
        )
    build.prepare_process()
    run = RunFolder(asked["run"])
    model = Model(run.path, device, own_classes=asked["own_classes"])
    if model.dim is not None:
        raise UserError(
            f"{printable(run.path)} was trained on bags of instances, not on images",
            'retdm.load("<run>").predict([array of (instances, features), …]) gives its scores',
        )
    rule = asked["decide"] or model.method.decide
    threshold = threshold_of(run, rule, model.method)
    out = _writable(Path(asked["out"] or run.path / "predictions"))

    print(f"{len(files):,} files, on {device}; {in_plain_words(rule, threshold)}", flush=True)
    started = time.monotonic()
    found = _score(
        model,
        files,
        asked["batch_size"],
        lambda scores: decide(scores, rule, 0.5 if threshold is None else np.array(threshold)),
        gallery=asked["gallery"],
    )
    seconds = time.monotonic() - started
    _tell_unreadable(found.unreadable, len(files))
    print(f"{len(found.files):,} images in {seconds:.1f} s: {len(found.files) / seconds:.1f} images/s", flush=True)

    written = [out / "predictions.csv", out / "predictions.json"]
    _write(written[0], predictions_csv(found, model.labels))
    write_json(written[1], {"run": printable(run.path), "labels": model.labels, "rule": rule, "threshold": threshold}
               | predictions_json(found, model.labels))  # fmt: skip
    if asked["gallery"]:
        page = gallery_page(found.cards, model.labels, run=run.path, rule=in_plain_words(rule, threshold))
        written.append(out / "gallery.html")
        _write(written[2], page)
    for path in written:
        print(f"wrote {printable(Path(shown(path)))}", flush=True)


def _checked(asked: Any) -> dict[str, Any]:
    """What was asked for, every key known and every value of its kind."""
    for key in ("run", "images", "out"):  # a folder may be called 2024
        asked[key] = _as_text(asked[key])
    for key, value in asked.items():
        if key not in KINDS:
            raise UserError(f"{key} is not a setting", nearest(key, KINDS))
        if not fits(value, KINDS[key]):
            raise UserError(f"{key}={value} is not {in_words(KINDS[key])}")
    if asked["run"] is None:
        raise UserError(
            "which run? run=<folder> is missing",
            "python -m retdm.predict run=outputs/<data>/<method>/<name> images=<…>",
        )
    if not asked["images"]:
        raise UserError(
            "which images? images=<…> is missing", f"images=<folder, file, glob, or list>, beside run={asked['run']}"
        )
    if asked["batch_size"] < 1:
        raise UserError(f"batch_size={asked['batch_size']} is out of range", "it is 1 or more")
    if asked["decide"] is not None and asked["decide"] not in RULES:
        raise UserError(f"decide={asked['decide']} is not known", nearest(asked["decide"], RULES))
    return dict(asked)


def _as_text(value: Any) -> Any:
    if isinstance(value, list):
        return [_as_text(item) for item in value]
    return str(value) if fits(value, int) else value


def _device(asked: str) -> str:
    if asked not in ("auto", "cpu", "cuda"):
        raise UserError(f"device={asked} is not known", "it is one of: auto, cpu, cuda")
    there = torch.cuda.is_available()
    if asked == "cuda" and not there:
        raise UserError("device=cuda: there is no GPU that PyTorch can use", "device=cpu")
    return asked if asked != "auto" else "cuda" if there else "cpu"


def find_images(asked: Iterable[str]) -> list[Path]:
    """The image files that folders (with all below them), files and globs name, each once.

    In the order asked for; those of one folder or glob sorted. Folders and globs give what ends like an image and is
    not hidden, a file named by itself is taken whatever its name.

    Raises:
        UserError: something names no file at all, or a folder may not be read.
    """
    found: dict[Path, None] = {}
    for item in asked:
        path = Path(item).expanduser()
        if path.is_file():
            files = [path]
        elif path.is_dir():
            files = _below(path)
        elif glob.has_magic(item):
            files = []
            for match in sorted(map(Path, glob.glob(str(path), recursive=True))):
                files += _below(match) if match.is_dir() else [match] if _is_image(match.name) else []
        else:
            raise UserError(
                f"images: there is no {printable(path)}", "name a folder, a file, a glob, or a list of these"
            )
        if not files:
            raise UserError(
                f"images: there is no image in {printable(path)}", f"looked for {' '.join(sorted(ENDINGS))}"
            )
        found |= dict.fromkeys(files)
    return list(found)


def _below(folder: Path) -> list[Path]:
    def refuse(error: OSError) -> None:
        raise UserError(f"images: {error.filename} cannot be read: {error.strerror}", "choose another folder")

    found = []
    for place, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(place, name) for name in names if _is_image(name)]
    return sorted(found)


def _is_image(name: str) -> bool:
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in ENDINGS


def threshold_of(run: RunFolder, rule: str, method: Method) -> float | list[float] | None:
    """The score from which a label is decided for, or one of each label; None where the rule has none.

    Raises:
        UserError: the rule takes the run's threshold, and its ``metrics.json`` has none.
    """
    if rule == OWN:
        return own_thresholds(method)
    if rule != "validation":
        return 0.5 if rule == "half" else None
    found: Any = None
    with suppress(UserError):
        found = read_json(run.metrics)
    threshold: Any = found.get("threshold") if isinstance(found, dict) else None
    if not fits(threshold, float):
        raise UserError(
            f"decide=validation takes its threshold from {run.metrics}, which is not there or has none",
            "let the run reach its end: repeat its train.py command; or choose another rule, such as half",
        )
    return float(threshold)


def in_plain_words(rule: str, threshold: float | list[float] | None) -> str:
    """What the rule decides for."""
    if rule == "t_criterion":
        return "labels scored 0.5 or more, or else the highest"
    if isinstance(threshold, list):
        return "labels scored at least their own threshold, as training chose"
    if threshold is None:
        return "the three highest labels of each image"
    return f"labels scored {threshold:.3g} or more" + (", as validation chose" if rule == "validation" else "")


def _writable(out: Path) -> Path:
    """The folder, made; asked before the work and not after."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        reason = "" if os.access(out, os.W_OK) else "it may not be written"
    except OSError as error:
        reason = error.strerror or str(error)
    if reason:
        raise UserError(f"cannot write to {printable(out)}: {reason}", "choose another place: out=<folder>")
    return out


class _Read(NamedTuple):
    file: Path
    view: Tensor
    thumbnail: bytes


def _score(
    model: Model, files: list[Path], batch_size: int, deciding: Callable[[np.ndarray], np.ndarray], *, gallery: bool
) -> Found:
    def read(file: Path) -> _Read | Unread:
        try:
            image = read_image(file)
        except UnreadableImage as error:
            return Unread(file, error.message.removeprefix(f"{file} "))
        return _Read(file, model.view(image), thumbnail(image) if gallery else b"")

    unread: list[Unread] = []

    def readable() -> Iterator[_Read]:
        for each in track(read_ahead(files, read, 2 * batch_size), "predicting", len(files)):
            if isinstance(each, _Read):
                yield each
            else:
                unread.append(each)

    rows = readable()
    read_files: list[Path] = []
    scores: list[np.ndarray] = []
    decided: list[np.ndarray] = []
    cards: list[Card] = []
    while batch := list(islice(rows, batch_size)):
        views = torch.stack([each.view for each in batch])
        scores.append(model.scores(views))
        decided.append(deciding(scores[-1]))
        read_files += [each.file for each in batch]
        if gallery:
            seen = _seen(model, views, scores[-1], decided[-1])
            told = zip(batch, scores[-1], decided[-1], seen, strict=True)
            cards += [Card(each.file, row, carries, each.thumbnail, maps) for each, row, carries, maps in told]
    if not read_files:
        raise UserError(
            f"none of the {len(files):,} files can be read as an image; "
            f"first: {printable(unread[0].file)} {printable(unread[0].reason)}",
            "give image files, such as JPEG or PNG",
        )
    return Found(read_files, np.concatenate(scores), np.concatenate(decided), cards, unread)


def _seen(model: Model, views: Tensor, scores: np.ndarray, decided: np.ndarray) -> list[dict[int, np.ndarray]]:
    """Heat maps (h, h) of each image's decided labels, or of its highest; none where the method tells of no regions."""
    if not model.method.scores_instances:
        return [{} for _ in views]
    found = []
    for row, carries, maps in zip(scores, decided, model.region_scores(views), strict=True):
        shown = np.flatnonzero(carries) if carries.any() else [row.argmax()]
        found.append({int(j): maps[j].copy() for j in shown})  # a view would keep the maps of all labels
    return found


def read_ahead(items: Iterable[T], read: Callable[[T], R], ahead: int) -> Iterator[R]:
    """``map(read, items)`` by several threads, at most ``ahead`` items before the one that is taken."""
    waiting: deque[Future[R]] = deque()
    pool = ThreadPoolExecutor(THREADS)
    try:
        for item in items:
            waiting.append(pool.submit(read, item))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:  # whoever stops early waits for no more than the reads under way
        pool.shutdown(cancel_futures=True)


def _tell_unreadable(unreadable: list[Unread], files: int) -> None:
    if not unreadable:
        return
    print(f"{len(unreadable):,} of {files:,} files could not be read and are left out:", file=sys.stderr)
    for file, reason in unreadable[:10]:
        print(f"  {printable(file)} {printable(reason)}", file=sys.stderr)
    if len(unreadable) > 10:
        print(f"  … and {len(unreadable) - 10:,} more, in predictions.json", file=sys.stderr)
    sys.stderr.flush()


def _shortest(scores: np.ndarray) -> list[list[float]]:
    """float32 as the shortest decimals that read back as the same float32."""
    rows: list[list[float]] = scores.astype(str).astype(float).tolist()
    return rows


def predictions_csv(found: Found, labels: list[str]) -> bytes:
    """A row an image: path, decided labels joined by ``;``, then a column of scores a label.

    No cell is one that a spreadsheet would run; ``predictions.json`` has the names as they are.
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    named = [safe_cell(label) for label in labels]
    table.writerow(["path", "labels", *named])
    for file, row, carries in zip(found.files, _shortest(found.scores), found.decided, strict=True):
        table.writerow([path_cell(file), ";".join(named[j] for j in np.flatnonzero(carries)), *row])
    return text.getvalue().encode(errors="surrogateescape")  # a file's name is bytes, and need not be UTF-8


def predictions_json(found: Found, labels: list[str]) -> dict[str, Any]:
    """Scores and decided labels by name, image by image; and the files that could not be read, with reasons."""
    return {
        "images": [
            {
                "path": str(file),
                "labels": [labels[j] for j in np.flatnonzero(carries)],
                "scores": dict(zip(labels, row, strict=True)),
            }
            for file, row, carries in zip(found.files, _shortest(found.scores), found.decided, strict=True)
        ],
        "unreadable": [{"path": str(file), "reason": reason} for file, reason in found.unreadable],
    }


def _write(path: Path, content: bytes) -> None:
    with whole(path) as part:
        part.write_bytes(content)
