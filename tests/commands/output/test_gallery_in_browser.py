"""The page of predictions as a browser shows it."""

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from browsers import NEEDS_BROWSER
from PIL import Image

from retdm.commands.output.gallery import Card, Truth, gallery_page, thumbnail

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

pytestmark = NEEDS_BROWSER

LABELS = ["desert", "sea", "trees"]
SCORES = {
    "album/beach.jpg": [0.7, 0.9, 0.1],
    "album/Forest.jpg": [0.0, 0.2, 0.95],
    "album/fog.jpg": [0.3, 0.4, 0.45],
    "other/lagoon.jpg": [0.1, 0.8, 0.6],
}


def page_of(scores: dict[str, list[float]], labels: list[str] = LABELS) -> bytes:
    picture = thumbnail(Image.new("RGB", (300, 200), "teal"))
    cards = [
        Card(Path("/photos", name), np.array(row, np.float32), np.array(row) >= 0.5, picture)
        for name, row in scores.items()
    ]
    return gallery_page(cards, labels, run=Path("outputs/scene/retdm/x"), rule="labels scored 0.5 or more")


@pytest.fixture
def show(browser: "Browser", tmp_path: Path) -> "Iterator[Callable[..., Page]]":
    """``show(content, width=…)``: the page opened from a file; nothing may fail in it and nothing else be asked for."""
    problems: list[str] = []
    opened = []

    def open_page(content: bytes, width: int = 1280, **options: Any) -> "Page":
        file = tmp_path / "gallery.html"
        file.write_bytes(content)
        page = browser.new_page(viewport={"width": width, "height": 800}, **options)
        page.set_default_timeout(20_000)
        page.on("console", lambda message: problems.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: problems.append(f"error: {error}"))
        page.on("dialog", lambda dialog: (problems.append("a dialog"), dialog.dismiss()))
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(file.as_uri())
        assert [url for url in asked if not url.startswith("data:")] == [file.as_uri()]
        opened.append(page)
        return page

    yield open_page
    for page in opened:
        page.close()
    assert not problems


def names(page: "Page") -> list[str]:
    """Of the cards that are shown, in their order."""
    return page.locator(".card:visible .name").all_text_contents()


def count(page: "Page") -> str | None:
    return page.get_by_role("status").text_content()


@pytest.fixture
def page(show: "Callable[..., Page]") -> "Page":
    return show(page_of(SCORES))


ALL = list(SCORES)


@pytest.mark.slow
def test_every_image_is_shown_with_picture_name_labels_and_scores(page: "Page") -> None:
    assert names(page) == ALL
    assert count(page) == "4 of 4 images"
    card = page.locator(".card").first
    assert card.locator("img").evaluate("i => i.decode().then(() => [i.naturalWidth, i.naturalHeight])") == [192, 128]
    assert card.locator("li").all_text_contents() == ["sea (decided)0.90", "desert (decided)0.70", "trees0.10"]
    text = page.locator("header").inner_text()
    assert "4 images of /photos" in text
    assert "outputs/scene/retdm/x: labels scored 0.5 or more" in text


def test_labels_choose_the_images_that_carry_all_of_them(page: "Page") -> None:
    assert page.locator(".chip").all_inner_texts() == ["desert1", "sea2", "trees2", "no label1"]
    page.get_by_role("checkbox", name="sea").check()
    assert names(page) == ["album/beach.jpg", "other/lagoon.jpg"]
    assert count(page) == "2 of 4 images"
    page.get_by_role("checkbox", name="trees").check()
    assert names(page) == ["other/lagoon.jpg"]
    page.get_by_role("checkbox", name="sea").uncheck()
    assert names(page) == ["album/Forest.jpg", "other/lagoon.jpg"]


@pytest.mark.slow
def test_images_without_a_label_can_be_chosen(page: "Page") -> None:
    page.get_by_role("checkbox", name="no label").check()
    assert names(page) == ["album/fog.jpg"]


@pytest.mark.slow
def test_part_of_a_name_in_any_case_finds_images_within_the_chosen_label(page: "Page") -> None:
    page.get_by_label("Name").fill(" FO ")
    assert names(page) == ["album/Forest.jpg", "album/fog.jpg"]
    page.get_by_role("checkbox", name="trees").check()
    assert names(page) == ["album/Forest.jpg"]
    page.get_by_label("Name").fill("nowhere")
    assert names(page) == []
    assert count(page) == "0 of 4 images"
    assert page.get_by_text("No image fits").is_visible()


def test_images_are_ordered_by_the_score_of_a_label_which_is_then_shown(page: "Page") -> None:
    page.get_by_label("Order").select_option("highest trees first")
    assert names(page) == ["album/Forest.jpg", "other/lagoon.jpg", "album/fog.jpg", "album/beach.jpg"]
    assert page.locator(".asked:visible").all_text_contents() == ["0.95", "0.60", "0.45", "0.10"]
    page.get_by_role("checkbox", name="sea").check()
    assert names(page) == ["other/lagoon.jpg", "album/beach.jpg"]


@pytest.mark.slow
def test_one_button_shows_all_again_as_in_the_beginning(page: "Page") -> None:
    from playwright.sync_api import expect

    page.get_by_role("checkbox", name="sea").check()
    page.get_by_label("Name").fill("lagoon")
    page.get_by_label("Order").select_option("highest sea first")
    page.get_by_role("button", name="Show all").click()
    expect(page.locator(".card")).to_have_count(4)
    assert names(page) == ALL
    assert page.locator(".asked:visible").count() == 0


def test_the_page_works_from_the_keyboard_and_shows_where_it_is(page: "Page") -> None:
    page.keyboard.press("Tab")
    assert page.evaluate("getComputedStyle(document.activeElement.nextElementSibling).outlineStyle") == "solid"
    page.keyboard.press("Space")
    assert names(page) == ["album/beach.jpg"]
    for _ in range(4):
        page.keyboard.press("Tab")
    page.keyboard.type("nothing")
    assert names(page) == []
    page.keyboard.press("Enter")  # sends no form anywhere
    assert page.get_by_label("Name").input_value() == "nothing"


def test_names_of_files_and_labels_are_text_and_nothing_else(show: "Callable[..., Page]") -> None:
    name = "\"'><img src=x onerror=alert(1)><script>alert(2)<&amp;.jpg"
    label = "</span><script>alert(3)</script>{{ 7*7 }}"
    page = show(page_of({f"a/{name}": [0.9], "b/other.jpg": [0.6]}, [label]))
    assert names(page)[0] == f"a/{name}"
    assert page.get_by_role("checkbox").first.evaluate("box => box.labels[0].textContent") == f"{label}2"
    assert page.get_by_role("checkbox").count() == 1  # no image is without a label
    assert page.locator(".card img").count() == 2
    assert page.locator("script").count() == 1
    page.get_by_label("Name").fill("<script>")
    page.get_by_label("Order").select_option(f"highest {label} first")
    assert names(page) == [f"a/{name}"]


@pytest.mark.slow
def test_of_many_labels_a_card_shows_the_five_highest_and_all_that_were_decided(show: "Callable[..., Page]") -> None:
    labels = [f"label {j}" for j in range(20)]
    few, many = [j / 100 for j in range(20)], [0.5 + j / 100 for j in range(7)] + [0.1] * 13
    page = show(page_of({"few.jpg": few, "many.jpg": many}, labels))
    shown = [card.locator("li").all_text_contents() for card in page.locator(".card").all()]
    assert shown[0] == [f"label {j}0.{j}" for j in (19, 18, 17, 16, 15)]
    assert shown[1] == [f"label {j} (decided)0.5{j}" for j in (6, 5, 4, 3, 2, 1, 0)]
    page.get_by_label("Order").select_option("highest label 0 first")
    assert page.locator(".asked:visible").all_text_contents() == ["0.50", "0.00"]


@pytest.mark.slow
def test_on_a_phone_nothing_is_wider_than_the_screen(show: "Callable[..., Page]") -> None:
    labels = ["sea", *(f"{'alonglabel' * 4} {j}" for j in range(40))]
    row = [0.9] * len(labels)
    page = show(page_of({"short.jpg": row, f"{'long' * 40}/{'name' * 50}.jpg": row, "x/y.jpg": row}, labels), width=360)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    inside = "e => Array.from(e.querySelectorAll('*')).every(c => c.getBoundingClientRect().right <= innerWidth + 1)"
    assert page.locator("body").evaluate(inside)
    columns = page.locator(".card").evaluate_all("cards => new Set(cards.map(c => c.offsetLeft)).size")
    assert columns == 2


@pytest.mark.slow
def test_dark_and_light_follow_the_reader(page: "Page") -> None:
    brightness = []
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
        brightness.append(int(colour.split("(")[1].split(",")[0]))
    assert brightness[0] > 200 > 60 > brightness[1]


@pytest.mark.slow
def test_cards_out_of_sight_cost_nothing(page: "Page") -> None:
    assert page.locator(".card").first.evaluate("card => getComputedStyle(card).contentVisibility") == "auto"
    page.get_by_role("checkbox", name="sea").check()
    assert page.locator(".card").count() == 2  # not hidden but taken out: hiding 2,000 of them took 10 seconds


def heated(labels: list[str]) -> bytes:
    """A wide and a tall grey picture; label 0 is seen at the top right, label 1 at the bottom left."""
    top, bottom = np.zeros((4, 4), np.float32), np.zeros((4, 4), np.float32)
    top[0, 3], bottom[3, 0] = 0.75, 0.5
    cards = [
        Card(Path("/photos", name), np.array([0.9, 0.8, 0.1]), np.array([True, True, False]),
             thumbnail(Image.new("RGB", size, "grey")), {0: top, 1: bottom})
        for name, size in (("wide.jpg", (400, 150)), ("tall.jpg", (100, 300)))
    ]  # fmt: skip
    return gallery_page(cards, labels, run=Path("outputs/scene/mil/x"), rule="labels scored 0.5 or more")


def brightness(card: "Locator", width: int, height: int) -> np.ndarray:
    """Of 16 places spread over the picture of ``width`` x ``height`` in a card's frame, (4, 4)."""
    frame = card.locator("img").first
    screen = np.asarray(Image.open(io.BytesIO(frame.screenshot())).convert("L")).astype(int)
    h, w = screen.shape
    scale = min(w / width, h / height)
    ys = (h - scale * height) / 2 + scale * height * (np.arange(4) + 0.5) / 4
    xs = (w - scale * width) / 2 + scale * width * (np.arange(4) + 0.5) / 4
    return screen[np.ix_(ys.astype(int), xs.astype(int))]


@pytest.mark.parametrize("width", [pytest.param(1280, marks=pytest.mark.slow), 360])
def test_a_label_that_is_pressed_shows_on_the_picture_where_it_is_seen(show: "Callable[..., Page]", width: int) -> None:
    page = show(heated(LABELS), width=width)
    for card, size in zip(page.locator(".card").all(), ((400, 150), (100, 300)), strict=True):
        assert np.ptp(brightness(card, *size)) < 5
        buttons = card.get_by_role("button")
        assert buttons.all_text_contents() == LABELS[:2]
        buttons.first.click()
        card.locator(".heat").evaluate("image => image.decode()")
        found = brightness(card, *size)
        assert found[0, 3] > found.ravel()[np.arange(16) != 3].max() + 100
        assert card.locator(".most").text_content() == "≤ 0.75"
        assert card.get_by_alt_text("where desert is found").count() == 1
        buttons.last.click()
        card.locator(".heat").evaluate("image => image.decode()")
        found = brightness(card, *size)
        assert found.argmax() == 12
        assert card.locator(".most").text_content() == "≤ 0.50"
        assert [button.get_attribute("aria-pressed") for button in buttons.all()] == ["false", "true"]
        buttons.last.click()
        assert card.locator("img").count() == 1 and card.locator(".most").count() == 0
        assert buttons.last.get_attribute("aria-pressed") == "false"
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.slow
def test_heat_maps_are_reached_and_named_from_the_keyboard_whatever_a_label_is_called(
    show: "Callable[..., Page]",
) -> None:
    label = "</button><script>alert(3)</script>\"'"
    page = show(heated([label, "sea", "trees"]))
    page.get_by_role("button", name="Show all").focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.textContent") == label
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    assert page.get_by_role("button", name=label, pressed=True).count() == 1
    assert page.locator(".heat").get_attribute("alt") == f"where {label} is found"
    page.keyboard.press("Space")
    assert page.locator(".heat").count() == 0
    assert page.get_by_text("Press an underlined label").count() == 1


def test_where_labels_are_known_the_worst_is_first_and_kinds_of_mistake_are_chosen(
    show: "Callable[..., Page]",
) -> None:
    picture, known = thumbnail(Image.new("RGB", (300, 200), "teal")), np.array([True, True, False])
    made = {
        "right.jpg": ([0.9, 0.1, 0.9], [1, 0, 0]),  # whether it has trees is unknown
        "missed.jpg": ([0.1, 0.9, 0.2], [1, 1, 0]),
        "added.jpg": ([0.9, 0.6, 0.1], [1, 0, 0]),
        "both.jpg": ([0.05, 0.95, 0.1], [1, 0, 0]),
    }
    cards = [
        Card(Path(name), np.array(row), np.array(row) >= 0.5, picture, truth=Truth(np.array(true) == 1, known))
        for name, (row, true) in made.items()
    ]
    page = show(gallery_page(cards, LABELS, run=Path("outputs/x"), rule="labels scored 0.5 or more"))
    worst_first = ["both.jpg", "missed.jpg", "added.jpg", "right.jpg"]
    assert names(page) == worst_first
    assert "3 have a label that is missed or falsely seen" in page.locator("header").inner_text()
    sets = page.locator(".sets").first
    assert sets.locator("div").all_inner_texts() == ["true\ndesert", "predicted\nsea"]
    assert sets.locator(".missed").inner_text() == "desert" and sets.locator(".added").inner_text() == "sea"
    kind = page.locator("[name=kind]")
    chosen = {"wrong": worst_first[:3], "missed": worst_first[:2], "added": ["both.jpg", "added.jpg"]}
    for value, shown in chosen.items():
        kind.select_option(value)
        assert names(page) == shown, value
    page.get_by_role("checkbox", name="desert").check()
    assert names(page) == []  # desert is nowhere falsely seen
    kind.select_option("missed")
    assert names(page) == ["both.jpg", "missed.jpg"]
    kind.select_option("")
    assert names(page) == ["added.jpg", "right.jpg"]  # predicted
