"""``retdm review``: from a folder with planted errors to a corrected table."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from command_line import ROOT, Done, check_message, in_process

from retdm.data.synthetic.source import Synthetic
from retdm.data.user.csv_labels import CsvLabels

N = 60
NET = ("backbone=vgg_small", "backbone.weights=none", "backbone.channels=[8,16]", "device=cpu", "precision=32-true")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drawn images with a table of their labels, one of which is unknown, and a copy that says otherwise. Not to be
    changed."""
    folder = tmp_path_factory.mktemp("photos")
    source = Synthetic(N, side=16)
    rows = [[f"{i}.png", *map(str, source.targets[i])] for i in range(N)]
    for i in range(N):
        source.read(i).save(folder / f"{i}.png")
    shutil.copy(folder / "0.png", folder / "copy.png")
    rows.append(["copy.png", str(1 - source.targets[0, 0]), *rows[0][2:]])
    rows[3][2] = ""
    with (folder / "labels.csv").open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([["image", *source.names], *rows])
    return folder


def command(folder: Path, out: Path, *words: str) -> Done:
    return in_process("review", "data=csv", f"data.root={folder}", "data.image_size=16", f"outputs={out}", *NET, *words)


@pytest.fixture(scope="module")
def reviewed(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Done, Path]:
    """What the command says, and its folder of results."""
    out = tmp_path_factory.mktemp("outputs")
    return command(folder, out, "top=5"), out / "review" / "csv"


def rows_of(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as opened:
        return list(csv.DictReader(opened))


def test_the_ranking_is_a_table_and_its_first_rows_are_printed(reviewed: tuple[Done, Path]) -> None:
    done, out = reviewed
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert lines[0] == "retdm review data=csv backbone=vgg_small"
    assert lines[1].startswith(f"labels.csv: {N + 1} images")
    scored = f"{N + 1} images, 5 labels; logistic regression on features of vgg_small, 5 folds"
    assert any(line.startswith(scored) for line in lines)
    rows = rows_of(out / "review.csv")
    copies = [row for row in rows if row["kind"] == "copies"]
    assert {(row["image"], row["copy"]) for row in copies} == {("0.png", "copy.png"), ("copy.png", "0.png")}
    start = next(i for i, line in enumerate(lines) if line.startswith("image "))
    assert [line.split()[0] for line in lines[start + 1 : start + 11]] == [row["image"] for row in rows[:10]]
    doubts = [float(row["suspicion"]) for row in rows if row["kind"] in ("missing", "wrong")]
    assert doubts == sorted(doubts, reverse=True) and min(doubts) > 0


def test_the_page_has_the_first_findings_of_each_kind(reviewed: tuple[Done, Path]) -> None:
    text = (reviewed[1] / "review.html").read_text()
    content = json.loads(text.split('id="content">')[1].split("</script>")[0])
    kinds = [each["kind"] for each in content["findings"]]
    rows = [row["kind"] for row in rows_of(reviewed[1] / "review.csv")]
    assert {kind: kinds.count(kind) for kind in set(rows)} == {kind: min(5, rows.count(kind)) for kind in set(rows)}
    assert all(each["picture"] for each in content["images"])


@pytest.fixture
def own(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "photos"))


def decide(own: Path, *rows: str) -> Path:
    file = own.parent / "decisions.csv"
    file.write_text("\n".join(["image,label,given,reviewed", *rows]))
    return file


def test_decisions_become_a_table_beside_the_original(own: Path, reviewed: tuple[Done, Path]) -> None:
    before = (own / "labels.csv").read_bytes()
    source = CsvLabels(str(own))
    label, given = source.names[0], int(source.targets[1, 0])
    kept = int(source.targets[2, 0])
    rows = f"1.png,{label},{given},{1 - given}", f"3.png,{source.names[1]},,1", f"2.png,{label},{kept},{kept}"
    file = decide(own, *rows)
    done = command(own, own, f"apply={file}")
    assert done.code == 0, done.err
    assert "3 decisions: " in done.out and "next      retdm train data=csv data.root=" in done.out
    read = CsvLabels(str(own), "labels_reviewed.csv")
    assert read.targets[1, 0] == 1 - given and read.known[3, 1] and read.targets[3, 1] == 1
    changed = (read.targets != source.targets) | (read.known != source.known)
    assert np.argwhere(changed).tolist() == [[1, 0], [3, 1]]
    assert (own / "labels.csv").read_bytes() == before
    assert "is there already" in check_message(command(own, own, f"apply={file}"))
    assert command(own, own, f"apply={file}", "overwrite=true").code == 0
    stale = command(own, own, f"apply={file}", "data.labels=labels_reviewed.csv")
    assert f"was {given} when it was reviewed, and is {1 - given} now" in check_message(stale)


def test_applying_needs_no_pytorch() -> None:
    program = (
        "import sys, retdm.commands.review, retdm.review.reviewed; "
        "assert not {'torch', 'sklearn', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True, timeout=120)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("nowhere.png,{label},0,1", "the data has no image 'nowhere.png'"),
        ("1.png,tiger,0,1", "the data has no label 'tiger'"),
        ("1.png,{label},0,maybe", "'maybe' is neither 0, 1 nor empty"),
        ("3.png,{second},1,0", "was 1 when it was reviewed, and is unknown now"),
    ],
)
def test_decisions_that_do_not_fit_the_labels_are_refused(own: Path, row: str, says: str) -> None:
    names = CsvLabels(str(own)).names
    file = decide(own, row.format(label=names[0], second=names[1]))
    assert says in check_message(command(own, own, f"apply={file}"))
    assert not (own / "labels_reviewed.csv").exists()


def test_decisions_that_change_nothing_write_nothing(own: Path) -> None:
    source = CsvLabels(str(own))
    done = command(own, own, f"apply={decide(own, f'1.png,{source.names[0]},{source.targets[1, 0]},')}")
    assert done.code == 0 and "0 decisions" in done.out and not (own / "labels_reviewed.csv").exists()


def test_a_coco_json_becomes_a_table(own: Path) -> None:
    source = CsvLabels(str(own))
    content = {
        "images": [{"id": i, "file_name": name} for i, name in enumerate(source.ids)],
        "categories": [{"id": j, "name": name} for j, name in enumerate(source.names)],
        "annotations": [{"image_id": i, "category_id": j} for i, j in np.argwhere(source.targets).tolist()],
    }
    (own / "labels.json").write_text(json.dumps(content))
    given = int(source.targets[1, 0])
    words = ["data=coco_json", f"data.root={own}", f"outputs={own}", *NET]
    done = in_process("review", *words, f"apply={decide(own, f'1.png,{source.names[0]},{given},{1 - given}')}")
    assert done.code == 0, done.err
    read = CsvLabels(str(own), "labels_reviewed.csv")
    assert np.argwhere(read.targets != source.targets).tolist() == [[1, 0]] and read.known.all()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["data=synthetic_bags"], "data=synthetic_bags gives bags of features"),
        (["method=bce"], "method=bce is not fitted to features of whole images"),
        (["ranking=entropy"], "ranking=entropy is not"),
        (["data=csv"], "data.root is not set"),
        (["data.observe=noise:.1"], "data.observe=noise:.1 changes the labels of the training split"),
        (["data.unlabelled=negative"], "data.unlabelled=negative changes the labels"),
        (["apply=nowhere.csv"], "there is no table of their labels"),
    ],
)
def test_what_cannot_be_reviewed_is_refused(words: list[str], says: str, tmp_path: Path) -> None:
    assert says in check_message(in_process("review", *words, f"outputs={tmp_path}"))
