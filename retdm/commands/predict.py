"""Predict the labels of image files with a trained run.

  retdm predict run=<folder> images=<folder, file, glob, or list of these> [<key>=<value>] …
  retdm predict run=<folder> gallery=true [<key>=<value>] …

Without images=… it is the run's own test images, whose labels are known: the gallery then shows true and predicted
labels side by side, the worst mistakes first.

examples
  retdm predict run=outputs/scene/retdm/<name> images=photos gallery=true
  retdm predict run=outputs/scene/retdm/<name> 'images=[beach.jpg,photos/**/*.png]' out=labels
  retdm predict run=outputs/scene/retdm/<name> "images='my photos (1)/*.jpg'"
"""

import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf
from PIL import Image

from retdm.commands.guard import guarded
from retdm.commands.output.files import print_unread, writable, write_all
from retdm.commands.output.gallery import MOST, Card, Truth, gallery_page, thumbnail
from retdm.commands.output.predictions import Found, predictions
from retdm.data.images import checked_range
from retdm.data.modules import ImageData
from retdm.display.screen import track
from retdm.display.text import printable
from retdm.errors import UserError
from retdm.runs.folder.paths import RunFolder
from retdm.runs.process import prepare_process
from retdm.runs.trained.image_files import Read, Unread, batches_of, check_takes_images
from retdm.runs.trained.inputs import find_images
from retdm.runs.trained.model import Model
from retdm.runs.trained.searched import own_test_split
from retdm.settings.checks import check_command
from retdm.settings.devices import device_named


def main(config: DictConfig) -> None:
    """Write ``predictions.csv`` and ``predictions.json``, and ``gallery.html`` where it is asked for."""
    guarded(lambda: _predict(config))


def _predict(config: DictConfig) -> None:
    asked = _checked(OmegaConf.to_container(config, resolve=True))
    device = device_named(asked["device"])
    files = None if asked["images"] is None else find_images(asked["images"])
    if files is not None:
        _check_page(asked, len(files))
    prepare_process()
    run = RunFolder(asked["run"])
    model = Model(run.path, device, user_classes=asked["user_classes"])
    model.value_range = checked_range(asked["value_range"]) or model.value_range
    check_takes_images(model)
    data = own_test_split(model, user_classes=asked["user_classes"]) if files is None else None
    if data is not None:
        _check_page(asked, len(data.rows_of("test")))
    decision = model.decision(asked["decide"])
    out = writable(Path(asked["out"] or run.path / "predictions"))

    given = f"{len(files):,} files" if files is not None else "the run's own test images"
    print(f"{given}, on {device}; {decision.words}", flush=True)
    started = time.monotonic()
    unread: list[Unread] = []
    if data is not None:
        batches = _own_batches(data, gallery=asked["gallery"])
    else:
        pictured = {"thumbnail": lambda image: thumbnail(model.preparation.shown(image))} if asked["gallery"] else {}
        batches = batches_of(model, files or [], asked["batch_size"], "predicting", unread, **pictured)
    found = _score(model, batches, decision.sets, unread, gallery=asked["gallery"])
    seconds = time.monotonic() - started
    print_unread(unread, len(files or []), "predictions.json")
    print(f"{len(found.files):,} images in {seconds:.1f} s: {len(found.files) / seconds:.1f} images/s", flush=True)

    rule = {"rule": decision.rule.name, "threshold": decision.threshold}
    about = {"run": printable(run.path), "labels": model.labels, **rule}
    contents = dict(zip((out / "predictions.csv", out / "predictions.json"), predictions(found, about), strict=True))
    if asked["gallery"]:
        cards = found.cards if data is None else _with_truth(found.cards, data)
        page = gallery_page(cards, model.labels, run=run.path, rule=decision.words)
        contents[out / "gallery.html"] = page
    write_all(contents)


def _checked(asked: Any) -> dict[str, Any]:
    """The command's settings, every key known and every value of its kind."""
    check_command("predict", asked)
    if asked["images"] is not None and not asked["images"]:
        raise UserError(
            "images=<…> names no image", "images=<folder, file, glob, or list>, or leave it out: the run's test images"
        )
    if asked["batch_size"] < 1:
        raise UserError(f"batch_size={asked['batch_size']} is out of range", "it is 1 or more")
    return dict(asked)


def _check_page(asked: dict[str, Any], images: int) -> None:
    """Raise ``UserError`` where a gallery is asked for of too many images."""
    if asked["gallery"] and images > MOST:
        raise UserError(
            f"gallery=true: {images:,} images are too many for one page (at most {MOST:,})",
            "choose fewer with images=<…>, or leave gallery=true out",
        )


def _own_batches(data: ImageData, *, gallery: bool) -> Iterator[list[Read]]:
    """The run's own test images, as :func:`retdm.runs.trained.image_files.batches_of` gives files."""
    loader = data.views(data.rows_of("test"))
    for batch in track(loader, "predicting", len(loader)):
        rows = batch.index.tolist()
        pictures = [thumbnail(Image.fromarray(np.array(data.images[row]))) if gallery else b"" for row in rows]
        yield [Read(Path(data.source.ids[row]), *each) for row, *each in zip(rows, batch.image, pictures, strict=True)]


def _with_truth(cards: list[Card], data: ImageData) -> list[Card]:
    """The cards of the test split with their true labels."""
    rows = data.rows_of("test")
    pairs = zip(cards, data.source.targets[rows].astype(bool), data.source.known[rows], strict=True)
    return [card._replace(truth=Truth(target & known, known)) for card, target, known in pairs]


def _score(
    model: Model,
    batches: Iterable[list[Read]],
    deciding: Callable[[np.ndarray], np.ndarray],
    unread: list[Unread],
    *,
    gallery: bool,
) -> Found:
    read_files: list[Path] = []
    scores: list[np.ndarray] = []
    decided: list[np.ndarray] = []
    cards: list[Card] = []
    for batch in batches:
        views = torch.stack([each.view for each in batch])
        maps: np.ndarray | None = None
        if gallery and model.method.scores_instances:
            found, maps = model.scores_and_maps(views)
        else:
            found = model.scores(views)
        scores.append(found)
        decided.append(deciding(found))
        read_files += [each.file for each in batch]
        if gallery:
            shown = [{}] * len(batch) if maps is None else _heat_maps(maps, found, decided[-1])
            rows_of = zip(batch, found, decided[-1], shown, strict=True)
            cards += [Card(each.file, row, labels, each.thumbnail, own) for each, row, labels, own in rows_of]
    return Found(read_files, np.concatenate(scores), np.concatenate(decided), cards, unread)


def _heat_maps(maps: np.ndarray, scores: np.ndarray, decided: np.ndarray) -> list[dict[int, np.ndarray]]:
    """Those of the heat maps (B, L, h, h) that are shown: of each image's predicted labels, or of its highest."""
    found = []
    for own, row, predicted in zip(maps, scores, decided, strict=True):
        shown = np.flatnonzero(predicted) if predicted.any() else [row.argmax()]
        found.append({int(j): own[j].copy() for j in shown})  # a view would keep the maps of all labels
    return found
