"""The page of a review, driven by the keyboard."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from browsers import CONTRAST, NEEDS_BROWSER

from retdm.commands.output.review_page import review_page
from retdm.data.synthetic.source import Synthetic
from retdm.review.decisions import read_decisions
from retdm.review.findings import Finding

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = NEEDS_BROWSER

NAME = "\"'><img src=x onerror=alert(1)>,</script>"


@pytest.fixture(scope="module")
def source() -> Synthetic:
    source = Synthetic(6, side=32)
    source.names[1] = NAME
    source.ids = [f"a/{i}.png" for i in range(5)] + [f"=b/{NAME}.png"]
    source.targets[:] = [[1, 0, 0, 0, 0]] * 6
    source.known[4, 1] = False
    return source


@pytest.fixture
def page(browser: "Browser", source: Synthetic, tmp_path: Path) -> "Iterator[Page]":
    """The page opened from its file; nothing may fail in it and nothing else be asked for."""
    findings = [
        Finding("missing", 5, 1, 0, 0.97, 3.0),
        Finding("wrong", 1, 0, 1, 0.02, 2.0),
        Finding("missing", 2, 2, 0, 0.9, 1.0),
        Finding("copies", 3, 1, 0, 0.6, 0.5, 0),
        Finding("unknown", 4, 1, None, 0.9, 0.4),
    ]
    file = tmp_path / "review.html"
    file.write_bytes(review_page(findings, source, name="csv", words="a fit", top=10))
    page = browser.new_page(viewport={"width": 360, "height": 740})
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("dialog", lambda dialog: (problems.append("a dialog"), dialog.dismiss()))
    page.on("request", lambda request: problems.append(request.url) if request.url.startswith("http") else None)
    page.goto(file.as_uri())
    yield page
    page.close()
    assert not problems


def question(page: "Page") -> str:
    return page.locator("h2").inner_text()


def test_findings_are_decided_by_keys_kept_and_given_as_a_table(
    page: "Page", source: Synthetic, tmp_path: Path
) -> None:
    assert question(page) == f"Is {NAME} missing?"
    assert page.locator("figcaption").first.inner_text() == source.ids[5]
    page.keyboard.press("y")
    assert question(page) == "Is desert wrong?"
    for key, after in (("n", "mountains"), ("k", "desert"), ("j", "sea"), ("y", "sea"), ("u", "sea")):
        page.keyboard.press(key)
        assert after in question(page) or key in "nu"
    assert page.get_by_role("status").inner_text() == "2 of 5 decided, 1 changed"
    page.get_by_label("Kind").select_option("unknown")
    assert question(page) == f"Is {NAME} there?"
    page.keyboard.press("n")
    page.reload()
    assert page.get_by_role("status").inner_text() == "3 of 5 decided, 2 changed"
    with page.expect_download() as download:
        page.get_by_role("button", name="Get decisions.csv").click()
    download.value.save_as(tmp_path / "decisions.csv")
    assert read_decisions(tmp_path / "decisions.csv", source) == ({(5, 1): 1, (4, 1): 0}, 3)


@pytest.mark.slow
def test_findings_are_filtered_by_kind_and_label_and_open_ones_can_be_shown_alone(page: "Page") -> None:
    shown = page.locator(".card")
    assert shown.count() == 3
    page.get_by_label("Label").select_option(NAME)
    assert shown.count() == 1
    page.get_by_label("Kind").select_option("copies")
    assert page.locator(".pictures img").count() == 2 and question(page) == f"Copies differ in {NAME}"
    page.get_by_label("Kind").select_option("all (5)")
    page.get_by_label("Label").select_option("every label")
    page.get_by_label("open ones only").check()
    page.keyboard.press("y")
    assert shown.count() == 4
    page.keyboard.press("u")
    assert shown.count() == 5


@pytest.mark.slow
def test_it_fits_a_phone_and_is_read_in_dark_and_light(page: "Page") -> None:
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        for selector in ("h1", "h2", ".why", "#yes", "output", ".card small"):
            assert page.locator(selector).first.evaluate(CONTRAST) >= 4.5, selector
