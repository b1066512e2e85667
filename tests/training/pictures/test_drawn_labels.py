from typing import Any

import numpy as np
import pytest
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from picture_toys import NAMES, precisions
from sklearn.metrics import average_precision_score

from retdm.criteria import evaluate
from retdm.decisions import decide
from retdm.training.pictures.embedding import Space, draw_embedding
from retdm.training.pictures.images import draw_predictions
from retdm.training.pictures.labels import draw_bars, draw_curves
from retdm.training.pictures.png import rendered


def test_the_area_under_each_curve_is_the_average_precision_in_its_legend(rows: Any) -> None:
    known = np.random.default_rng(1).random(rows["target"].shape) < 0.8
    rows |= {"known": known, "target": rows["target"] * np.array([1, 1, 1, 1, 0], np.float32)}  # no trees at all
    figure = draw_curves(rows, precisions(rows), NAMES, "title")
    areas = {}
    for line in figure.axes[0].lines:
        recall, precision = line.get_data()
        areas[line] = -np.sum(np.diff(recall) * precision[:-1])  # a step keeps the precision of its greater recall
    expected = {
        name: average_precision_score(rows["target"][known[:, j], j], rows["scores"][known[:, j], j])
        for j, name in enumerate(NAMES[:4])
    }
    assert list(areas.values()) == pytest.approx(sorted(expected.values(), reverse=True))
    legend = [text.get_text().split("  ") for text in figure.legends[0].get_texts()]
    assert {name: float(value) for value, name in legend} == pytest.approx(expected, abs=6e-4)
    assert "1 without an image" in figure.legends[0].get_title().get_text()


@pytest.mark.painted
def test_of_many_labels_only_the_best_and_the_worst_are_named() -> None:
    target = np.random.default_rng(2).random((60, 50)) < 0.3
    rows = {"scores": np.random.default_rng(3).random((60, 50)), "target": target, "known": np.ones_like(target)}
    figure = draw_curves(rows, precisions(rows), [f"${j}$" for j in range(50)], "title")
    values = [float(text.get_text().split()[0]) for text in figure.legends[0].get_texts()]
    assert len(figure.axes[0].lines) == 20 and len(values) == 20 and values == sorted(values, reverse=True)
    (others,) = figure.axes[0].collections
    assert len(others.get_segments()) == 30
    assert rendered(figure).shape == (600, 912, 3)


def test_a_label_has_its_precision_its_f1_and_what_chance_would_reach(rows: Any) -> None:
    known = np.random.default_rng(1).random(rows["target"].shape) < 0.8
    rows |= {"known": known}
    predicted = decide(rows["scores"], "half")
    values = precisions(rows)
    axes = draw_bars(rows, values, predicted, NAMES, "title").axes[0]
    f1, chance = (line.get_xdata() for line in axes.lines)
    expected = evaluate(rows["scores"], rows["target"], known, NAMES, predicted)["per_label"]
    assert len(axes.patches) == 5
    for place, text in enumerate(axes.get_yticklabels()):
        name, positives = text.get_text().split("  ")
        assert int(positives) == expected[name]["positives"]
        assert axes.patches[place].get_width() == pytest.approx(expected[name]["AP"])
        assert f1[place] == pytest.approx(expected[name]["F1"])
        assert chance[place] == pytest.approx(int(positives) / known[:, NAMES.index(name)].sum())
    assert [bar.get_width() for bar in axes.patches] == sorted(values, reverse=True)


def test_of_two_thousand_labels_the_most_telling_are_drawn_in_few_strokes() -> None:
    generator = np.random.default_rng(0)
    shape, labels = (60, 2000), [f"label {j}" for j in range(2000)]
    target = generator.random(shape) < 0.2
    rows = {"scores": generator.random(shape), "target": target, "known": np.ones(shape, bool), "index": np.arange(60)}
    values, predicted = precisions(rows), rows["scores"] > 0.5
    images = np.zeros((60, 8, 8, 3), np.uint8)
    space = Space(generator.random((60, 4)), target, np.ones(60, bool), np.zeros((0, 4)), target)
    figures = (
        draw_curves(rows, values, labels, "title"),
        draw_bars(rows, values, predicted, labels, "title"),
        draw_predictions(images, rows, predicted, labels, "title"),
        draw_embedding(space, labels, "title"),
    )
    for figure in figures:
        assert len(figure.findobj(lambda artist: isinstance(artist, Text | Line2D | Rectangle))) < 1000
