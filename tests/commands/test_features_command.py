"""``retdm features``: what it writes and refuses."""

import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command_line import Done, check_message, in_process

import retdm
from retdm.commands.output import feature_files

NETWORK = ("backbone=vgg_small", "backbone.channels=[8,16]", "image_size=16")


def command(*arguments: str) -> Done:
    return in_process("features", *arguments)


@pytest.fixture(autouse=True)
def on_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def read(file: Path) -> tuple[np.ndarray, list[str], dict[str, Any]]:
    with np.load(file) as found:
        return found["features"], found["names"].tolist(), json.loads(str(found["about"]))


def test_a_run_gives_its_embeddings_with_names_and_origin(trained: Path, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "photos.npz"
    done = command(f"run={trained}", f"images={photos}", f"out={out}", "batch_size=5")
    assert done.code == 0, done.err
    features, names, about = read(out)
    files = sorted(photos.iterdir())
    assert names == list(map(str, files))
    assert np.allclose(features, retdm.load(trained).embed(files), atol=1e-6)
    assert (about["run"], about["network"], about["view"]) == (str(trained), "vgg_small", "embedding")
    assert about["shape"] == [features.shape[1]] and about["unreadable"] == [] and about["retdm"] == retdm.__version__
    assert [path.name for path in out.parent.iterdir()] == ["photos.npz"]
    first, second, third, last = done.out.splitlines()
    assert first == f"retdm features run={trained}"
    assert second == f"12 files, on cpu; embedding of vgg_small of {trained}"
    assert third.startswith("12 images in ") and last.startswith(f"wrote {out}: 12 x {features.shape[1]} float32, ")
    assert done.err == ""


def test_a_backbone_alone_gives_its_own_and_says_that_it_is_random(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.npz"
    done = command(*NETWORK, f"images={photos}", f"out={out}", "view=multilevel", "stages=[2,fc]")
    assert done.code == 0, done.err
    assert done.out.splitlines()[:2] == [
        "retdm features backbone=vgg_small",
        "12 files, on cpu; multilevel (stages 2, fc) of vgg_small",
    ]
    assert done.err.startswith("warning: backbone.weights=none: ")
    features, _, about = read(out)
    assert features.shape == (12, 96) and about["stages"] == {"2": 64, "fc": 32}
    found = retdm.embed(
        photos,
        backbone="vgg_small",
        view="multilevel",
        stages=[2, "fc"],
        image_size=16,
        **{"backbone.channels": [8, 16]},
    )
    assert np.array_equal(found.features, features)


def test_unreadable_files_are_left_out_and_told(photos: Path, tmp_path: Path) -> None:
    mixed = Path(shutil.copytree(photos, tmp_path / "mixed"))
    names = sorted(path.name for path in mixed.iterdir())
    (mixed / names[1]).write_bytes(b"no image")
    out = tmp_path / "x.npz"
    done = command(*NETWORK, f"images={mixed}", f"out={out}")
    assert done.code == 0 and "1 of 12 files could not be read and are left out:" in done.err
    features, found, about = read(out)
    assert len(features) == 11 and found == [str(mixed / name) for name in names if name != names[1]]
    assert [each["name"] for each in about["unreadable"]] == [str(mixed / names[1])]


def test_a_file_that_is_there_stays_unless_it_is_to_be_replaced(
    trained: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "files" / "x.npz"
    words = (f"run={trained}", f"images={photos}", f"out={out}")
    assert command(*words).code == 0
    before = out.read_bytes()
    assert f"{out} is there already" in check_message(command(*words))

    def full(*given: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(feature_files, "_npz", full)
        message = check_message(command(*words, "overwrite=true"))
    assert f"cannot write {out}: No space left on device" in message and "out=<file>" in message
    assert [path.name for path in out.parent.iterdir()] == ["x.npz"] and out.read_bytes() == before
    assert command(*words, "overwrite=true", "view=maps").code == 0
    assert read(out)[2]["view"] == "maps"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("images={photos}",), "which network? run=… or backbone=… is missing"),
        (("images={photos}", "backbone=vgg_small", "run={run}"), "run=… and backbone=… are two networks"),
        (("images={photos}", "backbone=vgg_smal"), "there is no backbone named vgg_smal; did you mean vgg_small?"),
        (("images={photos}", "backbone=vgg_small", "backbone.chanels=[8]"), "did you mean channels?"),
        (("images={photos}", "backbone=vgg_small", "backbone.convs=0"), "backbone.convs=0 is not a whole number"),
        (("images={photos}", "run={run}/nothing"), "there is no checkpoint {run}/nothing/checkpoints/best.ckpt"),
        (("images={photos}", "run={run}", "image_size=32"), "image_size=32: a run keeps its own"),
        (("images={photos}", "run={run}", "precision=auto"), "precision=auto: a run keeps its own"),
        (("run={run}",), "which images? images=<…> is missing"),
        (("run={run}", "images={run}/nothing"), "images: there is no {run}/nothing"),
        (("images={photos}", "run={run}", "view=map"), "view=map is not one of embedding, multilevel, maps"),
        (("images={photos}", "run={run}", "stages=[1]"), "stages=[1] are of view=multilevel"),
        (("images={photos}", "run={run}", "batch_size=0"), "batch_size=0 is not a whole number of at least 1"),
        (("images={photos}", "run={run}", "out={run}/x.csv"), "x.csv ends in neither of .npz, .parquet"),
        (("images={photos}", "run={run}", "out={run}/x.parquet"), "x.parquet needs a package that is not installed"),
        (("images={photos}", "run={run}", "out={run}/checkpoints/best.ckpt/x.npz"), "best.ckpt: File exists"),
    ],
)
def test_what_cannot_be_is_refused_in_few_words(
    trained: Path, photos: Path, arguments: tuple[str, ...], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("retdm.settings.features.find_spec", lambda name: None)  # pyarrow may be there
    places = {"run": trained, "photos": photos}
    before = sorted(trained.rglob("*"))
    message = check_message(command(*(argument.format(**places) for argument in arguments)))
    assert says.format(**places) in "; ".join(line.strip() for line in message.splitlines())
    assert sorted(trained.rglob("*")) == before


@pytest.mark.skipif(importlib.util.find_spec("pyarrow") is None, reason="pyarrow is not installed (extra parquet)")
def test_parquet_is_written_where_arrow_is_there(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.parquet"
    assert command(*NETWORK, f"images={photos}", f"out={out}").code == 0
    assert out.read_bytes()[:4] == b"PAR1"
