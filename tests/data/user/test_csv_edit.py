"""Single labels changed in tables of every form: what is read again says what was changed, and nothing else."""

from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from retdm.data.user.csv_edit import edited
from retdm.data.user.csv_labels import CsvLabels
from retdm.errors import UserError

# Form: settings, the table, and what it must be when cat is added to b, and dog taken from a.
FORMS: dict[str, tuple[dict[str, Any], str, str]] = {
    "columns": (
        {},
        "image,cat,dog\na.png,0,1\nb.png,0,1\nc.png,1,0\n",
        "image,cat,dog\na.png,0,0\nb.png,1,1\nc.png,1,0\n",
    ),
    "words, other columns, semicolons, line ends of Windows": (
        {"label_columns": ["cat", "dog"]},
        '"who";image;cat;dog\r\n"x;y";a.png;no;yes\r\nz;b.png;no;yes\r\n\r\nz;c.png;yes;no',
        '"who";image;cat;dog\r\nx;y;a.png;no;no\r\nz;b.png;yes;yes\r\n\r\nz;c.png;yes;no'.replace("x;y;", '"x;y";'),
    ),
    "groups": (
        {"group": "site"},
        "image,site,cat,dog\na.png,x,0,1\nb.png,y,0,1\nc.png,y,1,0\n",
        "image,site,cat,dog\na.png,x,0,0\nb.png,y,1,1\nc.png,y,1,0\n",
    ),
    "ones alone": (
        {"empty": 0},
        "image,cat,dog\na.png,,1.0\nb.png,,1.0\nc.png,1.0,\n",
        "image,cat,dog\na.png,,\nb.png,1.0,1.0\nc.png,1.0,\n",
    ),
    "minus one": (
        {"minus_one": 0},
        "sep=;\nimage;cat;dog\na.png;-1;1\nb.png;-1;1\nc.png;1;-1\n",
        "sep=;\nimage;cat;dog\na.png;-1;-1\nb.png;1;1\nc.png;1;-1\n",
    ),
    "names": (
        {},
        "image,labels\na.png,dog\nb.png,dog\nc.png,cat; bird\n",
        "image,labels\na.png,-\nb.png,dog;cat\nc.png,cat; bird\n",
    ),
    "names with commas": (
        {"label_separator": "comma"},
        'image,labels\na.png,"dog, bird"\nb.png,"dog, bird"\nc.png,cat\n',
        'image,labels\na.png,bird\nb.png,"dog, bird, cat"\nc.png,cat\n',
    ),
    "lists": (
        {},
        "image,labels\na.png,\"['dog', 'bird']\"\nb.png,\"['dog']\"\nc.png,\"['cat']\"\n",
        "image,labels\na.png,['bird']\nb.png,\"['dog', 'cat']\"\nc.png,\"['cat']\"\n",
    ),
    "a line an image and label": (
        {},
        "image,label,note\na.png,dog,1\nb.png,dog,2\nb.png,bird,3\nc.png,cat,4\n",
        "image,label,note\na.png,-,1\nb.png,dog,2\nb.png,bird,3\nb.png,cat,3\nc.png,cat,4\n",
    ),
}  # fmt: skip


@pytest.fixture
def images(tmp_path: Path) -> Path:
    for name in "abc":
        Image.new("RGB", (8, 8)).save(tmp_path / f"{name}.png")
    return tmp_path


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "with a byte order mark"])
def test_a_table_keeps_its_form_and_says_what_was_changed(images: Path, form: str, mark: bytes) -> None:
    settings, before, after = FORMS[form]
    (images / "labels.csv").write_bytes(mark + before.encode())
    source = CsvLabels(str(images), **settings)
    row, column = source.ids.index, source.names.index
    changes = {(row("b.png"), column("cat")): 1, (row("a.png"), column("dog")): 0}
    assert edited(source, changes).decode() == (mark.decode() + after)
    (images / "new.csv").write_bytes(edited(source, changes))
    read = CsvLabels(str(images), "new.csv", **settings)
    expected, known = source.targets.copy(), source.known.copy()
    for cell, value in changes.items():
        expected[cell], known[cell] = value, True
    assert read.names == source.names and read.ids == source.ids
    np.testing.assert_array_equal(read.targets, expected)
    np.testing.assert_array_equal(read.known, known)
    assert source.settings.keys() == set(signature(CsvLabels).parameters) - {"root", "labels"}
    assert {key: source.settings[key] for key in settings} == settings


def test_a_line_is_taken_away_where_another_one_of_the_image_stays(images: Path) -> None:
    (images / "labels.csv").write_text("image,label\na.png,dog\na.png,cat\nb.png,-\nc.png,cat\n")
    source = CsvLabels(str(images))
    found = edited(source, {(0, source.names.index("dog")): 0, (1, source.names.index("cat")): 1}).decode()
    assert found == "image,label\na.png,cat\nb.png,cat\nc.png,cat\n"


def test_an_unknown_cell_becomes_known_and_one_of_joined_names_cannot(images: Path) -> None:
    (images / "labels.csv").write_text("image,cat,dog\na.png,,1\nb.png,0,\nc.png,1,0\n")
    source = CsvLabels(str(images))
    assert edited(source, {(0, 0): 1, (1, 1): 0}).decode() == "image,cat,dog\na.png,1,1\nb.png,0,0\nc.png,1,0\n"
    (images / "labels.csv").write_text("image,labels\na.png,\nb.png,cat\nc.png,dog\n")
    source = CsvLabels(str(images))
    assert source.unknown_by_row
    with pytest.raises(UserError, match="all labels of a.png are unknown"):
        edited(source, {(0, 0): 1})
