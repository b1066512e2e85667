"""A run as files that need no retdm: what is in them, that they compute the same, and that nothing half-done stays."""

import errno
import importlib
import io
import json
import re
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from command_line import Done, in_process
from PIL import ExifTags, Image
from untrained import Untrained

from retdm.batch import Batch
from retdm.commands import export as room
from retdm.commands.export import export
from retdm.commands.train import train
from retdm.data.synthetic.source import Synthetic
from retdm.decisions import RULES, calibrated, fit_calibration, rule_of
from retdm.decisions.calibration import KINDS as KINDS_OF_CALIBRATION
from retdm.errors import UserError
from retdm.methods.networks.retdm import RETDM
from retdm.runs.folder.paths import RunFolder
from retdm.runs.folder.rows import read_chosen_on
from retdm.runs.folder.saved import write_decision
from retdm.runs.trained.model import load
from retdm.runs.trained.program import trace
from retdm.settings.run_settings import RunSettings

DOCS = Path(__file__).resolve().parents[2] / "docs" / "howto" / "deploying.md"
HAS_ONNX = all(find_spec(name) for name in room.EXTRA)
needs_onnx = pytest.mark.skipif(not HAS_ONNX, reason='pip install "retdm[onnx]"')
KINDS = ["model.pt2", pytest.param("model.onnx", marks=needs_onnx)]


@pytest.fixture(scope="module")
def program(tiny_run: Path) -> Any:
    return trace(load(tiny_run))


@pytest.fixture
def traced(program: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The program of ``tiny_run`` is there already: to trace it takes most of an export."""
    monkeypatch.setattr(room, "trace", lambda model: program)


def command(*arguments: str) -> Done:
    return in_process("export", *arguments)


def scores_of(file: Path, images: torch.Tensor) -> np.ndarray:
    if file.suffix == ".pt2":
        return torch.export.load(file).module()(images).numpy()
    import onnxruntime

    return onnxruntime.InferenceSession(str(file)).run(None, {"images": images.numpy()})[0]


def card_in(file: Path) -> dict[str, Any]:
    if file.suffix == ".pt2":
        found = {"retdm.json": ""}
        torch.export.load(file, extra_files=found)
        return json.loads(found["retdm.json"])
    import onnxruntime

    return json.loads(onnxruntime.InferenceSession(str(file)).get_modelmeta().custom_metadata_map["retdm.json"])


@pytest.fixture(scope="module")
def out(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the tiny run's export, with the command's ``log.txt``. Not to be changed."""
    folder = tmp_path_factory.mktemp("run") / "export"
    done = command(f"run={tiny_run}", f"out={folder}", f"onnx={HAS_ONNX}")
    assert done.code == 0, done.err
    (folder / "printed.txt").write_text(done.out)
    return folder


# What is written


@pytest.mark.parametrize("name", KINDS)
def test_a_file_gives_the_runs_scores_for_any_number_of_images(tiny_run: Path, out: Path, name: str) -> None:
    source = Synthetic(60, side=18)
    model = load(tiny_run)
    views = torch.stack([model.view(source.read(i)) for i in range(7)])
    expected = model.scores(views)
    assert np.ptp(expected, axis=0).max() > 0.05, "scores so alike that a file could hardly be wrong"
    for images, scores in ((views, expected), (views[:1], expected[:1])):
        found = scores_of(out / name, images)
        assert found.dtype == np.float32
        assert np.abs(found - scores).max() < 1e-5


# Where both are mixed, those by label sets are computed too.
@pytest.mark.parametrize("score", [pytest.param("label_sets", marks=pytest.mark.slow), "both"])
def test_scores_by_label_sets_are_exported_with_the_sets(
    tiny: Callable[..., RunSettings], tmp_path: Path, score: str
) -> None:
    run = RunFolder(train(tiny("method=retdm", f"method.score={score}", "method.embedding_dim=8")))
    found = export(run, tmp_path / "out", onnx=HAS_ONNX).differences
    assert len(found) == 1 + HAS_ONNX and max(found.values()) < 1e-5


@pytest.mark.parametrize("name", KINDS)
def test_a_file_refuses_images_of_another_type_or_size(out: Path, name: str) -> None:
    images = torch.zeros(2, 3, 16, 16, dtype=torch.uint8)
    assert scores_of(out / name, images).shape == (2, 5)
    others = [images[:, :, :15], images[:, :1]]
    if name == "model.onnx":  # a program of PyTorch 2.6 takes any type
        others.append(images.float())
    for wrong in others:
        with pytest.raises(Exception, match=r"(?i)expected|invalid|guard|mismatch"):
            scores_of(out / name, wrong)


@pytest.mark.parametrize("name", KINDS)
def test_a_file_carries_labels_transform_and_rule(out: Path, name: str) -> None:
    card = card_in(out / name)
    assert card["labels"] == Synthetic(1).names
    assert card["images"] == {"type": "uint8", "shape": ["batch", 3, 16, 16]}
    transform = card["transform"]
    assert (transform["resize"], transform["interpolation"], transform["colours"]) == ([18, 16], "bilinear", "RGB")
    assert transform["mean"] == [0.485, 0.456, 0.406]
    assert card["decide"] == {"rule": "half", "threshold": 0.5, "words": "labels scored 0.5 or more"}


def test_the_threshold_of_the_validation_rule_is_the_runs(untrained: Untrained) -> None:
    run = untrained("method=bce", "method.decide=validation")
    with pytest.raises(UserError, match="has no threshold"):
        export(run, run.path / "export", onnx=False)
    write_decision(run.best, {"threshold": 0.375, "decision": None})
    decides = export(run, run.path / "export", onnx=False).card["decide"]
    assert (decides["rule"], decides["threshold"]) == ("validation", 0.375)


def test_the_command_says_where_the_files_are_and_how_they_are_loaded(out: Path) -> None:
    printed = (out / "printed.txt").read_text()
    names = ["model.pt2", "model.onnx"] if HAS_ONNX else ["model.pt2"]
    assert sorted(path.name for path in out.iterdir()) == sorted([*names, "printed.txt"])
    for name in names:
        assert re.search(rf"{name}: \d\.\d MB, scores differ from the run's by at most \d\.\de[-+]\d\d\n", printed)
    assert f'torch.export.load("{out / "model.pt2"}")' in printed
    assert "uint8 RGB (n, 3, 16, 16)" in printed


@pytest.mark.parametrize("name", KINDS)
def test_what_the_docs_say_gives_the_runs_scores_of_a_photograph_that_lies_on_its_side(
    tiny_run: Path, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    blocks = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
    (code,) = [block for block in blocks if f'"{name}"' in block]
    (tmp_path / name).write_bytes((out / name).read_bytes())
    monkeypatch.chdir(tmp_path)
    shades = np.linspace(0, 255, 60 * 41 * 3).reshape(60, 41, 3).astype(np.uint8)
    lying = Image.Exif()
    lying[ExifTags.Base.Orientation] = 6
    Image.fromarray(shades).save("beach.jpg", exif=lying, quality=95)
    model = load(tiny_run)
    expected = model.predict(["beach.jpg"])
    assert np.abs(model.predict(np.asarray(Image.open("beach.jpg"))) - expected).max() > 0.02, (
        "turning it changes nothing"
    )
    room_of_code: dict[str, Any] = {}
    exec(code, room_of_code)
    assert np.abs(room_of_code["scores"] - expected).max() < 1e-5


@pytest.mark.parametrize("name", [*RULES, "top1", "recall:1"])
def test_what_the_docs_say_decides_as_the_rule_does(name: str) -> None:
    draw = np.random.default_rng(0)
    scores = draw.random((30, 7)).astype(np.float32) ** 3
    scores[:5] = scores[:5].round(1)
    rule = rule_of(name)
    own = draw.random(7).tolist() if rule.chosen_on == "training" else None
    threshold = own or rule.choose(scores, scores > 0.3, np.ones((30, 7)))
    decided = importlib.import_module("benchmarks.deployed").decided
    assert np.array_equal(decided(scores, {"rule": rule.name, "threshold": threshold}), rule.apply(scores, threshold))


@pytest.mark.parametrize("kind", KINDS_OF_CALIBRATION)
def test_what_the_docs_say_calibrates_as_a_run_does(kind: Any) -> None:
    draw = np.random.default_rng(0)
    scores = draw.random((60, 5)).astype(np.float32)
    how = fit_calibration(kind, scores, draw.random((60, 5)) < scores**2, np.ones((60, 5), bool))
    page = importlib.import_module("benchmarks.deployed").calibrated
    assert page(scores, json.loads(json.dumps(how))) == pytest.approx(calibrated(how, scores), abs=1e-6)
    assert page(scores, None) is scores


@pytest.mark.usefixtures("traced")
def test_the_card_has_the_rule_that_was_asked_for(tiny_run: Path, tmp_path: Path) -> None:
    decides = export(RunFolder(tiny_run), tmp_path / "out", decide="precision:.8", onnx=False).card["decide"]
    model = load(tiny_run)
    assert decides["rule"] == "precision:0.8" and len(decides["threshold"]) == len(model.labels)
    assert (
        decides["words"] == "labels scored at least their own threshold, for a precision of at least 0.8 on validation"
    )
    chosen_on = read_chosen_on(RunFolder(tiny_run))
    assert chosen_on is not None and decides["threshold"] == rule_of("precision:.8").choose(*chosen_on.cells)


def test_the_comparison_on_photographs_tells_a_line_a_file(
    tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    compare = importlib.import_module("benchmarks.deployed")
    for i in range(3):
        Synthetic(3, side=40).read(i).save(tmp_path / f"{i}.png")
    monkeypatch.setattr(compare, "find_spec", lambda name: None)  # model.pt2 alone: ONNX takes seconds
    monkeypatch.setattr(sys, "argv", ["deployed.py", str(tmp_path), str(tiny_run)])
    compare.main()
    found = re.fullmatch(r"retdm +model\.pt2 +3 images: (\S+), 0 label sets differ\n", capsys.readouterr().out)
    assert found and float(found[1]) < 1e-5


# What is refused, and what is left then


def test_a_network_of_ones_own_is_exported_only_where_it_is_allowed(untrained: Untrained, tmp_path: Path) -> None:
    run = untrained(backbone={"_target_": "nets.Normed", "weights": "none"})
    with pytest.raises(UserError, match="not a class of this package"):
        export(run, tmp_path / "out", onnx=False)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "which run? run=<folder> is missing"),
        (["run=nowhere", "onnx=auto"], "onnx=auto is not true or false"),
        (["run=nowhere", "+onx=false"], "onx is not a setting of export"),
        (["run=nowhere", "onnx=false"], "there is no checkpoint nowhere"),
        (["run=nowhere", "onxx=false"], "onxx is not a setting\n  did you mean onnx?"),
    ],
)
def test_a_command_that_cannot_be_is_told_in_one_message(arguments: list[str], says: str) -> None:
    done = command(*arguments)
    assert done.code == 2
    assert done.err.startswith(f"error: {says}")
    assert len(done.err.splitlines()) <= 6


def test_missing_packages_are_told_before_anything_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "find_spec", lambda name: None if name == "onnxscript" else object())
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    (tmp_path / "run" / "checkpoints" / "best.ckpt").touch()  # empty
    done = command(f"run={tmp_path / 'run'}", f"out={tmp_path / 'out'}")
    assert done.code == 2
    assert "not installed: onnxscript\n" in done.err
    assert 'pip install "retdm[onnx]"' in done.err
    assert "onnx=false" in done.err


@pytest.mark.usefixtures("traced")
def test_an_earlier_export_stays_unless_it_may_be_replaced(tiny_run: Path, tmp_path: Path) -> None:
    run, out = RunFolder(tiny_run), tmp_path / "out"
    out.mkdir()
    for name in ("model.pt2", "model.onnx", "notes.txt"):
        (out / name).write_text("old")
    with pytest.raises(UserError, match=r"model\.pt2 is there already"):
        export(run, out, onnx=False)
    assert {path.read_text() for path in out.iterdir()} == {"old"}
    export(run, out, onnx=False, overwrite=True)
    assert sorted(path.name for path in out.iterdir()) == ["model.pt2", "notes.txt"], "another run's model.onnx stays"
    assert card_in(out / "model.pt2")["labels"] == Synthetic(1).names


def by_value(self: RETDM, batch: Batch) -> torch.Tensor:
    return batch.image.mean((2, 3)) * 0 + (1.0 if batch.image.mean() > 0 else 0.5)


def by_number(self: RETDM, batch: Batch) -> torch.Tensor:
    return batch.image.mean((2, 3)).sigmoid() / len(batch.image)


def by_mode(self: RETDM, batch: Batch) -> torch.Tensor:
    return batch.image.mean((2, 3)).sigmoid() * (0.9 if torch.compiler.is_compiling() else 1)


@pytest.mark.parametrize(
    ("scores", "says"),
    [
        (by_value, "RETDM cannot be exported: "),
        (by_number, "RETDM cannot be exported: "),
        (by_mode, r"model\.pt2 would give scores that differ from the run's by \d\.\de-\d\d"),
    ],
)
def test_a_method_that_computes_otherwise_as_a_file_is_refused_and_nothing_is_left(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scores: Any, says: str
) -> None:
    monkeypatch.setattr(RETDM, "scores", scores)
    done = command(f"run={tiny_run}", f"out={tmp_path / 'out'}", "onnx=false")
    assert done.code == 2
    assert re.match(f"error: {says}", done.err), done.err
    assert len(done.err.splitlines()) <= 6
    assert not list(tmp_path.iterdir())


def test_a_run_on_bags_is_refused(tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "load", lambda *rest, **more: SimpleNamespace(dim=4))
    with pytest.raises(UserError, match="was trained on bags of instances: it cannot be exported"):
        export(RunFolder(tiny_run), tmp_path / "out", onnx=False)


def test_a_method_whose_scores_are_no_program_is_refused(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RETDM, "exports", False)
    with pytest.raises(UserError, match="RETDM cannot be exported: its scores are no fixed tensor program"):
        export(RunFolder(tiny_run), tmp_path / "out", onnx=False)


@pytest.mark.usefixtures("traced")
def test_a_full_disk_leaves_the_earlier_export_as_it_was(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, out = RunFolder(tiny_run), tmp_path / "out"
    out.mkdir()
    (out / "model.pt2").write_text("old")

    def save_half(program: Any, file: io.BufferedWriter, **more: Any) -> None:
        file.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(torch.export, "save", save_half)
    with pytest.raises(UserError, match=f"cannot write to {out}: No space left"):
        export(run, out, onnx=False, overwrite=True)
    assert {path.name: path.read_text() for path in out.iterdir()} == {"model.pt2": "old"}


@pytest.mark.usefixtures("traced")
def test_a_place_that_cannot_be_written_is_named(tiny_run: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(UserError, match=f"cannot write to {tmp_path / 'file'}"):
        export(RunFolder(tiny_run), tmp_path / "file", onnx=False)


@pytest.mark.parametrize(
    ("found", "is_within"),
    [([1.0], True), ([1.0 + 5e-5], True), ([1.0 + 5e-4], False), ([float("nan")], False), ([1.0, 1.0], False)],
)
def test_a_difference_is_told_from_rounding(found: list[float], is_within: bool) -> None:
    expected = np.array([[1.0]], np.float32)
    assert (room._difference([np.array([found], np.float32)], expected) <= room.TOLERANCE) is is_within
