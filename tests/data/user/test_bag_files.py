"""The user's bags: npz, MATLAB, csv and arff."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io

from retdm.data.source import BagSource
from retdm.data.user.bag_files import BagFiles
from retdm.errors import UserError

INSTANCES = np.array([[1, 10], [2, 20], [3, 30], [4, 40.5]])  # two, then one, then one
TARGETS = np.array([[1, 0, 0], [0, 1, 1], [1, 1, 0]])
NAMES = ["cat", "dog", "garden"]


def same(source: BagFiles, ids: list[str], names: list[str] = NAMES) -> bool:
    """True for a source of the three bags above under these names."""
    assert isinstance(source, BagSource)
    assert source.names == names and source.ids == ids
    assert source.instances.tolist() == INSTANCES.tolist() and source.offsets.tolist() == [0, 2, 3, 4]
    assert source.targets.tolist() == TARGETS.tolist() and source.known.all()
    return True


def test_a_file_must_be_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data\.file is not set"):
        BagFiles()
    with pytest.raises(UserError, match=r"ends in '\.xlsx'\n.*\.npz, \.mat, \.csv, \.arff"):
        BagFiles(str(tmp_path / "a.xlsx"))


@pytest.mark.parametrize("ending", ["npz", "mat", "csv", "arff"])
def test_an_absent_or_broken_file_is_named(tmp_path: Path, ending: str) -> None:
    file = tmp_path / f"mine.{ending}"
    with pytest.raises(UserError, match=rf"mine\.{ending} cannot be read: FileNotFoundError"):
        BagFiles(str(file), ["cat"])
    file.write_bytes(b"\xff\x00 nothing of the kind \xfe")
    with pytest.raises(UserError, match=rf"mine\.{ending}"):
        BagFiles(str(file), ["cat"])


def test_the_fingerprint_follows_the_contents_and_not_the_place(tmp_path: Path) -> None:
    first = BagFiles(npz(tmp_path / "a.npz"))
    (tmp_path / "b").mkdir()
    assert BagFiles(npz(tmp_path / "b" / "c.npz")).fingerprint == first.fingerprint
    assert BagFiles(npz(tmp_path / "a.npz", instances=INSTANCES + 1)).fingerprint != first.fingerprint


# ---- npz


def npz(file: Path, **changed: Any) -> str:
    arrays = {"instances": INSTANCES, "offsets": [0, 2, 3, 4], "targets": TARGETS, "names": NAMES} | changed
    np.savez(file, **{key: array for key, array in arrays.items() if array is not None})
    return str(file)


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"offsets": None, "bag": [0, 2, 0, 1], "instances": INSTANCES[[0, 3, 1, 2]]},
        {"targets": 2 * TARGETS - 1, "names": np.array(NAMES, "S")},
    ],
    ids=["offsets", "the bag of each instance", "signs and byte names"],
)
def test_npz_in_each_of_its_forms(tmp_path: Path, changed: dict[str, Any]) -> None:
    assert same(BagFiles(npz(tmp_path / "a.npz", **changed)), ["0", "1", "2"])


def test_npz_with_nan_for_unknown(tmp_path: Path) -> None:
    targets = TARGETS.astype(float)
    targets[0, 1] = np.nan
    assert np.argwhere(~BagFiles(npz(tmp_path / "a.npz", targets=targets)).known).tolist() == [[0, 1]]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"targets": None}, r"holds instances, offsets, names; expected instances, targets"),
        ({"offsets": None}, r"either offsets or bag"),
        ({"bag": [0, 0, 1, 2]}, r"either offsets or bag"),
        ({"offsets": None, "bag": [0, 0, 1, 3]}, r"bag\[3\] is 3, expected 0 to 2"),
        ({"offsets": None, "bag": [0, -1, 1, 2]}, r"bag\[1\] is -1, expected 0 to 2"),
        ({"offsets": None, "bag": [0, 0, 1]}, r"bag is \(3,\) of int64, expected 4 integers"),
        ({"offsets": None, "bag": [0, 0, 2, 2]}, r"bag 1 is empty"),
        ({"names": np.array(NAMES, object)}, r"cannot be read: ValueError: Object arrays .*allow_pickle=False"),
    ],
)
def test_npz_that_does_not_fit_says_what_does_not(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=r"a\.npz.*" + message):
        BagFiles(npz(tmp_path / "a.npz", **changed))


# ---- mat


def mat(file: Path, **changed: Any) -> str:
    bags = np.empty((3, 1), object)
    bags[:, 0] = np.split(INSTANCES, [2, 3])
    names = np.empty((3, 1), object)
    names[:, 0] = NAMES
    content = {"bags": bags, "targets": (2 * TARGETS - 1).T.astype(np.int16), "class_name": names} | changed
    scipy.io.savemat(file, {key: value for key, value in content.items() if value is not None})
    return str(file)


def test_mat_in_the_layout_of_miml_data(tmp_path: Path) -> None:
    assert same(BagFiles(mat(tmp_path / "a.mat")), ["1", "2", "3"])


def test_mat_of_zeros_and_ones_without_names(tmp_path: Path) -> None:
    file = mat(tmp_path / "a.mat", targets=None, target=TARGETS.T.astype(np.uint8), class_name=None)
    assert same(BagFiles(file), ["1", "2", "3"], ["label 1", "label 2", "label 3"])


def bags_with(second: np.ndarray) -> np.ndarray:
    bags = np.empty((1, 3), object)
    bags[0] = [INSTANCES[:2], second, INSTANCES[3:]]
    return bags


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"bags": None, "X": np.zeros(2)}, r"holds targets, class_name, X; expected a cell array bags"),
        ({"bags": INSTANCES}, r"holds bags, targets, class_name; expected a cell array bags"),
        ({"targets": None}, r"and targets"),
        ({"targets": np.eye(2, 5)}, r"targets are \(2, 5\), expected \(labels, 3\)"),
        ({"bags": bags_with(np.zeros((0, 0)))}, r"bag 2 is empty"),
        ({"bags": bags_with(np.zeros((1, 3)))}, r"bag 2 is 1 x 3 of float64, expected instances x 2"),
    ],
)
def test_mat_that_does_not_fit_says_what_does_not(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=r"a\.mat.*(" + message + ")"):
        BagFiles(mat(tmp_path / "a.mat", **changed))


# ---- csv

CSV = """\
bag,cat,width,height,dog,garden
one,1,1,10,0,0
two,0,3,30,1,1
one,1,2,20,0,0

3,1,4,40.5,1,0
"""


def csv(file: Path, text: str = CSV) -> str:
    file.write_text(text, encoding="utf-8-sig")
    return str(file)


def test_csv_with_the_lines_of_a_bag_apart(tmp_path: Path) -> None:
    assert same(BagFiles(csv(tmp_path / "a.csv"), NAMES), ["one", "two", "3"])


def test_csv_labels_come_in_the_order_asked_for_and_other_columns_are_features(tmp_path: Path) -> None:
    source = BagFiles(csv(tmp_path / "a.csv"), ["garden", "cat"])
    assert source.names == ["garden", "cat"] and source.targets.tolist() == TARGETS[:, [2, 0]].tolist()
    assert source.instances[0].tolist() == [1, 10, 0]


def test_csv_with_an_empty_label_is_unknown(tmp_path: Path) -> None:
    source = BagFiles(csv(tmp_path / "a.csv", CSV.replace(",0,0\n", ",,0\n")), NAMES)
    assert np.argwhere(~source.known).tolist() == [[0, 1]] and source.targets.tolist() == TARGETS.tolist()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("one,1,2,20,0,0", "one,1,2,20,1,0", r"a\.csv:4: bag one has other labels"),
        ("two,0,3,30,1,1", "two,0,3,30,1", r"a\.csv:3: 5 cells, expected 6"),
        ("3,1,4,40.5,1,0", "3,1,4,tall,1,0", r"a\.csv:6: could not convert .*'tall'"),
        ("3,1,4,40.5,1,0", "3,1,4,,1,0", r"bag 3, column height holds nan"),
        ("bag,", "image,", r"no column bag\nit has image, cat"),
        ("width", "height", r"two columns are called 'height'"),
        ("garden", "yard", r"no label 'garden'\nit has cat, width, height, dog, yard"),
        (CSV[CSV.index("\n") :], "\n", r"no line below"),
    ],
)
def test_csv_that_does_not_fit_names_line_bag_or_column(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        BagFiles(csv(tmp_path / "a.csv", CSV.replace(old, new)), NAMES)


def test_csv_without_label_columns_asks_for_them(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data\.label_columns is not set\n.*bag, cat, width"):
        BagFiles(csv(tmp_path / "a.csv"))


@pytest.mark.parametrize(
    "old_new", [(",", ";"), (",", "\t"), ("bag,", "Bag,"), ("two,0", "two,FALSE"), ("bag", "sep=,\nbag")]
)
def test_csv_as_others_write_it(tmp_path: Path, old_new: tuple[str, str]) -> None:
    assert same(BagFiles(csv(tmp_path / "a.csv", CSV.replace(*old_new)), NAMES), ["one", "two", "3"])
    with pytest.raises(UserError, match=rf"a\.csv:{7 if 'sep' in old_new[1] else 6}: could not convert"):
        BagFiles(csv(tmp_path / "a.csv", CSV.replace(*old_new).replace("40.5", "tall")), NAMES)


def test_csv_with_one_label_by_its_name_and_a_hint_at_a_near_one(tmp_path: Path) -> None:
    file = csv(tmp_path / "a.csv", CSV.replace("garden", "My  garden"))
    assert BagFiles(file, "My  garden").names == ["My garden"]
    with pytest.raises(UserError, match=r"no label 'my garden'\nthere is 'My garden'"):
        BagFiles(file, ["my garden"])


@pytest.mark.parametrize(
    ("name", "message"),
    [("Cat", "labels 'Cat' and 'cat', which differ in next to nothing"), ("d\x1b[1m", "control char")],
)
def test_label_names_are_distinct_and_plain_in_arrays_and_in_text(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        BagFiles(npz(tmp_path / "a.npz", names=["cat", name, "garden"]))
    with pytest.raises(UserError, match=message):
        BagFiles(arff(tmp_path / "a.arff", ARFF.replace("dog", name)))


# ---- arff

ARFF = r"""% three bags
@relation 'my bags'
@attribute id {one, 'number two', 3}
@ATTRIBUTE bag relational
   @attribute width numeric
   @attribute 'the height' real
@end bag
@attribute cat {0,1}
@attribute "dog"{0, 1}
@attribute garden {0,1}

@data
one, "1, 10\n2,2E1" ,1,0,0
'number two','3,30',0,1,1
3,"4,40.5\n", 1, 1, 0
"""
XML = '<?xml version="1.0"?><labels xmlns="http://mulan.sourceforge.net/labels">{}</labels>'


def arff(file: Path, text: str = ARFF) -> str:
    file.write_text(text)
    return str(file)


def test_arff_alone_takes_what_follows_the_bag_as_labels(tmp_path: Path) -> None:
    assert same(BagFiles(arff(tmp_path / "a.arff")), ["one", "number two", "3"])


def test_arff_takes_the_labels_of_the_xml_beside_it(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text(XML.format('<label name="garden"/>\n<label name="cat"></label>'))
    source = BagFiles(arff(tmp_path / "a.arff"))
    assert source.names == ["cat", "garden"] and source.targets.tolist() == TARGETS[:, [0, 2]].tolist()
    assert BagFiles(str(tmp_path / "a.arff"), ["dog"]).names == ["dog"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (XML.format('<label name="bird"/>'), r"a\.arff has no label 'bird'\nit has id, bag, cat, dog, garden"),
        (XML.format("<label/>"), r"a\.xml cannot be read"),
    ],
)
def test_an_xml_that_does_not_fit_is_named(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "a.xml").write_text(content)
    with pytest.raises(UserError, match=message):
        BagFiles(arff(tmp_path / "a.arff"))


def test_arff_without_names_of_bags_counts_them_and_a_question_mark_is_unknown(tmp_path: Path) -> None:
    text = ARFF.replace("@attribute id {one, 'number two', 3}\n", "")
    text = text.replace("one, ", "").replace("'number two',", "").replace('3,"', '"')
    assert same(BagFiles(arff(tmp_path / "a.arff", text)), ["0", "1", "2"])
    unknown = BagFiles(arff(tmp_path / "a.arff", ARFF.replace(",1,0,0", ",1,?,0"))).known
    assert np.argwhere(~unknown).tolist() == [[0, 1]]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("'3,30',0,1,1", "'3,30',0,1", r"a\.arff:14: 4 values, expected 5"),
        ("'3,30'", "3,30", r"a\.arff:14: 6 values, expected 5, the bag's own in quotes"),
        ("2,2E1", "2", r"a\.arff:13: an instance has 1 values, expected 2"),
        ("2,2E1", "2,high", r"a\.arff:13: could not convert .*'high'"),
        ("2,2E1", "2,?", r"bag one, column the height holds nan"),
        ("1, 1, 0\n", "1, 1, perhaps\n", r"a\.arff:15: could not convert .*'perhaps'"),
        ("@end bag\n", "", r"the relational attribute is not ended by @end"),
        ("bag relational", "bag numeric", r"the relational attribute is missing"),
        ("cat {0,1}", "cat relational", r"a\.arff:8: .* is not understood\none relational"),
        ("@data\n", "", r"a\.arff:12: .* is not understood\nexpected @attribute"),
        (ARFF[ARFF.index('one, "') :], "", r"has no bags"),
    ],
)
def test_arff_that_does_not_fit_names_line_bag_or_column(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        BagFiles(arff(tmp_path / "a.arff", ARFF.replace(old, new)))
