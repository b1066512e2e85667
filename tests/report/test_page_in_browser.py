"""The report's page as a browser shows it."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from browsers import CONTRAST, NEEDS_BROWSER
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from retdm.report.groups import Group
from retdm.report.page import write_page
from retdm.report.read import Run
from retdm.report.tables import Table

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = NEEDS_BROWSER

LABEL = "<b>$x"
LONG = "scene·a_method_with_a_name_that_has_no_place_to_break_at_all" * 3
PHONE, DESK = {"width": 360, "height": 740}, {"width": 1280, "height": 900}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    about = PngInfo()
    about.add_text("Title", f"Average precision of {LABEL}")
    about.add_text("Description", LONG)
    Image.new("RGB", (1800, 900), "white").save(folder / "figure.png", pnginfo=about)
    config = {
        "choices": {"data": "scene", "method": "bce", "backbone": "net"},
        "data": {"split": 0},
    }
    groups = [Group(LONG, [Run(folder / LONG[:80], config, {"seconds": 90.0, "per_label": {}})], {"method.rule": LONG})]
    columns = ["", *(f"criterion_{j}" for j in range(15))]
    tables = [Table(LONG, columns, [[LABEL, *[".881 ± .009"] * 15], [LONG, *[".9"] * 15]], {(1, 1)}, [LONG])]
    write_page(folder / "report.html", groups, tables, [LONG, f"`{LONG}`"], [folder / "figure.png"])
    return folder / "report.html"


@pytest.fixture
def page(browser: "Browser", file: Path) -> "Iterator[Page]":
    """The page opened from its file; nothing may fail in it and nothing else be asked for."""
    page = browser.new_page(viewport=DESK)  # type: ignore[arg-type]
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("request", lambda request: problems.append(request.url) if request.url.startswith("http") else None)
    page.goto(file.as_uri())
    yield page
    page.close()
    assert not problems


@pytest.mark.parametrize("viewport", [PHONE, DESK], ids=["phone", "desk"])
def test_the_page_is_never_wider_than_its_window(page: "Page", viewport: dict[str, int]) -> None:
    page.set_viewport_size(viewport)  # type: ignore[arg-type]
    page.locator("summary").click()
    assert page.evaluate("document.documentElement.scrollWidth") == viewport["width"]


@pytest.mark.slow
def test_a_wide_table_scrolls_in_its_own_box_and_keeps_the_names_of_its_rows_in_sight(page: "Page") -> None:
    page.set_viewport_size(PHONE)  # type: ignore[arg-type]
    box = page.locator(".scroll")
    assert box.evaluate("box => (box.scrollLeft = 1e6, box.scrollLeft)") > 360
    left, width = box.evaluate(
        "box => { const r = box.querySelector('tbody th').getBoundingClientRect(); return [r.left, r.width] }"
    )
    assert 0 <= left < 30 and width < 0.6 * 360


@pytest.mark.slow
def test_a_figure_on_a_phone_stays_large_enough_to_be_read(page: "Page") -> None:
    page.set_viewport_size(PHONE)  # type: ignore[arg-type]
    assert page.locator("img").evaluate("image => image.getBoundingClientRect().width") > 600
    page.set_viewport_size(DESK)  # type: ignore[arg-type]
    assert page.locator("img").evaluate("image => image.getBoundingClientRect().width") == 900


def test_a_label_that_looks_like_markup_is_shown_as_it_is(page: "Page") -> None:
    assert page.locator("tbody th").first.inner_text() == LABEL
    assert page.locator("img").get_attribute("alt") == f"Average precision of {LABEL}"


@pytest.mark.slow
def test_every_figure_is_decoded_and_has_alternative_text(page: "Page") -> None:
    assert page.evaluate("Array.from(document.images, i => i.naturalWidth)") == [1800]
    assert page.evaluate("Array.from(document.images).every(i => i.alt.length > 10)")


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground_in_both_schemes(page: "Page", scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    for selector in (
        "h1",
        "h1 + p",
        ".notes li",
        "nav a",
        "tbody th",
        "thead th:last-child",
        "figcaption",
        "b",
        "summary span",
    ):
        assert page.locator(selector).first.evaluate(CONTRAST) >= 4.5, selector


@pytest.mark.slow
def test_in_print_nothing_is_hidden_in_boxes(page: "Page") -> None:
    page.emulate_media(media="print")
    styles = page.evaluate(
        "Array.from(document.querySelectorAll('.scroll, .picture'), box => getComputedStyle(box).overflowX)"
    )
    assert styles == ["visible", "visible"]
    assert page.locator("dl").evaluate("list => list.getBoundingClientRect().height") > 0
