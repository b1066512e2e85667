"""The overview of a data set: counts, findings, picture."""

import copy
import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.text import Text
from PIL import Image

from retdm.data import overview
from retdm.data.augment import Light
from retdm.data.images import UnreadableImage
from retdm.data.modules import BagData, ImageData
from retdm.data.overview import draw
from retdm.data.source import BagSource, ImageSource

N = 30


class Photographs(ImageSource):
    """30 images of noise, 4 labels; 2 and 9 are one picture, 5 is missing, 6 is empty; cell (7, 1) is unknown."""

    names = ["a", "b", "costs $5 or $6", "never"]
    fingerprint = "photographs"

    def __init__(self) -> None:
        self.ids = [f"{i}.jpg" for i in range(N)]
        self.targets = np.zeros((N, 4), np.uint8)
        self.targets[::2, 0] = self.targets[::3, 1] = self.targets[::5, 2] = 1
        self.known = np.ones((N, 4), bool)
        self.known[7, 1] = False

    def read(self, i: int) -> Image.Image:
        if i in (5, 6):
            raise UnreadableImage(f"{i}.jpg is not there", kind="missing" if i == 5 else "empty")
        seed = 2 if i == 9 else i
        return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (18, 18, 3), dtype=np.uint8))


class Bags(BagSource):
    names, ids, fingerprint = ["a", "b"], [str(i) for i in range(9)], "bags"
    instances, offsets = np.zeros((27, 4), np.float32), np.arange(0, 28, 3)
    targets = np.eye(2, dtype=np.uint8)[np.arange(9) % 2]
    known = np.ones((9, 2), bool)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> ImageData:
    cache = str(tmp_path_factory.mktemp("cache"))
    return ImageData(Photographs(), image_size=16, on_unreadable="skip", group_duplicates="none", cache=cache)


def test_counts_are_those_of_plain_loops(data: ImageData) -> None:
    targets, known = data.source.targets, data.source.known
    whole = [tuple(row) for row, all_known in zip(targets.tolist(), known.all(1), strict=True) if all_known]
    assert overview.counts(data) == {
        "images": 30,
        "labels": 4,
        "labels_per_image": pytest.approx(sum(map(sum, whole)) / 29),
        "label_sets": len(set(whole)),
        "without_labels": whole.count((0, 0, 0, 0)),
        "unknown_cells": 1,
        "fully_known": 29,
    }
    train = data.splits["train"]
    for j, row in enumerate(overview.label_counts(data)):
        assert row["label"] == data.labels[j] and row["all"] == targets[:, j].sum()
        assert row["unknown"] == (1 if j == 1 else 0)
        assert row["known absent in train"] == sum(known[i, j] and not targets[i, j] for i in train)
        for part, where in data.splits.items():
            assert row[part] == sum(targets[i, j] for i in where)


def test_shares_are_of_known_rows_and_sizes_are_told_where_groups_decide_them(data: ImageData) -> None:
    for j, row in enumerate(overview.label_shares(data)):
        for part, where in data.splits.items():
            known = [i for i in where if data.source.known[i, j]]
            assert row[part] == pytest.approx(sum(data.source.targets[i, j] for i in known) / len(known))
    assert overview.split_sizes(data) == []
    grouped = Photographs()
    grouped.group_of = np.arange(N) // 4
    found = overview.split_sizes(ImageData(grouped, image_size=16, on_unreadable="skip", cache="none"))
    assert found[0] == "8 groups, of 2 to 4 images, each in one split"
    assert found[1].startswith("images of the splits: train ") and "(wished 6)" in found[1]


def test_bags_are_counted_with_their_instances() -> None:
    found = overview.counts(BagData(Bags()))
    assert found["bags"] == 9 and found["instances"] == 27 and found["labels_per_bag"] == 1


def test_findings_are_faults_and_pairs_and_the_csv_has_them_all(data: ImageData, tmp_path: Path) -> None:
    found = overview.findings(data)
    assert [each[:2] for each in found] == [("missing", "5.jpg"), ("empty", "6.jpg"), ("identical", "2.jpg")]
    sides = [next(part for part, rows in data.splits.items() if row in rows) for row in (2, 9)]
    expected = f"both in {sides[0]}" if sides[0] == sides[1] else f"{sides[0]} and {sides[1]}"
    assert found[2].detail == f"9.jpg ({expected})"
    overview.write_findings(tmp_path / "findings.csv", found)
    with (tmp_path / "findings.csv").open(newline="") as file:
        assert [tuple(row) for row in csv.reader(file)] == [("kind", "id", "detail"), *map(tuple, found)]


@pytest.mark.parametrize("kind", ["images", "bags", "one image"])
def test_the_picture_is_drawn(data: ImageData, tmp_path: Path, kind: str) -> None:
    shown: Any = data if kind == "images" else BagData(Bags())
    if kind == "one image":
        shown = copy.copy(data)
        shown.parts = {"train": np.array([0]), "validation": np.array([1]), "test": np.array([2])}
    figure = draw(shown, "title", "augment=light")
    figure.savefig(tmp_path / "overview.png", dpi=40)
    assert np.asarray(Image.open(tmp_path / "overview.png").convert("L")).std() > 5
    lines = {text.get_text() for text in figure.findobj(Text)}
    assert ("training views of 2 images in 9 epochs   augment=light" in lines) == (kind != "bags")
    titles = {axes.get_title() for axes in figure.findobj(lambda artist: hasattr(artist, "get_title"))}
    assert {"images per label", "labels per image"} <= titles
    if kind == "images":
        assert any(r"costs \$5 or \$6" in title for title in titles)


def test_training_views_are_drawn_with_the_shares_of_mixed_labels(data: ImageData) -> None:
    shown = copy.copy(data)
    shown.augmentation = Light(mixup=1.0)
    titles = [axes.get_title() for axes in draw(shown, "title").findobj(Axes)]
    batches = [
        shown.rows(training=True).__getitems__([(e, int(i))]) for i in data.splits["train"][:2] for e in range(9)
    ]
    shares = {f"a {batch.target[0, 0]:.2f}" for batch in batches if 0 < batch.target[0, 0] < 1}
    assert shares and all(any(share in title for title in titles) for share in shares)


def test_of_many_labels_the_most_frequent_and_the_rarest_are_drawn() -> None:
    many = Bags()
    many.names = [f"label {j}" for j in range(300)]
    many.targets = np.zeros((9, 300), np.uint8)
    many.targets[:, 200:230] = 1
    many.targets[0, :270] = 1
    many.known = np.ones((9, 300), bool)
    figure = draw(BagData(many), "title")
    ticks = [[text.get_text() for text in axes.get_yticklabels()] for axes in figure.findobj(Axes)]
    drawn = max(ticks, key=len)
    assert set(drawn) == {f"label {j}" for j in (*range(200, 230), *range(270, 300))}
    assert any("the 30 most frequent and rarest of 300" in axes.get_title() for axes in figure.findobj(Axes))


def test_images_that_are_nearly_of_one_colour_are_named() -> None:
    class WithDark(Photographs):
        def read(self, i: int) -> Image.Image:
            noise = np.random.default_rng(i).integers(0, 9 if i in (3, 8) else 10, (18, 18, 3), dtype=np.uint8)
            noise[0, :2] = [[0] * 3, [8 if i in (3, 8) else 9] * 3]
            return Image.fromarray(noise + np.uint8(i))

    found = overview.findings(ImageData(WithDark(), image_size=16, cache="none"))
    constant = [(each.id, each.detail) for each in found if each.kind == "constant"]
    assert constant == [("3.jpg", "values 3 to 11 of 255 at most"), ("8.jpg", "values 8 to 16 of 255 at most")]
