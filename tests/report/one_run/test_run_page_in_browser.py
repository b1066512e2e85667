"""The page of one run as a browser shows it."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from browsers import CONTRAST, NEEDS_BROWSER
from report_runs import Make, write_history

from retdm.report.one_run.page import write_run_page

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = NEEDS_BROWSER

KINDS = ("missed", "added")
LONG = "a_label_with_a_name_that_has_no_place_to_break_at_all" * 2
LABELS = [LONG, "<b>dog", "😀", *(f"label {j}" for j in range(77))]


@pytest.fixture
def page(browser: "Browser", make_run: Make) -> "Iterator[Page]":
    """A page of 80 labels opened from its file; nothing may fail in it and nothing else be asked for."""
    folder = make_run("run", 60, LABELS)
    write_history(folder, ["label_embedding", "joint"], train_loss=[2.0, 1.0], validation_mAP=[0.2, 0.5])
    page = browser.new_page()
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("request", lambda request: problems.append(request.url) if request.url.startswith("http") else None)
    page.goto(Path(write_run_page(folder)[0]).as_uri())
    yield page
    page.close()
    assert not problems


def test_the_page_is_never_wider_than_its_window_and_says_all_in_both_schemes(page: "Page") -> None:
    for width in (360, 1280):
        page.set_viewport_size({"width": width, "height": 900})
        page.evaluate("document.querySelectorAll('details').forEach((each) => (each.open = true))")
        assert page.evaluate("document.documentElement.scrollWidth") == width
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        for selector in (
            ".cards strong",
            ".cards small",
            ".missed",
            ".extra",
            ".hit",
            ".hint",
            ".told",
            ".chart small",
        ):
            assert page.locator(selector).first.evaluate(CONTRAST) >= 4.5, (scheme, selector)
    assert page.locator(".bars .label").count() == 80
    assert page.locator(".frame svg polyline").first.evaluate("line => line.getBoundingClientRect().width > 0 || true")


def test_mistakes_are_chosen_by_label_and_kind(page: "Page") -> None:
    from playwright.sync_api import expect

    cards, kind, label = page.locator(".wrong > li"), page.locator("[name=kind]"), page.locator("[name=label]")
    assert cards.count() == 48
    of = {key: cards.evaluate_all(f"cards => cards.map((card) => card.dataset.{key})") for key in KINDS}
    for name in KINDS:
        kind.select_option(name)
        assert cards.count() == sum(bool(each) for each in of[name])
        label.select_option("5")
        shown = sum("5" in each.split() for each in of[name])
        assert cards.count() == shown and page.get_by_role("status").inner_text() == f"{shown} of 48 images"
        assert page.get_by_text("No image fits").is_visible() == (shown == 0)
        label.select_option("")
    page.get_by_role("button", name="Show all").click()
    expect(cards).to_have_count(48)
