import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from retdm.data.images import UnreadableImage
from retdm.data.sets.coco import Coco, CocoJson, Counts
from retdm.data.source import Source, state_of
from retdm.errors import UserError

NAMES = {7: "train", 1: "person", 90: "toothbrush"}  # neither in order nor without gaps, as COCO's are


def content(files: list[str], labels: list[list[int]], first: int = 0) -> dict[str, Any]:
    """A COCO json of images with these categories, one instance each, with what COCO writes beside."""
    images = [{"license": 4, "file_name": f, "height": 8, "width": 8, "id": first + 3 * i} for i, f in enumerate(files)]
    pairs = [(image["id"], label) for image, found in zip(images, labels, strict=True) for label in found]
    return {
        "info": {"year": 2014},
        "images": images,
        "annotations": [
            {"segmentation": [[1.5, 2.0, 3, 4]], "iscrowd": 0, "image_id": image, "category_id": label, "id": i}
            for i, (image, label) in enumerate(pairs)
        ],
        "categories": [{"supercategory": "thing", "id": i, "name": name} for i, name in NAMES.items()],
    }


def write(file: Path, what: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(what if isinstance(what, str) else json.dumps(what))


# ---- the published set


@pytest.fixture
def coco(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A root with three training and two val images of 2014, of widths 1 to 5."""
    parts = {
        "train": (["a.jpg", "b.jpg", "c.jpg"], [[90, 1, 1], [], [7]]),
        "val": (["d.jpg", "e.jpg"], [[1], [7, 90]]),
    }
    width = 0
    for part, (files, labels) in parts.items():
        write(tmp_path / f"coco/annotations/instances_{part}2014.json", content(files, labels, first=width * 10))
        (tmp_path / f"coco/{part}2014").mkdir()
        for file in files:
            width += 1
            Image.new("RGB", (width, 4)).save(tmp_path / f"coco/{part}2014" / file)
    counts = {"train2014": Counts(3, 4, 1, labels=3), "val2014": Counts(2, 3, 0, labels=3)}
    monkeypatch.setattr(Coco, "counts", counts)
    return tmp_path


def file_of(root: Path, part: str = "val", year: int = 2014) -> Path:
    return root / f"coco/annotations/instances_{part}{year}.json"


def test_both_files_open_as_a_source_with_val_for_testing(coco: Path) -> None:
    source = Coco(str(coco))
    assert isinstance(source, Source)
    assert source.names == ["person", "train", "toothbrush"], "in the order of their ids"
    assert source.ids == ["train2014/a.jpg", "train2014/b.jpg", "train2014/c.jpg", "val2014/d.jpg", "val2014/e.jpg"]
    assert source.targets.dtype == np.uint8
    assert source.targets.tolist() == [[1, 0, 1], [0, 0, 0], [0, 1, 0], [1, 0, 0], [0, 1, 1]]
    assert source.known.all() and source.known.shape == (5, 3)
    assert source.split is not None and source.split.tolist() == ["train"] * 3 + ["test"] * 2
    assert [source.read(i).size[0] for i in range(len(source))] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(("gone", "left"), [("train", 2), ("val", 3)])
def test_a_single_file_is_left_to_a_random_split(coco: Path, gone: str, left: int) -> None:
    file_of(coco, gone).unlink()
    source = Coco(str(coco))
    assert source.split is None and len(source) == len(source.targets) == left


def test_images_without_a_label_are_counted_in_the_log(coco: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "retdm"):
        Coco(str(coco))
    assert "instances_train2014.json: 3 images, 4 instances; 1 images have none and stay" in caplog.text


def test_the_published_counts_are_expected_by_default() -> None:
    assert {name: (c.images, c.instances, c.unlabelled, c.labels) for name, c in Coco.counts.items()} == {
        "train2014": (82_783, 604_907, 702, 80),
        "val2014": (40_504, 291_875, 367, 80),
        "train2017": (118_287, 860_001, 1_021, 80),
        "val2017": (5_000, 36_781, 48, 80),
    }
    for count in ("images", "instances", "unlabelled"):  # the two years cut the same images
        sums = {y: sum(getattr(Coco.counts[f"{p}{y}"], count) for p in ("train", "val")) for y in (2014, 2017)}
        assert sums[2014] == sums[2017]


@pytest.mark.parametrize(
    ("counts", "says"),
    [
        (Counts(3, 3, 0, 3), "has 2 images, expected 3"),
        (Counts(2, 4, 0, 3), "has 3 instances, expected 4"),
        (Counts(2, 3, 1, 3), "has 0 images without an instance, expected 1"),
        (Counts(2, 3, 0), "has 3 labels, expected 80"),
    ],
)
def test_a_file_that_is_not_what_was_published_is_refused(coco: Path, counts: Counts, says: str) -> None:
    Coco.counts = {"val2014": counts}
    with pytest.raises(UserError, match=r"instances_val2014\.json " + says):
        Coco(str(coco))


def test_another_year_opens_unchecked(coco: Path) -> None:
    file_of(coco).rename(file_of(coco, year=2031))
    source = Coco(str(coco), year=2031)
    assert source.ids == ["val2031/d.jpg", "val2031/e.jpg"] and source.split is None


def test_a_year_that_is_absent_names_file_address_and_the_years_there(coco: Path) -> None:
    with pytest.raises(UserError) as caught:
        Coco(str(coco), year=2017)
    for word in ("instances_train2017.json", str(coco / "coco"), "annotations_trainval2017.zip", "data.year=2014"):
        assert word in str(caught.value)


def test_other_categories_in_the_two_files_are_refused(coco: Path) -> None:
    changed = json.loads(file_of(coco).read_text())
    changed["categories"][0]["name"] = "boat"
    write(file_of(coco), changed)
    with pytest.raises(UserError, match=r"instances_val2014\.json has other categories than instances_train2014\.json"):
        Coco(str(coco))


@pytest.mark.parametrize("name", ["../d.jpg", "/d.jpg", "..", "x/d.jpg", "x\\d.jpg", ""])
def test_a_published_file_name_is_plain(coco: Path, name: str) -> None:
    write(file_of(coco), content([name, "e.jpg"], [[1], [7, 90]]))
    with pytest.raises(UserError, match=r"instances_val2014\.json: file_name .* is no plain file name"):
        Coco(str(coco))


def test_the_folder_of_a_part_may_be_a_link(coco: Path) -> None:
    (coco / "coco/val2014").rename(coco / "large")
    (coco / "coco/val2014").symlink_to(coco / "large")
    assert Coco(str(coco)).read(3).size == (4, 4)


def test_the_published_state_follows_labels_and_images(coco: Path, tmp_path: Path) -> None:
    before = str(state_of(Coco(str(coco))))
    file = coco / "coco/val2014/e.jpg"
    file.write_bytes(file.read_bytes() + b" ")
    longer = str(state_of(Coco(str(coco))))
    write(file_of(coco), content(["d.jpg", "e.jpg"], [[7], [7, 90]]))
    relabelled = str(state_of(Coco(str(coco))))
    assert len({before, longer, relabelled}) == 3
    (tmp_path / "elsewhere").mkdir()
    (coco / "coco").rename(tmp_path / "elsewhere/coco")
    assert str(state_of(Coco(str(tmp_path / "elsewhere")))) == relabelled


def test_a_missing_image_is_met_when_it_is_read(coco: Path) -> None:
    (coco / "coco/train2014/b.jpg").unlink()
    with pytest.raises(UnreadableImage) as caught:
        Coco(str(coco)).read(1)
    assert caught.value.kind == "missing"


# ---- a user's own json

Open = Callable[[Any], CocoJson]
OWN = content(["x.jpg", "sub/y.png"], [[90, 1], [1, 7]])


@pytest.fixture
def opened(tmp_path: Path) -> Open:
    """The source of a folder with x.jpg and sub/y.png, and this ``labels.json``."""
    (tmp_path / "mine/sub").mkdir(parents=True)
    Image.new("RGB", (5, 4)).save(tmp_path / "mine/x.jpg")
    Image.new("RGB", (6, 4)).save(tmp_path / "mine/sub/y.png")

    def with_json(what: Any) -> CocoJson:
        write(tmp_path / "mine/labels.json", what)
        return CocoJson(str(tmp_path / "mine"))

    return with_json


def test_an_own_json_opens_as_a_source(opened: Open) -> None:
    source = opened(OWN)
    assert isinstance(source, Source)
    assert source.names == ["person", "train", "toothbrush"] and source.ids == ["x.jpg", "sub/y.png"]
    assert source.targets.tolist() == [[1, 0, 1], [1, 1, 0]] and source.known.all() and source.split is None
    assert source.read(1).size == (6, 4)


def test_a_json_with_only_what_is_needed_opens(opened: Open) -> None:
    source = opened(
        {
            "images": [{"id": "one", "file_name": "x.jpg"}, {"id": "two", "file_name": "sub/y.png"}],
            "categories": [{"id": 0, "name": "cat"}],
            "annotations": [{"image_id": "two", "category_id": 0}],
        }
    )
    assert source.targets.tolist() == [[0], [1]]


def broken(*path: Any, to: Any = None) -> dict[str, Any]:
    """``OWN`` with the entry at ``path`` set to another value, or, without one, taken out."""
    changed = copy.deepcopy(OWN)
    node = changed
    for key in path[:-1]:
        node = node[key]
    if to is None:
        del node[path[-1]]
    else:
        node[path[-1]] = to
    return changed


@pytest.mark.parametrize(
    ("what", "says"),
    [
        (broken("images"), "has no images"),
        (broken("categories", to={}), "has no categories, or no list of them"),
        (broken("annotations", to=[]), "has no annotations, or no list of them, or an empty one"),
        (broken("images", 1, "file_name"), r"images\[1\] has no file_name"),
        (broken("images", 1, to=3), r"images\[1\] has no id"),
        (broken("categories", 2, "id", to="90"), r"categories\[2\] has id '90', expected a whole number"),
        (broken("images", 0, "file_name", to=7), r"images\[0\] has file_name 7, expected text"),
        (
            broken("annotations", 0, "image_id", to=[1]),
            r"annotations\[0\] has image_id \[1\], expected a number or text",
        ),
        (broken("annotations", 2, "category_id", to=True), r"annotations\[2\] has category_id True"),
        (
            broken("annotations", 3, "image_id", to=99),
            r"annotations\[3\] has image_id 99, which is not among the images",
        ),
        (broken("annotations", 3, "category_id", to=4), r"annotations\[3\] has category_id 4, .* among the categories"),
        (broken("images", 1, "id", to=0), "has the image id 0 twice"),
        (broken("images", 1, "file_name", to="x.jpg"), "has the file_name 'x.jpg' twice"),
        (broken("images", 1, "file_name", to="./x.jpg"), "has the file_name 'x.jpg' twice"),
        (broken("categories", 0, "id", to=90), "has the category id 90 twice"),
        (broken("categories", 0, "name", to="person"), "has the category name 'person' twice"),
        (broken("images", 1, "file_name", to="/x.jpg"), r"images\[1\]: '/x.jpg' leads out of"),
        (broken("images", 1, "file_name", to="sub/../../x.jpg"), r"images\[1\]: 'sub/../../x.jpg' leads out of"),
        (broken("images", 0, "file_name", to=""), r"images\[0\]: '' is no file name"),
        ([OWN], "is no COCO json: a list at its top"),
        ('{"images": [', "cannot be read as json"),
        ("[" * 100_000, "cannot be read as json"),
    ],
)
def test_a_json_that_cannot_be_is_refused_by_its_first_wrong_entry(opened: Open, what: Any, says: str) -> None:
    with pytest.raises(UserError, match=says) as caught:
        opened(what)
    assert "labels.json" in caught.value.message and caught.value.hint
    assert len(str(caught.value).splitlines()) == 2


@pytest.mark.parametrize("name", ["sub/Y.PNG", "sub/y", "sub%2Fy.png", "{folder}/sub/y.png", "sub\\\\y.png"])
def test_a_file_name_written_otherwise_is_the_file_that_is_there(opened: Open, tmp_path: Path, name: str) -> None:
    source = opened(broken("images", 1, "file_name", to=name.format(folder=tmp_path / "mine")))
    assert source.ids == ["x.jpg", "sub/y.png"] and source.read(1).size == (6, 4)


@pytest.mark.parametrize(
    ("what", "says"),
    [
        (
            broken("categories", 0, "name", to="Person"),
            r"labels 'Person' and 'person', which differ in next to nothing",
        ),
        (broken("categories", 0, "name", to="a\x1b[31m"), r"the name 'a\\x1b\[31m' holds control characters"),
        (broken("annotations", 0, "image_id", to="0"), r"image_id '0', .* among the images\nthere it is written 0"),
    ],
)
def test_near_names_control_characters_and_near_ids_are_told(opened: Open, what: Any, says: str) -> None:
    with pytest.raises(UserError, match=says):
        opened(what)


def test_the_categories_that_are_labels_are_printed(opened: Open, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "retdm"):
        assert opened(broken("categories", 0, "name", to="night  train")).names[1] == "night train"
    assert "labels.json: 2 images; labels (categories): person, night train, toothbrush" in caplog.text


def test_a_link_out_of_the_folder_is_refused_with_its_entry(opened: Open, tmp_path: Path) -> None:
    Image.new("RGB", (3, 3)).save(tmp_path / "secret.png")
    (tmp_path / "mine/away.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(UserError, match=r"images\[1\]: 'away.png' is a link that leads out of"):
        opened(broken("images", 1, "file_name", to="away.png"))


def test_no_root_and_no_json_are_errors_that_say_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="data.root is not set"):
        CocoJson()
    write(tmp_path / "result.json", OWN)
    with pytest.raises(UserError, match="there is no .*labels.json") as caught:
        CocoJson(str(tmp_path))
    assert "there is: result.json" in caught.value.hint


def test_what_may_be_a_mistake_is_logged(opened: Open, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Image.new("RGB", (3, 3)).save(tmp_path / "z.jpg")
    (tmp_path / "mine").mkdir(exist_ok=True)
    (tmp_path / "z.jpg").rename(tmp_path / "mine/z.jpg")
    with caplog.at_level("INFO", "retdm"):
        opened(content(["x.jpg", "sub/y.png"], [[1, 7], []]))
    assert "1 images have no annotation and stay" in caplog.text
    assert "no image carries: toothbrush (1 of 3 labels)" in caplog.text
    assert "does not name 1 images" in caplog.text and "the first: z.jpg" in caplog.text


def test_the_own_state_follows_labels_names_and_images_and_not_the_folder(opened: Open, tmp_path: Path) -> None:
    before = state_of(opened(OWN))
    assert state_of(opened(json.dumps(OWN, indent=2))) == before, "the same, written otherwise"
    changed = [opened(broken("annotations", 0)), opened(broken("categories", 0, "name", to="boat"))]
    image = tmp_path / "mine/x.jpg"
    image.write_bytes(image.read_bytes() + b" ")
    changed.append(opened(OWN))
    assert len({str(state) for state in (before, *map(state_of, changed))}) == 4
    (tmp_path / "mine").rename(tmp_path / "moved")
    assert state_of(CocoJson(str(tmp_path / "moved"))) == state_of(changed[-1])
