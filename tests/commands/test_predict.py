"""``python -m retdm predict``: what it finds, writes and refuses."""

import base64
import csv
import errno
import io
import json
import os
import re
import shutil
import threading
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from command_line import Done, in_process
from PIL import Image

from retdm.commands import predict
from retdm.data.synthetic.source import Synthetic
from retdm.errors import UserError
from retdm.methods.networks.retdm import RETDM
from retdm.runs.inputs import find_images, read_ahead


def command(*arguments: str) -> Done:
    return in_process("predict", *arguments)


@pytest.fixture(autouse=True)
def on_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.fixture(scope="module")
def rows(tiny_run: Path) -> dict[str, np.ndarray]:
    """Predictions of the run for its test split: index, scores, …"""
    return dict(np.load(tiny_run / "predictions.npz"))


@pytest.fixture(scope="module")
def photos(rows: dict[str, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run's test images as files, called so that their order is that of ``rows``. Not to be changed."""
    folder = tmp_path_factory.mktemp("photos")
    source = Synthetic(60, side=18)
    for i in rows["index"]:
        source.read(int(i)).save(folder / f"{i:05d}.png")
    return folder


@pytest.fixture(scope="module")
def predicted(tiny_run: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Done, Path]:
    """What the command says about the test images in batches of 5, and where it wrote."""
    out = tmp_path_factory.mktemp("predicted") / "new" / "place"
    with mock.patch.object(torch.cuda, "is_available", return_value=False):
        return command(f"run={tiny_run}", f"images={photos}", f"out={out}", "batch_size=5", "gallery=true"), out


@pytest.fixture
def run(tiny_run: Path, tmp_path: Path) -> Path:
    """A copy of what predicting needs of the run."""
    folder = tmp_path / "run"
    shutil.copytree(tiny_run / "checkpoints", folder / "checkpoints")
    shutil.copy(tiny_run / "metrics.json", folder)
    return folder


def table_of(out: Path) -> list[dict[str, str]]:
    with (out / "predictions.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def report_of(out: Path) -> Any:
    return json.loads((out / "predictions.json").read_text())


def refusal(done: Done) -> str:
    assert done.code == 2, done.out + done.err
    assert done.err.startswith("error: ") and len(done.err.splitlines()) <= 6
    return done.err


# What it writes


def test_scores_are_those_the_run_was_evaluated_by(
    predicted: tuple[Done, Path], photos: Path, rows: dict[str, np.ndarray]
) -> None:
    done, out = predicted
    assert done.code == 0, done.err
    table, labels = table_of(out), rows["labels"].tolist()
    assert [row["path"] for row in table] == [str(photos / f"{i:05d}.png") for i in rows["index"]]
    assert list(table[0]) == ["path", "labels", *labels]
    scores = np.array([[float(row[label]) for label in labels] for row in table])
    assert np.abs(scores - rows["scores"]).max() <= 1e-6


def test_labels_are_those_scored_one_half_or_more(predicted: tuple[Done, Path], rows: dict[str, np.ndarray]) -> None:
    labels = rows["labels"].tolist()
    for row, scores in zip(table_of(predicted[1]), rows["scores"], strict=True):
        expected = [label for label, score in zip(labels, scores, strict=True) if score >= 0.5]
        assert row["labels"] == ";".join(expected)


def test_json_says_what_the_table_says(predicted: tuple[Done, Path], tiny_run: Path) -> None:
    report = report_of(predicted[1])
    assert report["run"] == str(tiny_run)
    assert (report["rule"], report["threshold"], report["unreadable"]) == ("half", 0.5, [])
    flat = [
        {"path": row["path"], "labels": ";".join(row["labels"])}
        | {label: str(score) for label, score in row["scores"].items()}
        for row in report["images"]
    ]
    assert flat == table_of(predicted[1])
    assert report["labels"] == list(report["images"][0]["scores"])


def test_it_tells_speed_and_files_and_leaves_nothing_half_written(predicted: tuple[Done, Path]) -> None:
    done, out = predicted
    names = ["predictions.csv", "predictions.json", "gallery.html"]
    told = done.out.splitlines()
    assert told[0] == "12 files, on cpu; labels scored 0.5 or more"
    assert re.fullmatch(r"12 images in [\d.]+ s: [\d.]+ images/s", told[1])
    assert told[2:] == [f"wrote {out / name}" for name in names]
    assert done.err == ""
    assert sorted(path.name for path in out.iterdir()) == sorted(names)


def test_the_gallery_has_a_small_picture_of_every_image_in_its_proportions(run: Path, tmp_path: Path) -> None:
    Image.new("RGB", (640, 320), "red").save(tmp_path / "wide.png")
    done = command(f"run={run}", f"images={tmp_path / 'wide.png'}", "gallery=true")
    page = (run / "predictions" / "gallery.html").read_text()
    assert done.code == 0, done.err
    (content,) = re.findall(r'<img src="data:image/jpeg;base64,([^"]+)" alt="wide.png"', page)
    picture = Image.open(io.BytesIO(base64.b64decode(content)))
    assert picture.size == (192, 96)
    red, green, blue = picture.getpixel((90, 50))  # type: ignore[misc]
    assert red > 240 and green < 15 and blue < 15


def test_the_gallery_has_a_heat_map_of_each_decided_label_or_of_the_highest_on_all_of_the_picture(
    run: Path, tmp_path: Path, rows: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    def brightness(method: Any, batch: Any) -> torch.Tensor:
        cells = torch.nn.functional.adaptive_avg_pool2d(batch.image.mean(1, keepdim=True), 4)
        return (10 * cells).sigmoid().flatten(2).transpose(1, 2).expand(-1, -1, len(rows["labels"]))

    monkeypatch.setattr(RETDM, "scores_instances", True)
    monkeypatch.setattr(RETDM, "instance_scores", brightness)
    (tmp_path / "photos").mkdir()
    wide = Image.new("RGB", (640, 320))
    wide.paste("white", (480, 0, 640, 80))  # a quarter of each side, at the top right
    wide.save(tmp_path / "photos" / "wide.png")
    for rule, count in (("validation", 1), ("top3", 3)):  # a threshold that no score reaches leaves the highest
        (run / "metrics.json").write_text(json.dumps({"threshold": 1.0}))
        done = command(f"run={run}", f"images={tmp_path / 'photos'}", "gallery=true", f"decide={rule}")
        assert done.code == 0, done.err
        page = (run / "predictions" / "gallery.html").read_text()
        scores = report_of(run / "predictions")["images"][0]["scores"]
        told = re.findall(r'data-heat="([^"]+)">([^<]+)</button>', page)
        assert [label for _, label in told] == sorted(scores, key=lambda label: -scores[label])[:count]
        for content, _ in told:
            picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(content)))).astype(int).sum(2)
            assert picture.shape == (4, 4)
            assert picture[0, 3] > 500 and np.delete(picture, 3).max() < 100
    assert 'style="--margins: 12.500% 0.000%"' in page  # 640 x 320 in a frame of 4:3


def test_of_a_method_that_tells_of_no_regions_the_gallery_offers_nothing(predicted: tuple[Done, Path]) -> None:
    page = (predicted[1] / "gallery.html").read_text()
    assert not re.search(r"<button[^>]*data-heat|--margins: \d|underlined label", page)


def test_without_a_place_it_writes_into_the_run(run: Path, photos: Path) -> None:
    assert command(f"run={run}", f"images={photos}").code == 0
    assert sorted(path.name for path in (run / "predictions").iterdir()) == ["predictions.csv", "predictions.json"]


def test_names_that_are_not_utf8_come_back_as_they_were(run: Path, photos: Path, tmp_path: Path) -> None:
    name = b"caf\xe9\n.png"
    folder = tmp_path / "old"
    folder.mkdir()
    shutil.copy(next(photos.iterdir()), os.fsdecode(os.fsencode(folder) + b"/" + name))
    (folder / os.fsdecode(b"\xff.jpg")).write_bytes(b"no image")
    done = command(f"run={run}", f"images={folder}", "gallery=true")
    assert done.code == 0, done.err
    assert name in (run / "predictions" / "predictions.csv").read_bytes()
    report = report_of(run / "predictions")
    assert os.fsencode(report["images"][0]["path"]).endswith(name)
    assert os.fsencode(report["unreadable"][0]["path"]).endswith(b"\xff.jpg")
    assert r"\xff.jpg" in done.err
    assert r"caf\xe9\n.png" in (run / "predictions" / "gallery.html").read_text()


def test_files_that_belong_together_are_written_all_or_none(
    run: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = run / "predictions"
    assert command(f"run={run}", f"images={photos}").code == 0
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    write = Path.write_bytes

    def full(path: Path, content: bytes) -> int:
        if path.name == "predictions.json.part":
            write(path, content[:100])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    refusal(command(f"run={run}", f"images={photos}", "decide=top3"))
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


# How it decides


def test_the_threshold_of_the_validation_part_is_the_runs(run: Path, photos: Path, rows: dict[str, np.ndarray]) -> None:
    threshold = float(np.median(rows["scores"]))
    (run / "metrics.json").write_text(json.dumps({"threshold": threshold}))
    done = command(f"run={run}", f"images={photos}", "decide=validation")
    assert done.code == 0, done.err
    report = report_of(run / "predictions")
    assert (report["rule"], report["threshold"]) == ("validation", threshold)
    carried = np.array([[label in row["labels"] for label in report["labels"]] for row in report["images"]])
    clear = np.abs(rows["scores"] - threshold) > 1e-6
    assert (carried == (rows["scores"] >= threshold))[clear].all()


@pytest.mark.parametrize("content", [None, "{}", "[]", "no json", '{"threshold": null}'])
def test_a_threshold_that_is_not_there_is_told_with_its_file(run: Path, photos: Path, content: str | None) -> None:
    (run / "metrics.json").unlink()
    if content is not None:
        (run / "metrics.json").write_text(content)
    message = refusal(command(f"run={run}", f"images={photos}", "decide=validation"))
    assert f"{run / 'metrics.json'}, which is not there or has none" in message
    assert not (run / "predictions").exists()


def test_three_labels_each_when_asked_for(run: Path, photos: Path) -> None:
    (run / "metrics.json").unlink()  # which this rule does not need
    assert command(f"run={run}", f"images={photos}", "decide=top3").code == 0
    report = report_of(run / "predictions")
    assert (report["rule"], report["threshold"]) == ("top3", None)
    for row in report["images"]:
        best = sorted(row["scores"], key=lambda label: -row["scores"][label])[:3]
        assert set(row["labels"]) == set(best)


def test_the_rule_is_the_methods_own_when_none_is_asked_for(
    run: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = predict.Model

    def with_rule(*args: Any, **options: Any) -> Any:
        model = load(*args, **options)
        model.method.decide = "top3"
        return model

    monkeypatch.setattr(predict, "Model", with_rule)
    assert command(f"run={run}", f"images={photos}").code == 0
    assert report_of(run / "predictions")["rule"] == "top3"


# Files that cannot be read


def test_unreadable_files_are_told_and_the_others_keep_their_scores(
    run: Path, photos: Path, tmp_path: Path, rows: dict[str, np.ndarray]
) -> None:
    mixed = Path(shutil.copytree(photos, tmp_path / "mixed"))
    names = sorted(path.name for path in mixed.iterdir())
    for name in (names[1], names[7]):
        (mixed / name).write_bytes(b"no image")
    (mixed / "00000-empty.jpg").write_bytes(b"")
    done = command(f"run={run}", f"images={mixed}", "batch_size=4", "gallery=true")
    assert done.code == 0
    assert done.err.splitlines()[0] == "3 of 13 files could not be read and are left out:"
    assert "10 images in" in done.out
    report = report_of(run / "predictions")
    assert [row["path"] for row in report["unreadable"]] == [
        str(mixed / name) for name in ("00000-empty.jpg", names[1], names[7])
    ]
    assert report["unreadable"][0]["reason"] == "is empty (0 bytes)"
    assert report["unreadable"][1]["reason"].startswith("cannot be read as an image: ")
    assert all(row["reason"] in done.err for row in report["unreadable"])
    kept = [i for i in range(12) if i not in (1, 7)]
    assert [row["path"] for row in report["images"]] == [str(mixed / names[i]) for i in kept]
    scores = np.array([list(row["scores"].values()) for row in report["images"]])
    assert np.abs(scores - rows["scores"][kept]).max() <= 1e-6
    page = (run / "predictions" / "gallery.html").read_text()
    assert re.findall(r'alt="([^"]+)"', page) == [names[i] for i in kept]


def test_more_than_ten_unreadable_files_are_counted_on_the_screen_and_listed_in_the_report(
    run: Path, photos: Path, tmp_path: Path
) -> None:
    mixed = Path(shutil.copytree(photos, tmp_path / "mixed"))
    for i in range(14):
        (mixed / f"bad{i}.jpg").write_bytes(b"")
    done = command(f"run={run}", f"images={mixed}")
    assert len(done.err.splitlines()) == 12
    assert "… and 4 more, in predictions.json" in done.err
    assert len(report_of(run / "predictions")["unreadable"]) == 14


def test_no_readable_file_at_all_is_an_error_and_leaves_no_result(run: Path, tmp_path: Path) -> None:
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_bytes(b"")
    message = refusal(command(f"run={run}", f"images={tmp_path / '*.jpg'}"))
    assert f"none of the 2 files can be read as an image; first: {tmp_path / 'a.jpg'} is empty" in message
    assert not list(run.rglob("predictions.*"))


# Which files


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with images and other files, none of which is opened."""
    for name in (
        "b.jpg", "a.PNG", "list.txt", "no ending", ".hidden.jpg", "sub/c.tiff", "sub/deep/d.webp", ".git/e.jpg",
        "we, [you] (1).jpg", "empty/f.txt",
    ):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (["."], ["a.PNG", "b.jpg", "sub/c.tiff", "sub/deep/d.webp", "we, [you] (1).jpg"]),
        (["sub"], ["sub/c.tiff", "sub/deep/d.webp"]),
        (["no ending"], ["no ending"]),
        (["*"], ["a.PNG", "b.jpg", "sub/c.tiff", "sub/deep/d.webp", "we, [you] (1).jpg"]),
        (["*.jpg"], ["b.jpg", "we, [you] (1).jpg"]),
        (["**/*.*i*"], ["sub/c.tiff"]),
        (["we, [you] (1).jpg"], ["we, [you] (1).jpg"]),
        (["sub", "b.jpg", "sub/deep", "b.jpg"], ["sub/c.tiff", "sub/deep/d.webp", "b.jpg"]),
    ],
)
@pytest.mark.usefixtures("tree")
def test_folders_files_and_globs_are_searched_for_images(asked: list[str], expected: list[str]) -> None:
    assert [str(path) for path in find_images(asked)] == expected


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (["b.jpg", "c.jpg"], "there is no c.jpg"),
        (["empty"], "there is no image in empty"),
        (["*.jpeg"], r"there is no image in \*.jpeg"),
        (["*.txt"], r"there is no image in \*.txt"),
    ],
)
@pytest.mark.usefixtures("tree")
def test_what_names_no_image_is_told(asked: list[str], says: str) -> None:
    with pytest.raises(UserError, match=says) as error:
        find_images(asked)
    assert error.value.hint


def test_a_folder_that_may_not_be_read_is_told(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scan = os.scandir

    def scandir(path: Any) -> Any:  # who is root may read everywhere
        if str(path).endswith("deep"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(UserError, match="deep cannot be read: Permission denied"):
        find_images([str(tree)])


def test_a_list_on_the_command_line_gives_its_files_in_its_order(
    run: Path, photos: Path, tmp_path: Path, rows: dict[str, np.ndarray]
) -> None:
    first, second = (photos / f"{i:05d}.png" for i in rows["index"][:2])
    odd = tmp_path / "it's, (1) [2] = {3}.png"
    shutil.copy(second, odd)
    escaped = str(odd).replace("'", r"\'")
    assert command(f"run={run}", f"images=['{escaped}',{first}]").code == 0
    table = table_of(run / "predictions")
    assert [row["path"] for row in table] == [str(odd), str(first)]
    label = rows["labels"][0]
    assert [float(row[label]) for row in table] == pytest.approx(rows["scores"][[1, 0], 0], abs=1e-6)


# Reading ahead


def test_reading_ahead_keeps_the_order_and_its_bound() -> None:
    begun: list[int] = []

    def read(i: int) -> int:
        begun.append(i)
        return -i

    reads = read_ahead(range(100), read, 7)
    for taken in range(100):
        assert next(reads) == -taken
        assert max(begun) <= taken + 7
    assert next(reads, None) is None


def test_whoever_stops_early_waits_for_no_file_that_was_not_begun() -> None:
    begun: list[int] = []
    held, first_is_read = threading.Event(), threading.Event()

    def read(i: int) -> int:
        begun.append(i)
        if i == 0:
            first_is_read.set()
        else:
            held.wait(10)
        return i

    reads = read_ahead(range(1000), read, 500)
    assert next(reads) == 0 and first_is_read.is_set()
    threading.Timer(0.05, held.set).start()
    reads.close()  # type: ignore[attr-defined]
    assert len(begun) < 500


# What it refuses


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "which run? run=<folder> is missing"),
        (("run={run}",), "which images? images=<…> is missing"),
        (("run={run}", "images=[]"), "which images? images=<…> is missing"),
        (("run={run}", "imges=x"), "imges is not a setting\n  did you mean images?"),
        (("run={run}", "images=x", "+galery=true"), "galery is not a setting\n  did you mean gallery?"),
        (("run={run}", "images={photos}", "gallery=maybe"), "gallery=maybe is not true or false"),
        (("run={run}", "images={photos}", "batch_size=many"), "batch_size=many is not a whole number"),
        (("run={run}", "images={photos}", "batch_size=0"), "batch_size=0 is out of range"),
        (("run={run}", "images={photos}", "decide=hlaf"), "decide=hlaf is not known\n  did you mean half?"),
        (("run={run}", "images={photos}", "device=tpu"), "device=tpu is not known"),
        (("run={run}", "images={photos}", "device=cuda"), "device=cuda: there is no GPU that PyTorch can use"),
        (("run={run}", "images={run}/nothing"), "images: there is no {run}/nothing"),
        (("run={run}/nothing", "images={photos}"), "there is no checkpoint {run}/nothing/checkpoints/best.ckpt"),
        (("run={run}", "images={photos}", "out={run}/metrics.json"), "cannot write to {run}/metrics.json: File exists"),
        (("run={run}", "images={photos}", "out={run}/metrics.json/x"), "metrics.json/x: Not a directory"),
    ],
)
def test_what_cannot_be_is_refused_in_few_words(run: Path, photos: Path, arguments: tuple[str, ...], says: str) -> None:
    places = {"run": run, "photos": photos}
    before = sorted(run.rglob("*"))
    message = refusal(command(*(argument.format(**places) for argument in arguments)))
    assert says.format(**places) in message
    assert sorted(run.rglob("*")) == before


def test_a_folder_that_may_not_be_written_is_told_before_any_image_is_read(
    run: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # who is root may write everywhere
    monkeypatch.setattr(predict, "read_image", None)
    message = refusal(command(f"run={run}", f"images={photos}"))
    assert f"cannot write to {run / 'predictions'}: it may not be written" in message


def test_a_gallery_of_too_many_images_is_refused_before_the_work(
    run: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predict, "MOST", 11)
    message = refusal(command(f"run={run}", f"images={photos}", "gallery=true"))
    assert "12 images are too many for one page (at most 11)" in message
    assert command(f"run={run}", f"images={photos}").code == 0


def test_auto_takes_the_gpu_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert predict._device("auto") == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert predict._device("auto") == predict._device("cuda") == "cuda"
    assert predict._device("cpu") == "cpu"
