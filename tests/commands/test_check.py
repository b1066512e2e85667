"""``retdm check`` on a small copy of Scene."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from command_line import in_process
from makers import make_scene
from matplotlib.figure import Figure
from PIL import Image

from retdm.commands import check
from retdm.data.sets.scene import Scene


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(Scene, "counts", make_scene(tmp_path / "data", n=30))
    return tmp_path


@pytest.fixture(autouse=True)
def undrawn(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty overview, which takes two seconds to draw; in a ``painted`` test it is drawn."""
    if request.node.get_closest_marker("painted") is None:
        monkeypatch.setattr(check.overview, "draw", lambda *_: Figure())


def arguments(folder: Path) -> list[str]:
    return ["data=scene", f"data.root={folder / 'data'}", f"outputs={folder / 'outputs'}", "data.image_size=16"]


@pytest.mark.painted
def test_a_sound_set_is_counted_and_drawn(scene: Path) -> None:
    done = in_process("check", *arguments(scene))
    assert done.code == 0, done.err
    assert "scene: 30 images, 5 labels" in done.out
    targets = Scene(str(scene / "data")).targets
    for j, name in enumerate(("desert", "mountains", "sea", "sunset", "trees")):
        line = next(line for line in done.out.splitlines() if line.startswith(name))
        assert int(line.split()[1]) == targets[:, j].sum()
    assert "nothing wrong was found" in done.out
    assert Image.open(scene / "outputs" / "check" / "scene" / "overview.png").width > 500


def test_groups_are_counted_with_the_sizes_and_shares_that_the_splits_reach(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    lines = ["image,shoot,cat"]
    for i in range(30):
        Image.fromarray(rng.integers(0, 256, (18, 18, 3), dtype=np.uint8)).save(tmp_path / f"{i}.png")
        lines.append(f"{i}.png,{i // 3},{int(i < 15)}")
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    words = [f"data.root={tmp_path}", "data.group=shoot", "data.stratified=true", "data.image_size=16"]
    done = in_process("check", "data=csv", *words, f"outputs={tmp_path / 'outputs'}")
    assert done.code == 0, done.err
    assert "10 groups, of 3 to 3 images, each in one split" in done.out
    assert "train 21 (wished 22), validation 3 (wished 2), test 6 (wished 6)" in done.out
    shares = done.out[done.out.index("share of images") :].splitlines()[1:]
    cat = next(line for line in shares if line.startswith("cat"))
    assert cat.split()[1] == "50.0%" and cat.split()[-1] == "50.0%"


def test_training_labels_without_a_known_negative_are_seen(scene: Path) -> None:
    done = in_process("check", *arguments(scene), "data.observe=positives_only:1")
    assert done.code == 0, done.err
    lines = done.out[done.out.index("\nscene: ") + 1 :].splitlines()
    assert lines[0].startswith("scene: 30 images, 5 labels, ")
    assert " unknown cells; the " in lines[0] and " fully known images: " in lines[0]
    assert lines[1].endswith("unknown  known absent in train")
    assert [line.split()[-1] for line in lines[3:8]] == ["0"] * 5
    assert lines[8].startswith("no training label is known to be absent: most methods learn nothing of that")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["augment.scale=2", "augment=light"], "augment.scale=2 is not a number above 0 to 1"),
        (["+augment.sclae=1", "augment=light"], "augment.sclae is not a setting of light"),
    ],
)
def test_an_augmentation_that_cannot_be_is_refused(scene: Path, words: list[str], says: str) -> None:
    done = in_process("check", *arguments(scene), *words)
    assert done.code == 2 and says in done.err


def test_broken_files_are_listed_and_the_exit_says_so(scene: Path) -> None:
    images = scene / "data" / "scene" / "original"
    (images / "3.jpg").write_bytes(b"")
    (images / "4.jpg").write_bytes((images / "4.jpg").read_bytes()[:300])
    (images / "9.jpg").write_bytes((images / "8.jpg").read_bytes())
    done = in_process("check", *arguments(scene), f"out={scene / 'look'}")
    assert done.code == 1, done.err
    with (scene / "look" / "findings.csv").open(newline="") as file:
        rows = [(row["kind"], row["id"]) for row in csv.DictReader(file)]
    assert rows == [("empty", "original/3.jpg"), ("unreadable", "original/4.jpg"), ("identical", "original/8.jpg")]
    for line in ("empty: 1 images", "unreadable: 1 images", "identical: 1 pairs, "):
        assert line in done.out


def test_a_setting_that_the_set_has_not_is_named(scene: Path) -> None:
    done = in_process("check", *arguments(scene), "+data.splt=3")
    assert done.code == 2 and "data.splt is not a setting of scene" in done.err


@pytest.mark.parametrize("word", ["+foo=1", "+method=bce", "seed=x", "seed=-1"])
def test_a_setting_that_the_command_has_not_is_named(word: str) -> None:
    done = in_process("check", word)
    assert done.code == 2 and f"error: {word.strip('+').partition('=')[0]}" in done.err, done.err


def test_the_labels_of_a_table_and_what_may_be_a_mistake_are_printed(tmp_path: Path) -> None:
    lines = ["image,cat,red  car,author"]
    for i in range(12):
        Image.new("RGB", (20, 20), (20 * i, 0, 0)).save(tmp_path / f"{i}.png")
        lines.append(f"{i}.PNG,{i % 2},{i % 3 == 0},me")
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    own = ["data=csv", f"data.root={tmp_path}", f"outputs={tmp_path}/out"]
    done = in_process("check", *own)
    assert done.code == 2 and "data.other_columns=[author]" in done.err
    done = in_process("check", *own, "data.other_columns=[author]")
    assert done.code == 0, done.err
    assert "labels.csv: 12 images; labels (columns): cat, red car" in done.out
    assert "warning: labels.csv: 12 names are not quite those of their files" in done.out
    assert "fewer than 5 rows with a label in validation or test" in done.out and done.err == ""


@pytest.mark.slow
def test_the_module_is_a_command_of_its_own(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "retdm", "check", "data.size=20", "data.image_size=16", f"outputs={tmp_path}"],
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert "synthetic: 20 images, 5 labels" in done.stdout
    assert (tmp_path / "check" / "synthetic" / "overview.png").exists()
