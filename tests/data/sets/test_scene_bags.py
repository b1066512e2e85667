"""The bags of Scene, in both orders."""

from pathlib import Path

import numpy as np
import pytest
import scipy.io
from makers import SCENE_NAMES

from retdm.data.sets import scene_bags
from retdm.data.sets.scene import Scene
from retdm.data.sets.scene_bags import SceneBags, bag_of_image
from retdm.data.source import BagSource, Counts
from retdm.errors import UserError

N = 12
AS_TEXT = [1, 10, 11, 12, 2, 3, 4, 5, 6, 7, 8, 9]  # the images whose bags stand at places 1 to 12 of the file
FILE = "scene/processed/miml data.mat"


def patches(image: float) -> np.ndarray:
    return np.arange(9 * 15).reshape(9, 15) + 1000.0 * image


def write(file: Path, bags: list[np.ndarray]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    cells, names = np.empty((len(bags), 1), object), np.empty((5, 1), object)
    cells[:, 0], names[:, 0] = bags, SCENE_NAMES
    signs = -np.ones((5, N), np.int16)
    signs[np.arange(N) % 5, np.arange(N)] = 1
    scipy.io.savemat(file, {"bags": cells, "targets": signs, "class_name": names})


@pytest.fixture
def drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A root with twelve bags in the published order, whose numbers tell the image they are of; no images."""
    counts = Counts(N, dict(zip(SCENE_NAMES, (3, 3, 2, 2, 2), strict=True)), 5)
    monkeypatch.setattr(SceneBags, "counts", counts)
    write(tmp_path / FILE, [patches(image) for image in AS_TEXT])
    return tmp_path


def images_of(source: SceneBags) -> list[int]:
    return [int(source.instances[start, 0]) // 1000 for start in source.offsets[:-1]]


def test_the_set_opens_without_its_images(drawn: Path) -> None:
    source = SceneBags(str(drawn))
    assert isinstance(source, BagSource) and len(source) == N
    assert source.names == list(SCENE_NAMES) and source.known.all() and source.split is None
    assert source.instances.shape == (9 * N, 15) and np.diff(source.offsets).tolist() == [9] * N
    assert (source.instances[9:18] == patches(10)).all()  # as it stands, row by row


def test_labels_and_ids_go_by_the_number_of_the_image_in_either_order(drawn: Path) -> None:
    for order in ("published", "mended"):
        source = SceneBags(str(drawn), order=order)
        assert source.ids == [f"original/{i + 1}.jpg" for i in range(N)]
        assert source.targets.argmax(axis=1).tolist() == [i % 5 for i in range(N)]


def test_the_published_order_is_that_of_the_file(drawn: Path) -> None:
    assert images_of(SceneBags(str(drawn), order="published")) == AS_TEXT
    assert SceneBags(str(drawn)).fingerprint == SceneBags(str(drawn), order="published").fingerprint


def test_the_mended_order_gives_every_image_its_own_bag(drawn: Path) -> None:
    assert images_of(SceneBags(str(drawn), order="mended")) == list(range(1, N + 1))
    assert SceneBags(str(drawn), order="mended").fingerprint != SceneBags(str(drawn)).fingerprint


def test_two_blocks_of_the_whole_set_stand_in_the_order_of_text() -> None:
    place = bag_of_image(2000)
    assert sorted(place.tolist()) == list(range(2000))
    assert (place != np.arange(2000)).sum() == 799
    assert (place[400:800] == np.arange(400, 800)).all() and (place[1200:] == np.arange(1200, 2000)).all()
    # Image 2 stands after 1, 10, 100 … 109, 11, 110 … 119, …, 19, 190 … 199: one, ten, and a hundred names.
    assert [place[i - 1] + 1 for i in (1, 10, 100, 101, 2)] == [1, 2, 3, 4, 112]
    # 1000 … 1200 come before 801 … 999.
    assert [place[i - 1] + 1 for i in (1000, 1200, 801, 999)] == [801, 1001, 1002, 1200]


def test_an_absent_file_is_named_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        SceneBags(str(tmp_path))
    for word in (str(tmp_path / FILE), "data.download=true", "data.root"):
        assert word in str(caught.value)


def test_download_gets_the_set_only_where_it_is_absent(drawn: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def get(root: str | None, download: bool) -> None:
        asked.append((root, download))
        (drawn / "aside").rename(drawn / "scene")

    monkeypatch.setattr(scene_bags, "Scene", get)
    SceneBags(str(drawn), download=True)
    assert asked == []
    (drawn / "scene").rename(drawn / "aside")
    assert len(SceneBags(str(drawn), download=True)) == N
    assert asked == [(str(drawn), True)]


@pytest.mark.parametrize(
    ("bags", "message"),
    [
        ([patches(0)] * (N - 1), "11 bags, expected 12"),
        ([*[patches(0)] * 3, patches(0)[:8], *[patches(0)] * 8], "bag 4 is 8 x 15, expected 9 x 15"),
    ],
)
def test_bags_that_are_not_the_published_ones_are_refused(drawn: Path, bags: list[np.ndarray], message: str) -> None:
    write(drawn / FILE, bags)
    with pytest.raises(UserError, match=r"miml data\.mat: " + message):
        SceneBags(str(drawn))


def test_the_labels_are_checked_as_those_of_the_images_are(drawn: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Scene.counts.images == 2000
    monkeypatch.setattr(SceneBags, "counts", Scene.counts)
    with pytest.raises(UserError, match="targets are 5 x 12, expected 5 x 2000"):
        SceneBags(str(drawn))
