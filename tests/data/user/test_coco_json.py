"""The user's images with labels in COCO's json."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from coco_files import coco_content, write_json
from PIL import Image

from retdm.data.source import Source, state_of
from retdm.data.user.coco_json import CocoJson
from retdm.errors import UserError

Open = Callable[[Any], CocoJson]
CONTENT = coco_content(["x.jpg", "sub/y.png"], [[90, 1], [1, 7]])


@pytest.fixture
def opened(tmp_path: Path) -> Open:
    """The source of a folder with x.jpg and sub/y.png, and this ``labels.json``."""
    (tmp_path / "mine/sub").mkdir(parents=True)
    Image.new("RGB", (5, 4)).save(tmp_path / "mine/x.jpg")
    Image.new("RGB", (6, 4)).save(tmp_path / "mine/sub/y.png")

    def with_json(what: Any) -> CocoJson:
        write_json(tmp_path / "mine/labels.json", what)
        return CocoJson(str(tmp_path / "mine"))

    return with_json


def test_a_json_opens_as_a_source(opened: Open) -> None:
    source = opened(CONTENT)
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
    """``CONTENT`` with the entry at ``path`` set to another value, or, without one, taken out."""
    changed = copy.deepcopy(CONTENT)
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
        ([CONTENT], "is no COCO json: a list at its top"),
        ('{"images": [', "cannot be read as json"),
        ("[" * 100_000, "cannot be read as json"),
    ],
)
def test_a_json_that_cannot_be_is_refused_by_its_first_wrong_entry(opened: Open, what: Any, says: str) -> None:
    with pytest.raises(UserError, match=says) as caught:
        opened(what)
    assert "labels.json" in caught.value.message and caught.value.hint
    assert len(str(caught.value).splitlines()) == 2


def test_a_file_name_written_otherwise_is_the_file_that_is_there(opened: Open) -> None:
    source = opened(broken("images", 1, "file_name", to="sub/Y.PNG"))
    assert source.ids == ["x.jpg", "sub/y.png"] and source.read(1).size == (6, 4)


def test_names_that_differ_in_next_to_nothing_and_ids_of_another_type_are_named(opened: Open) -> None:
    with pytest.raises(UserError, match="labels 'Person' and 'person', which differ in next to nothing"):
        opened(broken("categories", 0, "name", to="Person"))
    with pytest.raises(UserError, match=r"image_id '0', .* among the images\nthere it is written 0"):
        opened(broken("annotations", 0, "image_id", to="0"))


def test_the_categories_that_are_labels_are_printed(opened: Open, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "retdm"):
        assert opened(broken("categories", 0, "name", to="night  train")).names[1] == "night train"
    assert "labels.json: 2 images; labels (categories): person, night train, toothbrush" in caplog.text


def test_what_may_be_a_mistake_is_logged(opened: Open, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Image.new("RGB", (3, 3)).save(tmp_path / "mine/z.jpg")
    with caplog.at_level("INFO", "retdm"):
        opened(coco_content(["x.jpg", "sub/y.png"], [[1, 7], []]))
    assert "1 images have no annotation and stay" in caplog.text
    assert "no image has: toothbrush (of 3 labels)" in caplog.text
    assert "does not name 1 images" in caplog.text and "the first: z.jpg" in caplog.text


def test_the_state_follows_labels_names_and_images_and_not_the_folder(opened: Open, tmp_path: Path) -> None:
    before = state_of(opened(CONTENT))
    assert state_of(opened(json.dumps(CONTENT, indent=2))) == before, "the same, written otherwise"
    changed = [opened(broken("annotations", 0)), opened(broken("categories", 0, "name", to="boat"))]
    image = tmp_path / "mine/x.jpg"
    image.write_bytes(image.read_bytes() + b" ")
    changed.append(opened(CONTENT))
    assert len({str(state) for state in (before, *map(state_of, changed))}) == 4
    (tmp_path / "mine").rename(tmp_path / "moved")
    assert state_of(CocoJson(str(tmp_path / "moved"))) == state_of(changed[-1])
