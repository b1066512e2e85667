"""Images that a run leaves in its folder, and the search for the training images nearest to them."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from retdm.data.modules import ImageData
from retdm.data.synthetic.source import Synthetic
from retdm.runs import images
from retdm.runs.folder.paths import RunFolder
from retdm.runs.images import nearest_rows, write_mistakes


def plain_distances(features: np.ndarray, query: int, among: list[int]) -> list[float]:
    """Root mean square of the differences in each feature, in deviations of the rows among which is looked."""
    found = []
    for row in among:
        total = 0.0
        for j in range(features.shape[1]):
            values = [features[each, j] for each in among]
            mean = sum(values) / len(values)
            deviation = (sum((value - mean) ** 2 for value in values) / len(values)) ** 0.5 or 1.0
            total += ((features[query, j] - features[row, j]) / deviation) ** 2
        found.append((total / features.shape[1]) ** 0.5)
    return found


@pytest.mark.parametrize("at_once", [7, 10**6], ids=["in blocks", "at once"])
def test_the_nearest_rows_are_those_of_the_least_standardised_distance(
    at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "AT_ONCE", at_once)
    g = np.random.default_rng(0)
    features = (g.normal(size=(20, 3)) * [1, 1000, 0] + 5).astype(np.float32)  # of unlike scales, one never changes
    among = g.permutation(20)[:12]
    places, far = nearest_rows(features, np.array([0, among[3]]), among, 4)
    for query, own, distances in zip((0, int(among[3])), places, far, strict=True):
        expected = plain_distances(features.astype(np.float64), query, among.tolist())
        order = np.argsort(expected, kind="stable")[:4]
        assert own.tolist() == among[order].tolist()
        assert distances == pytest.approx(np.array(expected)[order], abs=1e-5)
    assert places[1, 0] == among[3] and far[1, 0] < 1e-4
    assert nearest_rows(features, among[:1], among[:2], 9)[0].shape == (1, 2)


def test_maps_are_searched_by_their_means_over_places() -> None:
    maps = np.random.default_rng(1).normal(size=(9, 4, 2, 3)).astype(np.float16)
    rows, among = np.arange(3), np.arange(3, 9)
    expected = nearest_rows(maps.astype(np.float64).mean(axis=(2, 3)), rows, among, 3)
    found = nearest_rows(maps, rows, among, 3)
    assert np.array_equal(found[0], expected[0]) and np.allclose(found[1], expected[1])


def test_mistakes_lie_in_the_folder_with_the_training_images_that_are_nearest(tmp_path: Path) -> None:
    data = ImageData(Synthetic(40, side=18), image_size=16, batch_size=8, cache="none")
    test, train = np.sort(data.splits["test"]), np.sort(data.splits["train"])
    target, known = data.source.targets[test], data.source.known[test]
    rows = {"index": test, "scores": 1.0 - target, "target": target, "known": known}  # all wrong
    features = np.random.default_rng(0).normal(size=(40, 5)).astype(np.float32)
    features[train[0]] = features[test[0]]
    folder = RunFolder(tmp_path)
    write_mistakes(folder, data, rows, {"rule": "half", "threshold": 0.5})
    assert len(list(folder.mistakes.glob("*.jpg"))) == len(test) and not folder.nearest.exists()  # no features
    write_mistakes(folder, data.with_features(features, None), rows, {"rule": "half", "threshold": 0.5})
    found = json.loads(folder.nearest.read_text())
    assert set(found) == {str(index) for index in test}
    first = found[str(test[0])][0]
    assert first["index"] == train[0] and first["distance"] < 1e-4 and first["name"] == data.source.ids[train[0]]
    assert first["labels"] == [data.labels[j] for j in np.flatnonzero(data.source.targets[train[0]])]
    near = {each["index"] for several in found.values() for each in several}
    assert near <= set(train.tolist())
    assert {file.stem for file in folder.mistakes.glob("near-*.jpg")} == {f"near-{index}" for index in near}
    with Image.open(folder.mistakes / f"near-{train[0]}.jpg") as small:
        assert max(small.size) <= 96
