"""``retdm search``: what it finds, writes and refuses."""

import base64
import csv
import io
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command_line import Done, check_message, in_process
from PIL import Image
from untrained import Untrained

import retdm
from retdm.commands.flags import with_names_quoted
from retdm.commands.train import train
from retdm.data.synthetic.source import Synthetic
from retdm.runs.folder.paths import RunFolder
from retdm.settings.compose import compose_settings


def command(*arguments: str) -> Done:
    return in_process("search", *arguments)


@pytest.fixture(autouse=True)
def on_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def report_in(folder: Path) -> Any:
    return json.loads((folder / "search" / "search.json").read_text())


def by_distance(point: np.ndarray, others: np.ndarray) -> list[tuple[int, float]]:
    """Places and distances of the others, the nearest first, by plain sums."""
    distance = [sum((float(a) - float(b)) ** 2 for a, b in zip(point, row, strict=True)) ** 0.5 for row in others]
    return sorted(enumerate(distance), key=lambda each: each[1])


def check_hits(found: list[dict[str, Any]], names: list[str], expected: list[tuple[int, float]]) -> None:
    assert [row["path"] for row in found] == [names[i] for i, _ in expected]
    assert [row["distance"] for row in found] == pytest.approx([distance for _, distance in expected], rel=1e-4)


# What it finds


@pytest.mark.parametrize("size", [5, 32])
def test_the_images_nearest_to_a_label_set_are_found(trained: Path, photos: Path, size: int) -> None:
    done = command(f"run={trained}", "labels=sea,sunset", f"images={photos}", "top=7", f"batch_size={size}")
    assert done.code == 0, done.err
    model, files = retdm.load(trained), sorted(photos.iterdir())
    expected = by_distance(model.embed_labels([["sunset", "sea"]])[0], model.embed(files))[:7]
    report = report_in(trained)
    check_hits(report["images"], [str(file) for file in files], expected)
    assert report["query"] == {"labels": ["sea", "sunset"]}
    assert report["label_sets"] == report["unreadable"] == []


def test_an_image_finds_its_like_but_not_itself_and_the_label_sets_of_training_images(
    tiny_run: Path, trained: Path, photos: Path
) -> None:
    files = sorted(photos.iterdir())
    done = command(f"run={trained}", f"image={files[3]}", f"images=[{photos},{files[3]}]", "top=50")
    assert done.code == 0, done.err
    model = retdm.load(trained)
    expected = by_distance(model.embed(files[3])[0], model.embed(files))
    assert expected[0] == (3, pytest.approx(0, abs=1e-5))
    report = report_in(trained)
    check_hits(report["images"], [str(file) for file in files], expected[1:])
    assert report["query"] == {"image": str(files[3])}

    source, split = Synthetic(60, side=18), json.loads((tiny_run / "split.json").read_text())
    rows = [source.ids.index(name) for name in split["train"]]
    sets, counts = np.unique(source.targets[rows], axis=0, return_counts=True)
    names = [[model.labels[j] for j in np.flatnonzero(row)] for row in sets]
    expected = by_distance(model.embed(files[3])[0], model.embed_labels(names))
    found = report["label_sets"]
    assert [(row["labels"], row["images"]) for row in found] == [(names[i], counts[i]) for i, _ in expected]
    assert [row["distance"] for row in found] == pytest.approx([distance for _, distance in expected], rel=1e-4)


def test_a_copy_of_the_image_that_is_searched_is_found(trained: Path, photos: Path, tmp_path: Path) -> None:
    query = shutil.copy(sorted(photos.iterdir())[0], tmp_path / "query.png")
    assert command(f"run={trained}", f"image={query}", f"images={photos}", "top=1").code == 0
    (found,) = report_in(trained)["images"]
    assert found == {"path": str(sorted(photos.iterdir())[0]), "distance": pytest.approx(0, abs=1e-5)}


def test_without_images_the_runs_own_test_images_are_searched(copy: Path) -> None:
    done = command(f"run={copy}", "labels=trees", "top=60")
    assert done.code == 0, done.err
    source, split = Synthetic(60, side=18), json.loads((copy / "split.json").read_text())
    rows = sorted(source.ids.index(name) for name in split["test"])
    model = retdm.load(copy)
    expected = by_distance(model.embed_labels([["trees"]])[0], model.embed([source.read(i) for i in rows]))
    found = report_in(copy)["images"]
    check_hits(found, [source.ids[i] for i in rows], expected)
    for row in found:
        target = source.targets[source.ids.index(row["path"])]
        assert row["labels"] == [name for name, there in zip(source.names, target, strict=True) if there]


def test_a_network_without_a_net_for_label_sets_is_searched_by_images(untrained: Untrained, photos: Path) -> None:
    run, files = untrained("method=bce"), sorted(photos.iterdir())
    assert command(f"run={run.path}", f"image={files[0]}", f"images={photos}").code == 0
    model, report = retdm.load(run.path), report_in(run.path)
    check_hits(
        report["images"], [str(file) for file in files], by_distance(model.embed(files[0])[0], model.embed(files))[1:]
    )
    assert report["label_sets"] == []


# What it writes


def test_screen_table_json_and_page_say_the_same(trained: Path, photos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "some & photos"
    shutil.copytree(photos, folder)
    names = sorted(path.name for path in folder.iterdir())
    (folder / names[0]).rename(folder / "<b>=1.png")
    out = tmp_path / "found"
    query = folder / names[1]
    done = command(f"run={trained}", f"image='{query}'", f"images='{folder}'", f"out={out}")
    assert done.code == 0, done.err
    assert sorted(path.name for path in out.iterdir()) == ["search.csv", "search.html", "search.json"]
    report = json.loads((out / "search.json").read_text())
    with (out / "search.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["path"] for row in table] == [row["path"] for row in report["images"]]
    assert [float(row["distance"]) for row in table] == pytest.approx(
        [row["distance"] for row in report["images"]], rel=1e-5
    )
    page = (out / "search.html").read_text()
    assert "<b>" not in page and "&lt;b&gt;=1.png" in page
    shown = re.findall(r'<span class="asked" title="distance">([^<]+)</span>', page)
    assert shown == [f"{row['distance']:.3f}" for row in report["images"]]
    pictures = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', page)
    assert len(pictures) == len(report["images"]) + 1  # and the query
    assert all(Image.open(io.BytesIO(base64.b64decode(each))).size == (18, 18) for each in pictures)
    assert not re.search(r'(src|href)="(?!data:)', page)
    for row in report["images"]:
        assert re.search(rf"^{re.escape(row['path'])}\s+{row['distance']:.3f}$", done.out, re.MULTILINE)
    for row in report["label_sets"]:
        assert f"<td>{', '.join(row['labels']) or 'no label'}</td><td>{row['distance']:.3f}</td>" in page
    assert done.out.splitlines()[-1] == f"wrote {out / 'search.html'}"


def test_files_that_cannot_be_read_are_told_and_left_out(trained: Path, photos: Path, tmp_path: Path) -> None:
    mixed = Path(shutil.copytree(photos, tmp_path / "mixed"))
    (mixed / "00000-empty.jpg").write_bytes(b"")
    done = command(f"run={trained}", "labels=sea", f"images={mixed}")
    assert done.code == 0
    assert done.err.splitlines()[0] == "1 of 13 files could not be read and are left out:"
    report = report_in(trained)
    assert len(report["images"]) == 12
    assert report["unreadable"] == [{"path": str(mixed / "00000-empty.jpg"), "reason": "is empty (0 bytes)"}]


def test_labels_are_named_in_a_row_in_quotes_or_as_a_list(trained: Path, photos: Path) -> None:
    for word in ("labels=sea, sunset", "labels='sea,sunset'", 'labels=[sea,"sunset"]'):
        done = command(f"run={trained}", word, f"images={photos}")
        assert done.code == 0, done.err
        assert report_in(trained)["query"] == {"labels": ["sea", "sunset"]}
    words = ["run=x", "labels=a (b),it's", "labels=[a]", 'labels="a,b"', "labels=", "top=3"]
    assert with_names_quoted(words, "labels") == ["run=x", 'labels="a (b),it\'s"', *words[2:]]


# What it refuses


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "which run? run=<folder> is missing"),
        (("run={run}",), "what is searched? labels=<…> or image=<…> is missing"),
        (("run={run}", "labels=sea", "image=a.png"), "labels=<…> and image=<…> are two searches"),
        (("run={run}", "labels="), "labels= names no label"),
        (("run={run}", "labels=[]"), "labels= names no label"),
        (("run={run}", "labels=see,sunset", "images={photos}"), "labels: there is no label 'see'\n  did you mean sea?"),
        (("run={run}", "labels=[3]", "images={photos}"), "labels: there is no label '3'"),
        (("run={run}", "labels=[true]", "images={photos}"), "labels=[True] is not"),
        (("run={run}", "labels=sea", "images={run}/nothing"), "images: there is no {run}/nothing"),
        (("run={run}", "labels=sea", "images={run}/checkpoints"), "images: there is no image in {run}/checkpoints"),
        (("run={run}", "labels=sea", "images=[]"), "images=[] names no image"),
        (
            ("run={run}", "image={run}/checkpoints/best.ckpt", "images={photos}"),
            "image: {run}/checkpoints/best.ckpt cannot be read as an",
        ),
        (
            ("run={run}", "image=nowhere.png", "images={photos}"),
            "image: nowhere.png cannot be read as an image: No such",
        ),
        (
            ("run={run}", "labels=sea", "images={run}/checkpoints/best.ckpt"),
            "none of the 1 files can be read as an image",
        ),
        (("run={run}", "labels=sea", "images={photos}", "top=0"), "top=0 is out of range"),
        (("run={run}", "labels=sea", "images={photos}", "batch_size=0"), "batch_size=0 is out of range"),
        (("run={run}", "labels=sea", "imges=x"), "imges is not a setting\n  did you mean images?"),
        (("run={run}/nothing", "labels=sea", "images={photos}"), "there is no checkpoint {run}/nothing/checkpoints"),
        (("run={run}", "labels=sea"), "the run's own test images cannot be read: "),
    ],
)
def test_what_cannot_be_is_refused_in_few_words(
    trained: Path, photos: Path, arguments: tuple[str, ...], says: str
) -> None:
    places = {"run": trained, "photos": photos}
    message = check_message(command(*(argument.format(**places) for argument in arguments)))
    assert says.format(**places) in message
    assert not list(trained.rglob("search.*"))


def test_methods_that_embed_no_label_sets_or_no_images_are_refused(
    untrained: Untrained, tiny_l1lr: Callable[..., Any], photos: Path
) -> None:
    run = untrained("method=bce")
    message = check_message(command(f"run={run.path}", "labels=a", f"images={photos}"))
    assert "labels: bce embeds no label sets" in message and "image" in message
    folder = train(tiny_l1lr())
    message = check_message(command(f"run={folder}", f"image={photos}", f"images={photos}"))
    assert "l1lr learns no embedding to search in" in message


def test_a_run_on_bags_is_refused(tmp_path: Path, photos: Path) -> None:
    words = ("data=synthetic_bags", "method=mil", "schedule=short", "trainer.accelerator=cpu", "data.size=60")
    folder = train(compose_settings([*words, f"outputs={tmp_path}", f"data.cache={tmp_path / 'cache'}"]))
    message = check_message(command(f"run={folder}", f"image={photos}", f"images={photos}"))
    assert f"{RunFolder(folder).path} was trained on bags of instances, not on images" in message
