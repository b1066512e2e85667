"""Tables as other people write them: the right reading, or one line that says what to write."""

import logging
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from retdm.data.user import csv_table
from retdm.data.user.csv_labels import CsvLabels
from retdm.errors import UserError

Open = Callable[..., CsvLabels]
NFC, NFD = "café", unicodedata.normalize("NFD", "café")
FILES = ("1.jpg", "2.png", "3.jpg", "in/4.jpg", "my dog.jpg", f"{NFD}.jpg")


@pytest.fixture
def opened(tmp_path: Path) -> Open:
    """``opened("image,cat", "1.jpg,1")``: the source of ``FILES`` with a table of these lines."""
    (tmp_path / "photos" / "in").mkdir(parents=True)
    for name in FILES:
        Image.new("RGB", (8, 8)).save(tmp_path / "photos" / name)

    def with_table(*lines: str, **settings: Any) -> CsvLabels:
        (tmp_path / "photos" / "labels.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        return CsvLabels(str(tmp_path / "photos"), **settings)

    return with_table


def error_of(opened: Open, *lines: str, **settings: Any) -> str:
    """The error of a table, less the folder's name."""
    with pytest.raises(UserError) as caught:
        opened(*lines, **settings)
    assert len(str(caught.value).splitlines()) == 2 and "\x1b" not in str(caught.value)
    return str(caught.value).replace(caught.value.message.split("labels.csv")[0], "")


# ---- joined names


@pytest.mark.parametrize(
    ("sign", "setting"),
    [(",", "comma"), ("|", "pipe"), ("\n", "newline"), ("\t", "tab"), (" ", "space"), ("/", "/"), ("、", "、")],
)
def test_names_joined_by_another_sign_are_refused_or_split_where_asked(opened: Open, sign: str, setting: str) -> None:
    lines = ("image,labels", f'1.jpg,"sea{sign}trees"', "2.png,trees", f'3.jpg,"sea{sign}boat"', "in/4.jpg,sea")
    error = error_of(opened, *lines)
    assert "looks like several joined by" in error and ("'sea', 'trees'" in error or "'sea', 'boat'" in error)
    assert f"data.label_separator={setting} takes it apart" in error
    source = opened(*lines, label_separator=setting)
    assert source.names == ["boat", "sea", "trees"]
    assert source.targets.tolist() == [[0, 1, 1], [0, 0, 1], [1, 1, 0], [0, 1, 0]]
    kept = opened(*lines, label_separator="semicolon")
    assert len(kept.names) == 4


def test_names_of_several_words_are_names(opened: Open) -> None:
    source = opened("image,labels", "1.jpg,traffic light;stop sign", "2.png,teddy bear", "3.jpg,stop sign;red/green")
    assert source.names == ["red/green", "stop sign", "teddy bear", "traffic light"]


def test_combinations_that_share_words_are_several_names(opened: Open) -> None:
    lines = [
        "1.jpg,haze primary",
        "2.png,clear primary",
        "3.jpg,clear water primary",
        "in/4.jpg,haze water",
        "my dog.jpg,haze clear",
    ]
    assert "joined by 'space'" in error_of(opened, "image_name,tags", *lines)
    assert opened("image_name,tags", *lines, label_separator="space").names == ["clear", "haze", "primary", "water"]


@pytest.mark.parametrize("quote", ["'", '""', ""])
@pytest.mark.parametrize("brackets", ["[]", "{}"])
def test_lists_as_cells_are_lists(opened: Open, quote: str, brackets: str) -> None:
    a, b = brackets
    cells = [f'"{a}{quote}cat{quote}, {quote}red car{quote}{b}"', f'"{a}{quote}cat{quote}{b}"', f"{a}{b}", ""]
    names = (*FILES[:3], "in/4.jpg")
    source = opened("image,labels", *(f"{name},{cell}" for name, cell in zip(names, cells, strict=True)))
    assert source.names == ["cat", "red car"]
    assert source.targets.tolist() == [[1, 1], [1, 0], [0, 0], [0, 0]]
    assert source.known.all(1).tolist() == [True, True, True, False]
    lines = (f"{name},{cell}" for name, cell in zip(names, cells, strict=True))
    assert opened("image,labels", *lines, label_separator="comma").names == ["cat", "red car"]


def test_escapes_in_lists_are_the_letters_they_stand_for(opened: Open) -> None:
    python = r"['caf\xe9', 'it\'s']"
    source = opened("image,labels", r'1.jpg,"[""caf\u00e9"", ""\ud83d\ude00""]"', f'2.png,"{python}"')
    assert source.names == [NFC, "it's", "\U0001f600"]


@pytest.mark.parametrize("cell", ["['cat' 'dog']", "[cat", "[['cat']]", "[os.system('x')]", "['cat', ['dog']", "cat]"])
def test_what_is_nearly_a_list_is_refused(opened: Open, cell: str) -> None:
    assert "line 3, column 'labels'" in error_of(opened, "image,labels", "1.jpg,cat", f'2.png,"{cell}"')


def test_fastais_table_is_read_with_its_test_split(opened: Open, caplog: pytest.LogCaptureFixture) -> None:
    lines = ("fname,labels,is_valid", "1.jpg,horse person,True", "2.png,person,False", "3.jpg,horse,False")
    assert "data.label_separator=space" in error_of(opened, *lines)
    source = opened(*lines, label_separator="space")
    assert source.names == ["horse", "person"] and source.targets.tolist() == [[1, 1], [0, 1], [1, 0]]
    assert source.split is not None and source.split.tolist() == ["test", "train", "train"]
    assert "the 1 images of is_valid are for testing" in caplog.text
    assert "is no split\nwrite True or False" in error_of(
        opened, *lines, "in/4.jpg,horse,maybe", label_separator="space"
    )
    assert opened(*lines, label_separator="space", other_columns=["is_valid"]).split is None


def test_a_column_labels_of_zeros_and_ones_is_asked_about(opened: Open) -> None:
    lines = ("image,labels", "1.jpg,1", "2.png,0")
    assert "data.label_columns=[labels] takes it as is" in error_of(opened, *lines)
    assert opened(*lines, label_columns=["labels"]).targets.tolist() == [[1], [0]]


def test_one_line_an_image_and_label(opened: Open) -> None:
    source = opened("image,split,label", "2.png,test,dog", "1.jpg,train,cat", "2.png,test,cat", "3.jpg,train,")
    assert source.ids == ["2.png", "1.jpg", "3.jpg"] and source.names == ["cat", "dog"]
    assert source.targets.tolist() == [[1, 1], [1, 0], [0, 0]]
    assert source.known.all(1).tolist() == [True, True, False]
    assert source.split is not None and source.split.tolist() == ["test", "train", "train"]


@pytest.mark.parametrize("second", ["1.jpg,dog;cow", "1.jpg,-", "1.jpg,"])
def test_a_second_line_that_does_not_add_one_name_is_refused(opened: Open, second: str) -> None:
    assert "names 1.jpg in lines 2 and 3" in error_of(opened, "image,label", "1.jpg,cat", second, "2.png,dog")


def test_an_image_in_two_splits_is_refused(opened: Open) -> None:
    error = error_of(opened, "image,split,label", "1.jpg,train,cat", "2.png,test,cat", "1.jpg,test,dog")
    assert "1.jpg is in train and test (lines 2 and 4)" in error


# ---- columns


@pytest.mark.parametrize(
    ("name", "cells", "why"),
    [
        ("author", ("me", "you"), "'author' ('me')"),
        ("width", ("640", ""), "'width' ('640')"),
        ("todo", ("", ""), "'todo' (without a known cell)"),
        ("checked", ("1", "0"), "'checked' (a column of this name is seldom a label)"),
        ("Unnamed: 0", ("0", "1"), "'Unnamed: 0' (a column of this name is seldom a label)"),
    ],
)
def test_a_column_that_looks_like_no_label_is_refused_unless_named(
    opened: Open, name: str, cells: tuple[str, str], why: str, caplog: pytest.LogCaptureFixture
) -> None:
    lines = (f"image,cat,{name}", f"1.jpg,1,{cells[0]}", f"2.png,0,{cells[1]}")
    error = error_of(opened, *lines)
    assert f"do not look like labels: {why}" in error
    assert "data.other_columns=[" in error and name in error.splitlines()[1]
    with caplog.at_level(logging.INFO, "retdm"):
        assert opened(*lines, other_columns=[name]).names == ["cat"]
        assert opened(*lines, label_columns=["cat"]).names == ["cat"]
    assert caplog.text.count("labels.csv: 2 images; labels (columns): cat\n") == 2
    if name in ("checked", "Unnamed: 0"):
        assert opened(*lines, other_columns=[]).names == ["cat", name]
        assert opened(*lines, label_columns=[name]).names == [name]


def test_label_columns_come_in_the_order_asked_for_and_a_near_name_is_suggested(opened: Open) -> None:
    lines = ("image,cat,dog,Red Car", "1.jpg,1,0,1", "2.png,0,1,0")
    assert opened(*lines, label_columns=["dog", "cat"]).targets.tolist() == [[0, 1], [1, 0]]
    assert opened(*lines, label_columns="dog").names == ["dog"]
    assert "no column 'red car'" in (error := error_of(opened, *lines, label_columns=["red car"]))
    assert error.endswith("there is 'Red Car'")


def test_a_column_of_names_by_any_name(opened: Open) -> None:
    lines = ("image,Finding", "1.jpg,a|b", "2.png,b")
    assert "do not look like labels: 'Finding' ('a|b')" in error_of(opened, *lines)
    assert opened(*lines, label_columns=["Finding"], label_separator="pipe").names == ["a", "b"]
    assert "no column of joined names" in error_of(opened, *lines, label_separator="pipe")


def test_a_column_of_splits_by_another_name_is_pointed_out(opened: Open) -> None:
    error = error_of(opened, "image,subset,cat", "1.jpg,train,1", "2.png,test,0")
    assert "call the column 'subset' 'split'" in error


def test_silent_columns_without_a_name_are_left_out(opened: Open) -> None:
    assert opened(",image,cat,", "0,1.jpg,1,", "1,2.png,0,").names == ["cat"]


@pytest.mark.parametrize(
    ("header", "says"), [("Foto,cat", "data.image_column=Foto"), ("9.jpg,0", "first line must name the columns")]
)
def test_in_a_table_without_an_image_column_the_likely_one_is_suggested(opened: Open, header: str, says: str) -> None:
    assert says in error_of(opened, header, "1.jpg,1", "2.png,0")


# ---- cells


@pytest.mark.parametrize(
    ("one", "zero", "unknown"),
    [("TRUE", "FALSE", ""), ("True", "False", "nan"), ("yes", "no", "?"), ("1.0", "0.0", "NA"), ('"1,0"', "0", " ")],
)
def test_other_words_for_one_zero_and_unknown(opened: Open, one: str, zero: str, unknown: str) -> None:
    source = opened("image,cat", f"1.jpg,{one}", f"2.png,{zero}", f"3.jpg,{unknown}")
    assert source.targets.tolist() == [[1], [0], [0]] and source.known.tolist() == [[True], [True], [False]]


@pytest.mark.parametrize(("said", "target", "known"), [("unknown", 0, False), (0, 0, True), (1, 1, True)])
def test_minus_one_is_what_the_setting_says(opened: Open, said: Any, target: int, known: bool) -> None:
    lines = ("image,cat", "1.jpg,1", "2.png,-1.0", "3.jpg,0")
    error = error_of(opened, *lines)
    assert "line 3, column 'cat': -1 may mean absent or unknown\ndata.minus_one=0" in error
    source = opened(*lines, minus_one=said)
    assert (source.targets[1, 0], source.known[1, 0]) == (target, known)


def test_an_empty_cell_is_what_the_setting_says(opened: Open) -> None:
    source = opened("image,cat,dog", "1.jpg,1,", "2.png,,1", empty=0)
    assert source.known.all() and source.targets.tolist() == [[1, 0], [0, 1]]
    assert opened("image,labels", "1.jpg,cat", "2.png,", empty=0).known.all()


# ---- names


@pytest.mark.parametrize("other", ["sea", "SEA", "sea\u200d"])
def test_labels_that_differ_in_next_to_nothing_are_refused(opened: Open, other: str) -> None:
    for lines in ((f"image,Sea,{other}", "1.jpg,1,0", "2.png,0,1"), ("image,labels", "1.jpg,Sea", f"2.png,{other}")):
        assert "differ in next to nothing" in error_of(opened, *lines)


def test_white_space_and_unicode_forms_do_not_make_labels(opened: Open) -> None:
    source = opened("image,labels", f"1.jpg,red  car;{NFC}", f"2.png,red car\ufeff;{NFD}", "3.jpg,red\u00a0car")
    assert source.names == [NFC, "red car"] and source.targets.tolist() == [[1, 1], [1, 1], [0, 1]]
    assert opened(f"image,red  car,{NFD}", "1.jpg,1,0", "2.png,0,1").names == ["red car", NFC]


@pytest.mark.parametrize("name", ["a\x1b[31mred", "a\x07", "a\u202eb", "a\x9b1mb"])
def test_control_characters_in_names_are_refused(opened: Open, name: str) -> None:
    for lines in ((f"image,{name},b", "1.jpg,1,0"), ("image,labels", f"1.jpg,{name}"), (f"foto,{name}", "1.jpg,1")):
        assert "holds control characters" in error_of(opened, *lines)


def test_writing_that_joins_signs_is_a_name(opened: Open) -> None:
    name = "\U0001f468\u200d\U0001f33e"  # a farmer, of two signs and a joiner
    assert opened(f"image,{name}", "1.jpg,1", "2.png,0").names == [name]


# ---- the table


@pytest.mark.parametrize("first", ["sep=;", "SEP=;", '"sep=;"'])
def test_the_first_line_of_excel_names_the_separator(opened: Open, first: str) -> None:
    assert opened(first, "image;a,b", "1.jpg;1", "2.png;0").names == ["a,b"]
    assert "line 4, column 'cat'" in error_of(opened, first, "image;cat", "1.jpg;1", "2.png;7")
    assert "line 6, column 'cat'" in error_of(opened, "", first, "", "image;cat", "1.jpg;1", "2.png;7")


def test_a_large_table_is_read_without_a_word_for_every_cell(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_table.Table, "where", lambda *_: pytest.fail("a place is named that nobody asked for"))
    names = [f"label {i}" for i in range(500)]
    lines = [f"{name},{','.join(str((i + j) % 2) for j in range(500))}" for i, name in enumerate(FILES)]
    source = opened(",".join(["image", *names]), *lines)
    assert np.array_equal(source.targets, np.add.outer(np.arange(6), np.arange(500)) % 2)
