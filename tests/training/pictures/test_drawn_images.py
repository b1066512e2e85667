from typing import Any

import numpy as np
import pytest
from picture_toys import NAMES

from retdm.data.modules import ImageData
from retdm.decisions import decide
from retdm.training.pictures.images import HIT, choose_rows, draw_predictions, in_lines, labels_in_words


def test_hits_misses_extras_and_unknown_labels_differ_in_sign_and_colour() -> None:
    target, known, predicted = np.array([1, 1, 0, 0, 0]), np.array([1, 1, 1, 0, 1], bool), np.array([1, 0, 1, 1, 0])
    scores = np.array([0.934, 0.2, 1.0, 0.5, 0.0])
    words = labels_in_words(target, known, predicted, scores, NAMES)
    assert [text for text, _ in words] == ["desert .93", "−mountains .20", "+sea 1.00", "?sunset .50"]
    assert len({colour for _, colour in words}) == 4


def test_an_image_without_labels_that_none_was_predicted_for_is_a_hit() -> None:
    nothing = np.zeros(5, int)
    assert labels_in_words(nothing, np.ones(5, bool), nothing, nothing, NAMES) == [("none", HIT)]


def test_captions_break_between_words_and_end_in_dots_where_they_are_too_long() -> None:
    words = [(name, "") for name in ("sea", "mountains", "sunset", "a-very-long-label-name", "trees")]
    lines = [[text for text, _ in line] for line in in_lines(words, width=15, most=3)]
    assert lines == [["sea", "mountains"], ["sunset"], ["a-very-long-label-name"], ["…"]]


def test_the_rows_shown_are_distinct_and_carry_every_label_where_there_is_room() -> None:
    target = np.zeros((100, 7), int)
    target[np.arange(100), np.minimum(np.arange(100) // 15, 5)] = 1
    target[97, 6] = 1  # the only one of its label
    places = choose_rows(target, 12)
    assert len(set(places)) == 12 and (target[places].sum(0) > 0).all()
    assert np.array_equal(places, choose_rows(target, 12))
    assert places.max() - places.min() > 80


@pytest.mark.parametrize(("n", "labels", "expected"), [(5, 3, 5), (40, 30, 12), (1, 4, 1)])
def test_the_number_of_rows_shown_is_bounded_by_images_and_by_the_grid(n: int, labels: int, expected: int) -> None:
    places = choose_rows(np.ones((n, labels), int), 12)
    assert len(places) == len(set(places)) == expected


def test_the_grid_shows_the_cached_images_of_its_rows_under_the_words_of_the_rule(data: ImageData, rows: Any) -> None:
    figure = draw_predictions(data.images, rows, decide(rows["scores"], "top3"), NAMES, "title")
    places = choose_rows(rows["target"], 12)
    assert len(figure.axes) == 12
    for axes, place in zip(figure.axes, places, strict=True):
        assert np.array_equal(axes.images[0].get_array(), data.images[rows["index"][place]])
        (caption,) = [artist for artist in axes.artists if hasattr(artist, "get_child")]
        texts = [area.get_text() for line in caption.get_child().get_children() for area in line.get_children()]
        predicted = {NAMES[j] for j in np.argsort(-rows["scores"][place])[:3]}
        assert {text.lstrip("+").rsplit(" ", 1)[0] for text in texts if not text.startswith("−")} == predicted
