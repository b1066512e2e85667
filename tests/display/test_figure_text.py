import warnings

import pytest
from matplotlib import font_manager, rcParams
from matplotlib.figure import Figure

from retdm.display import figure_text
from retdm.display.figure_text import label_names, plain, undrawn


@pytest.fixture
def missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which no font has 海, 日 and 🌊, whatever this one has."""
    drawn = figure_text._drawn
    monkeypatch.setattr(figure_text, "_drawn", lambda character: character not in "海日🌊" and drawn(character))


def test_a_text_is_one_line_without_mathematics_and_control_characters() -> None:
    assert plain("a\n b\t$x^2$\x1b") == r"a b \$x^2\$"
    assert plain("a" * 70) == "a" * 59 + "…"


@pytest.mark.usefixtures("missing")
def test_labels_stay_different_when_they_are_cut_and_numbered_where_no_font_has_them() -> None:
    labels = ["sea", "日海", "car park north of the house (a)", "car park north of the house (b)", "海", "🌊 sea"]
    assert label_names(labels, 16) == ["sea", "label 2", "car park no… (3)", "car park no… (4)", "label 5", "□ sea"]
    assert undrawn(labels) == ["label 2 is 日海", "label 5 is 海"]


def test_any_name_is_drawn_without_a_warning_of_missing_glyphs() -> None:
    odd = ["日本語 🌊", "$x^2$ & <b>", "عربى", "👩\u200d🌾 field", "𝔘 ꙮ", "a\\$b", "x_1^2", "\U0010fffd"]
    figure = Figure()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure.suptitle(" ".join(map(plain, odd)), weight="bold")
        for place, name in enumerate(label_names(odd)):
            figure.text(0.1, 0.1 * place, name)
        figure.draw_without_rendering()


def test_a_character_that_another_installed_font_has_is_drawn_by_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(rcParams, "font.family", ["sans-serif"])
    figure_text._drawn.cache_clear()
    usual = figure_text._usual()
    others = figure_text._others()
    found = (chr(code) for _, path in others for code in sorted(figure_text._characters(path) - usual))
    character = next(filter(str.isalpha, found), None)
    if character is None:
        pytest.skip("no font but the usual one is installed")
    assert plain(character) == character
    (family,) = rcParams["font.family"][1:]
    assert ord(character) in figure_text._characters(font_manager.findfont(family))
    figure_text._drawn.cache_clear()


def test_fonts_that_were_found_are_forgotten_and_found_again() -> None:
    before = dict(rcParams)
    for _ in range(2):
        with figure_text.fonts_restored():
            rcParams["font.family"] = [*rcParams["font.family"], "Some Font"]
            figure_text.plain("a")
        assert dict(rcParams) == before
        assert figure_text._drawn.cache_info().currsize == 0
