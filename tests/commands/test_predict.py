"""``retdm predict``: what it finds, writes and refuses."""

import csv
import errno
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command_line import Done, check_message, in_process, predictions_in

from retdm.commands import predict
from retdm.runs.folder.saved import write_decision
from retdm.runs.trained import image_files


def command(*arguments: str) -> Done:
    return in_process("predict", *arguments)


@pytest.fixture(autouse=True)
def on_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def table_of(out: Path) -> list[dict[str, str]]:
    with (out / "predictions.csv").open(newline="") as file:
        return list(csv.DictReader(file))


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


def test_without_images_it_predicts_the_runs_own_test_images_and_shows_their_true_labels(
    tiny_run: Path, tmp_path: Path, rows: dict[str, np.ndarray]
) -> None:
    done = command(f"run={tiny_run}", f"out={tmp_path}", "gallery=true")
    assert done.code == 0, done.err
    assert "the run's own test images, on cpu; labels scored 0.5 or more" in done.out
    table, labels = table_of(tmp_path), rows["labels"].tolist()
    assert [row["path"] for row in table] == json.loads((tiny_run / "split.json").read_text())["test"]
    assert np.abs(np.array([[float(row[label]) for label in labels] for row in table]) - rows["scores"]).max() <= 1e-6
    page = (tmp_path / "gallery.html").read_text()
    missed = (rows["target"] > 0) & (rows["scores"] < 0.5)
    told = re.findall(r'data-missed="([\d ]*)" data-added="([\d ]*)"', page)
    assert sorted(each for each, _ in told) == sorted(" ".join(map(str, np.flatnonzero(row))) for row in missed)


def test_labels_are_those_scored_one_half_or_more(predicted: tuple[Done, Path], rows: dict[str, np.ndarray]) -> None:
    labels = rows["labels"].tolist()
    for row, scores in zip(table_of(predicted[1]), rows["scores"], strict=True):
        expected = [label for label, score in zip(labels, scores, strict=True) if score >= 0.5]
        assert row["labels"] == ";".join(expected)


def test_json_says_what_the_table_says(predicted: tuple[Done, Path], tiny_run: Path) -> None:
    report = predictions_in(predicted[1])
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
    first, *told = done.out.splitlines()
    assert first.startswith("retdm predict run=")
    assert told[0] == "12 files, on cpu; labels scored 0.5 or more"
    assert re.fullmatch(r"12 images in [\d.]+ s: [\d.]+ images/s", told[1])
    assert told[2:] == [f"wrote {out / name}" for name in names]
    assert done.err == ""
    assert sorted(path.name for path in out.iterdir()) == sorted(names)


def test_without_a_place_it_writes_into_the_run(trained: Path, photos: Path) -> None:
    assert command(f"run={trained}", f"images={photos}").code == 0
    assert sorted(path.name for path in (trained / "predictions").iterdir()) == ["predictions.csv", "predictions.json"]


def test_names_that_are_not_utf8_come_back_as_they_were(trained: Path, photos: Path, tmp_path: Path) -> None:
    name = b"caf\xe9\n.png"
    folder = tmp_path / "old"
    folder.mkdir()
    shutil.copy(next(photos.iterdir()), os.fsdecode(os.fsencode(folder) + b"/" + name))
    (folder / os.fsdecode(b"\xff.jpg")).write_bytes(b"no image")
    done = command(f"run={trained}", f"images={folder}", "gallery=true")
    assert done.code == 0, done.err
    assert name in (trained / "predictions" / "predictions.csv").read_bytes()
    report = predictions_in(trained / "predictions")
    assert os.fsencode(report["images"][0]["path"]).endswith(name)
    assert os.fsencode(report["unreadable"][0]["path"]).endswith(b"\xff.jpg")
    assert r"\xff.jpg" in done.err
    assert r"caf\xe9\n.png" in (trained / "predictions" / "gallery.html").read_text()


def test_files_that_belong_together_are_written_all_or_none(
    trained: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = trained / "predictions"
    assert command(f"run={trained}", f"images={photos}").code == 0
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    write = Path.write_bytes

    def full(path: Path, content: bytes) -> int:
        if path.name == "predictions.json.part":
            write(path, content[:100])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    check_message(command(f"run={trained}", f"images={photos}", "decide=top3"))
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


# How it decides


def test_the_threshold_of_the_validation_part_is_the_runs(
    trained: Path, photos: Path, rows: dict[str, np.ndarray]
) -> None:
    threshold = float(np.median(rows["scores"]))
    write_decision(trained / "checkpoints" / "best.ckpt", {"threshold": threshold, "decision": None})
    done = command(f"run={trained}", f"images={photos}", "decide=validation")
    assert done.code == 0, done.err
    report = predictions_in(trained / "predictions")
    assert (report["rule"], report["threshold"]) == ("validation", threshold)
    carried = np.array([[label in row["labels"] for label in report["labels"]] for row in report["images"]])
    clear = np.abs(rows["scores"] - threshold) > 1e-6
    assert (carried == (rows["scores"] >= threshold))[clear].all()


def test_without_a_threshold_the_rule_that_needs_it_is_an_error(trained: Path, photos: Path) -> None:
    best = trained / "checkpoints" / "best.ckpt"
    write_decision(best, {"threshold": None, "decision": None})
    message = check_message(command(f"run={trained}", f"images={photos}", "decide=validation"))
    assert f"{best} has no threshold" in message
    assert not (trained / "predictions").exists()


def test_three_labels_each_when_asked_for(trained: Path, photos: Path) -> None:
    assert command(f"run={trained}", f"images={photos}", "decide=top3").code == 0
    report = predictions_in(trained / "predictions")
    assert (report["rule"], report["threshold"]) == ("top3", None)
    for row in report["images"]:
        best = sorted(row["scores"], key=lambda label: -row["scores"][label])[:3]
        assert set(row["labels"]) == set(best)


def test_the_rule_is_the_methods_own_when_none_is_asked_for(
    trained: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = predict.Model

    def with_rule(*args: Any, **options: Any) -> Any:
        model = load(*args, **options)
        model.method.decide = "top3"
        return model

    monkeypatch.setattr(predict, "Model", with_rule)
    assert command(f"run={trained}", f"images={photos}").code == 0
    assert predictions_in(trained / "predictions")["rule"] == "top3"


# Files that cannot be read


def test_unreadable_files_are_told_and_the_others_keep_their_scores(
    trained: Path, photos: Path, tmp_path: Path, rows: dict[str, np.ndarray]
) -> None:
    mixed = Path(shutil.copytree(photos, tmp_path / "mixed"))
    names = sorted(path.name for path in mixed.iterdir())
    for name in (names[1], names[7]):
        (mixed / name).write_bytes(b"no image")
    (mixed / "00000-empty.jpg").write_bytes(b"")
    done = command(f"run={trained}", f"images={mixed}", "batch_size=4", "gallery=true")
    assert done.code == 0
    assert done.err.splitlines()[0] == "3 of 13 files could not be read and are left out:"
    assert "10 images in" in done.out
    report = predictions_in(trained / "predictions")
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
    page = (trained / "predictions" / "gallery.html").read_text()
    assert re.findall(r'alt="([^"]+)"', page) == [names[i] for i in kept]


def test_more_than_ten_unreadable_files_are_counted_on_the_screen_and_listed_in_the_report(
    trained: Path, photos: Path, tmp_path: Path
) -> None:
    mixed = Path(shutil.copytree(photos, tmp_path / "mixed"))
    for i in range(14):
        (mixed / f"bad{i}.jpg").write_bytes(b"")
    done = command(f"run={trained}", f"images={mixed}")
    assert len(done.err.splitlines()) == 12
    assert "… and 4 more, in predictions.json" in done.err
    assert len(predictions_in(trained / "predictions")["unreadable"]) == 14


def test_no_readable_file_at_all_is_an_error_and_leaves_no_result(trained: Path, tmp_path: Path) -> None:
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_bytes(b"")
    message = check_message(command(f"run={trained}", f"images={tmp_path / '*.jpg'}"))
    assert f"none of the 2 files can be read as an image; first: {tmp_path / 'a.jpg'} is empty" in message
    assert not list(trained.rglob("predictions.*"))


def test_a_list_on_the_command_line_gives_its_files_in_its_order(
    trained: Path, photos: Path, tmp_path: Path, rows: dict[str, np.ndarray]
) -> None:
    first, second = (photos / f"{i:05d}.png" for i in rows["index"][:2])
    odd = tmp_path / "it's, (1) [2] = {3}.png"
    shutil.copy(second, odd)
    escaped = str(odd).replace("'", r"\'")
    assert command(f"run={trained}", f"images=['{escaped}',{first}]").code == 0
    table = table_of(trained / "predictions")
    assert [row["path"] for row in table] == [str(odd), str(first)]
    label = rows["labels"][0]
    assert [float(row[label]) for row in table] == pytest.approx(rows["scores"][[1, 0], 0], abs=1e-6)


# What it refuses


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "which run? run=<folder> is missing"),
        (("run={run}",), "the run's own test images cannot be read: "),
        (("run={run}", "images=[]"), "images=<…> names no image"),
        (("run={run}", "imges=x"), "imges is not a setting\n  did you mean images?"),
        (("run={run}", "images=x", "+galery=true"), "galery is not a setting of predict\n  did you mean gallery?"),
        (("run={run}", "images={photos}", "gallery=maybe"), "gallery=maybe is not true or false"),
        (("run={run}", "images={photos}", "batch_size=many"), "batch_size=many is not a whole number"),
        (("run={run}", "images={photos}", "batch_size=0"), "batch_size=0 is out of range"),
        (("run={run}", "images={photos}", "decide=hlaf"), "there is no decision rule 'hlaf'\n  did you mean half?"),
        (("run={run}", "images={photos}", "device=tpu"), "device=tpu is not known"),
        (("run={run}", "images={photos}", "device=cuda"), "device=cuda: there is no GPU that PyTorch can use"),
        (("run={run}", "images={run}/nothing"), "images: there is no {run}/nothing"),
        (("run={run}/nothing", "images={photos}"), "there is no checkpoint {run}/nothing/checkpoints/best.ckpt"),
        (
            ("run={run}", "images={photos}", "out={run}/checkpoints/best.ckpt"),
            "cannot write to {run}/checkpoints/best.ckpt: File exists",
        ),
        (("run={run}", "images={photos}", "out={run}/checkpoints/best.ckpt/x"), "best.ckpt/x: Not a directory"),
    ],
)
def test_what_cannot_be_is_refused_in_few_words(
    trained: Path, photos: Path, arguments: tuple[str, ...], says: str
) -> None:
    places = {"run": trained, "photos": photos}
    before = sorted(trained.rglob("*"))
    message = check_message(command(*(argument.format(**places) for argument in arguments)))
    assert says.format(**places) in message
    assert sorted(trained.rglob("*")) == before


def test_a_folder_that_may_not_be_written_is_told_before_any_image_is_read(
    trained: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # who is root may write everywhere
    monkeypatch.setattr(image_files, "read_image", None)
    message = check_message(command(f"run={trained}", f"images={photos}"))
    assert f"cannot write to {trained / 'predictions'}: it may not be written" in message
