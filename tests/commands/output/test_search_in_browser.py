"""The page of a search as a browser shows it."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from browsers import NEEDS_BROWSER
from PIL import Image

from retdm.commands.output.gallery import thumbnail
from retdm.commands.output.search_results import Hit, NearSet, Query, Results, search_page

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = NEEDS_BROWSER

PICTURE = thumbnail(Image.new("RGB", (300, 200), "teal"))


@pytest.mark.parametrize("width", [360, 1280])
def test_query_label_sets_and_images_are_shown_without_scrolling_sideways(
    browser: "Browser", tmp_path: Path, width: int
) -> None:
    hits = [Hit(f"album/{'very-' * 8}long-name-{i}.jpg", i / 7, ["sea", "x" * 60], PICTURE) for i in range(6)]
    sets = [NearSet(["sea", "sunset" * 4], 0.25, 1200), NearSet([], 0.5, 3), *[NearSet(["a"], 1.0, 1)] * 20]
    query = Query([], Path("<i>beach.jpg"), PICTURE)
    (tmp_path / "search.html").write_bytes(search_page(Results(Path("outputs/x"), query, "6 images", hits, sets, ())))
    page = browser.new_page(viewport={"width": width, "height": 800})
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text))
    page.goto((tmp_path / "search.html").as_uri())
    assert page.locator("h1").inner_text() == "Nearest to <i>beach.jpg"
    assert page.locator(".card:visible .name").all_text_contents() == [hit.name for hit in hits]
    assert page.locator(".asked:visible").all_text_contents() == ["0.000", "0.143", "0.286", "0.429", "0.571", "0.714"]
    rows = page.locator("tbody tr").all_inner_texts()
    assert len(rows) == 22
    assert rows[0].split("\t") == ["sea, " + "sunset" * 4, "0.250", "1,200"]
    assert rows[1].startswith("no label")
    image = page.locator(".card img").first
    assert image.evaluate("i => i.decode().then(() => i.naturalWidth)") == 192
    assert page.evaluate("document.documentElement.scrollWidth") == width
    page.close()
    assert not problems
