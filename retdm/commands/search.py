"""Find the images that lie nearest to a label set, or to an image, in the embedding space of a trained run.

  retdm search run=<folder> labels=<label,label,…> images=<folder, file, glob, or list> [<key>=<value>] …
  retdm search run=<folder> image=<file> images=<folder, file, glob, or list> [<key>=<value>] …

RETDM embeds label sets too: its runs are searched by them, and for an image the nearest label sets of the training
split are listed. Runs of other networks are searched by images alone. Without images=… the run's own test images are
searched.

examples
  retdm search run=outputs/scene/retdm/<name> labels=sea,sunset images=photos
  retdm search run=outputs/scene/retdm/<name> image=beach.jpg top=50
  retdm search run=outputs/csv/retdm/<name> 'labels=[hot dog,"salt, pepper"]' images=photos
"""

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf

from retdm.commands.guard import guarded
from retdm.commands.output.files import print_unread, writable, write_all
from retdm.commands.output.gallery import MOST, thumbnail
from retdm.commands.output.search_results import Hit, NearSet, Query, Results, search_files, search_page
from retdm.commands.output.tables import print_table
from retdm.data.images import UnreadableImage, checked_range, read_image
from retdm.display.text import printable
from retdm.errors import UserError
from retdm.methods.deep import DeepMethod
from retdm.runs.folder.paths import RunFolder
from retdm.runs.process import prepare_process
from retdm.runs.trained.image_files import check_takes_images
from retdm.runs.trained.inputs import find_images
from retdm.runs.trained.model import Model
from retdm.runs.trained.searched import Searched, distances, own_test_split, searched_data, searched_files
from retdm.settings.checks import check_command
from retdm.settings.devices import device_named

NEITHER = "give one of them: labels=<label,label,…> or image=<file>"


def main(config: DictConfig) -> None:
    """Print what is nearest, and write ``search.csv``, ``search.json`` and ``search.html``."""
    guarded(lambda: _search(config))


def _search(config: DictConfig) -> None:
    asked = _checked(OmegaConf.to_container(config, resolve=True))
    device = device_named(asked["device"])
    files = None if asked["images"] is None else find_images(asked["images"])
    prepare_process()
    run = RunFolder(asked["run"])
    model = Model(run.path, device, user_classes=asked["user_classes"])
    model.value_range = checked_range(asked["value_range"]) or model.value_range
    check_takes_images(model)
    if not isinstance(model.method, DeepMethod):
        raise UserError(f"{model.settings.choices['method']} learns no embedding to search in", "take a network's run")
    query, point = _query(model, asked["labels"], asked["image"])
    data = own_test_split(model, user_classes=asked["user_classes"]) if files is None else None
    out = writable(Path(asked["out"] or run.path / "search"))

    started = time.monotonic()
    if data is not None:
        searched = searched_data(model, data)
    else:
        searched = searched_files(model, files or [], asked["batch_size"])
        print_unread(searched.unread, len(files or []), "search.json")
    print(f"{searched.words} in {time.monotonic() - started:.1f} s, on {device}", flush=True)

    hits = _hits(model, searched, query, point, asked["top"])
    sets = [] if query.image is None else _near_sets(model, point, asked["top"])
    results = Results(run.path, query, searched.words, hits, sets, searched.unread)
    _print(results)
    contents = dict(zip((out / "search.csv", out / "search.json"), search_files(results), strict=True))
    contents[out / "search.html"] = search_page(results)
    write_all(contents)


def _checked(asked: Any) -> dict[str, Any]:
    """The command's settings, every key known and every value of its kind; ``labels`` as a list of names."""
    check_command("search", asked)
    labels = asked["labels"].split(",") if isinstance(asked["labels"], str) else asked["labels"]
    if labels is None and asked["image"] is None:
        raise UserError("what is searched? labels=<…> or image=<…> is missing", NEITHER)
    if labels is not None and asked["image"] is not None:
        raise UserError("labels=<…> and image=<…> are two searches", NEITHER)
    if labels is not None:
        asked["labels"] = [name for each in labels if (name := str(each).strip())]
        if not asked["labels"]:
            raise UserError("labels= names no label", "labels=<label,label,…>")
    if asked["images"] == []:
        raise UserError("images=[] names no image", "images=<…>, or leave it out: the run's own test images")
    if asked["batch_size"] < 1:
        raise UserError(f"batch_size={asked['batch_size']} is out of range", "it is 1 or more")
    if not 1 <= asked["top"] <= MOST:
        raise UserError(f"top={asked['top']} is out of range", f"it is from 1 to {MOST:,}")
    return dict(asked)


def _query(model: Model, labels: list[str] | None, image: str | None) -> tuple[Query, NDArray[np.float32]]:
    """What is searched, and its embedding (D,)."""
    if labels is not None:
        try:
            (point,) = model.embed_labels([labels])
        except UserError as error:
            raise UserError(f"labels: {error.message}", error.hint) from error
        return Query(labels), point
    assert image is not None
    file = Path(image).expanduser()
    try:
        picture = read_image(file, model.value_range)
    except UnreadableImage as error:
        hint = "value_range=[lowest,highest]" if error.kind == "unscaled" else "image=<file>, such as a JPEG or PNG"
        raise UserError(f"image: {error.message}", hint) from error
    (point,) = model.embeddings(torch.stack([model.view(picture)]))
    return Query([], file, thumbnail(picture)), point


def _hits(model: Model, searched: Searched, query: Query, point: NDArray[np.float32], top: int) -> list[Hit]:
    found = []
    for i, distance in searched.nearest(point, top, query.image):
        labels = None if searched.targets is None else _names(model, searched.targets[i])
        found.append(Hit(searched.names[i], distance, labels, thumbnail(searched.picture(i))))
    return found


def _near_sets(model: Model, point: NDArray[np.float32], top: int) -> list[NearSet]:
    """The training split's label sets nearest to an image; none where the method embeds none."""
    sets, counts = model.training_sets()
    if len(sets) == 0:
        return []
    distance = distances(point, model.set_embeddings(sets))
    order = np.argsort(distance, kind="stable")[:top]
    return [NearSet(_names(model, sets[i]), float(distance[i]), int(counts[i])) for i in order]


def _names(model: Model, target: np.ndarray) -> list[str]:
    return [model.labels[j] for j in np.flatnonzero(target)]


def _print(results: Results) -> None:
    print(f"nearest to {printable(results.query.words)}")
    if results.sets:
        rows = [[each.words, f"{each.distance:.3f}", f"{each.images:,}"] for each in results.sets]
        print_table(["label set", "distance", "training images"], rows)
        print()
    known = bool(results.hits) and results.hits[0].labels is not None
    rows = [
        [hit.name, f"{hit.distance:.3f}", *([", ".join(hit.labels) or "no label"] if hit.labels is not None else [])]
        for hit in results.hits
    ]
    print_table(["image", "distance", *(["labels"] if known else [])], rows)
