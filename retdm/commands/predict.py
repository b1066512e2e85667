"""Predict the labels of image files with a trained run.

  retdm predict run=<folder> images=<folder, file, glob, or list of these> [<key>=<value>] …

examples
  retdm predict run=outputs/scene/retdm/<name> images=photos gallery=true
  retdm predict run=outputs/scene/retdm/<name> 'images=[beach.jpg,photos/**/*.png]' out=labels
  retdm predict run=outputs/scene/retdm/<name> "images='my photos (1)/*.jpg'"
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf

from retdm.commands.guard import guarded
from retdm.commands.output.files import print_unread, writable, write_all
from retdm.commands.output.gallery import MOST, Card, gallery_page, thumbnail
from retdm.commands.output.predictions import Found, predictions
from retdm.data.images import checked_range
from retdm.display.text import printable
from retdm.errors import UserError
from retdm.runs.folder.paths import RunFolder
from retdm.runs.process import prepare_process
from retdm.runs.trained.image_files import Unread, batches_of, check_takes_images
from retdm.runs.trained.inputs import find_images
from retdm.runs.trained.model import Model
from retdm.settings.checks import check_command
from retdm.settings.devices import device_named


def main(config: DictConfig) -> None:
    """Write ``predictions.csv`` and ``predictions.json``, and ``gallery.html`` where it is asked for."""
    guarded(lambda: _predict(config))


def _predict(config: DictConfig) -> None:
    asked = _checked(OmegaConf.to_container(config, resolve=True))
    device = device_named(asked["device"])
    files = find_images(asked["images"])
    if asked["gallery"] and len(files) > MOST:
        raise UserError(
            f"gallery=true: {len(files):,} images are too many for one page (at most {MOST:,})",
            "choose fewer with images=<…>, or leave gallery=true out",
        )
    prepare_process()
    run = RunFolder(asked["run"])
    model = Model(run.path, device, user_classes=asked["user_classes"])
    model.value_range = checked_range(asked["value_range"]) or model.value_range
    check_takes_images(model)
    decision = model.decision(asked["decide"])
    out = writable(Path(asked["out"] or run.path / "predictions"))

    print(f"{len(files):,} files, on {device}; {decision.words}", flush=True)
    started = time.monotonic()
    found = _score(model, files, asked["batch_size"], decision.sets, gallery=asked["gallery"])
    seconds = time.monotonic() - started
    print_unread(found.unreadable, len(files), "predictions.json")
    print(f"{len(found.files):,} images in {seconds:.1f} s: {len(found.files) / seconds:.1f} images/s", flush=True)

    rule = {"rule": decision.rule.name, "threshold": decision.threshold}
    about = {"run": printable(run.path), "labels": model.labels, **rule}
    contents = dict(zip((out / "predictions.csv", out / "predictions.json"), predictions(found, about), strict=True))
    if asked["gallery"]:
        page = gallery_page(found.cards, model.labels, run=run.path, rule=decision.words)
        contents[out / "gallery.html"] = page
    write_all(contents)


def _checked(asked: Any) -> dict[str, Any]:
    """The command's settings, every key known and every value of its kind."""
    check_command("predict", asked)
    if not asked["images"]:
        raise UserError(
            "which images? images=<…> is missing", f"images=<folder, file, glob, or list>, beside run={asked['run']}"
        )
    if asked["batch_size"] < 1:
        raise UserError(f"batch_size={asked['batch_size']} is out of range", "it is 1 or more")
    return dict(asked)


def _score(
    model: Model, files: list[Path], batch_size: int, deciding: Callable[[np.ndarray], np.ndarray], *, gallery: bool
) -> Found:
    unread: list[Unread] = []
    read_files: list[Path] = []
    scores: list[np.ndarray] = []
    decided: list[np.ndarray] = []
    cards: list[Card] = []
    pictured = {"thumbnail": lambda image: thumbnail(model.preparation.shown(image))} if gallery else {}
    for batch in batches_of(model, files, batch_size, "predicting", unread, **pictured):
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
