import base64
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from retdm.report.groups import Group
from retdm.report.page import write_page
from retdm.report.read import Run
from retdm.report.tables import Table

NASTY = "<b>$x & \"y\"</b><script>alert('z')</script>"


def group(name: str = "scene · bce · net", folder: str = "outputs/scene/bce/net-0") -> Group:
    config = {
        "choices": {"data": "scene", "method": "bce", "backbone": "net"},
        "data": {"split": 0},
    }
    run = Run(Path(folder), config, {"seconds": 90.0, "per_label": {}}, None)
    return Group(name, [run], {"method.rule": NASTY})


def picture(path: Path, **words: str) -> Path:
    about = PngInfo()
    for key, text in words.items():
        about.add_text(key, text)
    Image.new("RGB", (1800, 600), "white").save(path, pnginfo=about)
    return path


class Read(HTMLParser):
    """Tags with their attributes, and all text."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(content)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture
def written(tmp_path: Path) -> str:
    tables = [
        Table("First", ["", NASTY], [[NASTY, ".9"], ["other", ".8"]], {(0, 1)}, [NASTY]),
        Table("Second", ["a"], []),
    ]
    figures = [
        picture(tmp_path / "one.png", Title=f"Curves of {NASTY}", Description=NASTY),
        picture(tmp_path / "two.png"),
    ]
    path = tmp_path / "deep" / "report.html"
    write_page(path, [group(NASTY)], tables, [NASTY], figures)
    assert [each.name for each in path.parent.iterdir()] == ["report.html"]
    content = path.read_text()
    assert content.startswith("<!doctype html>")
    return content


def test_what_comes_from_data_is_text_and_never_markup(written: str) -> None:
    page = Read(written)
    assert page.all("script") == []
    # In contents; heading, row and note of the table; caption; note; group, its setting.
    assert page.text.count(NASTY) == 8
    assert len(page.all("b")) == 1  # the best value alone


def test_the_best_value_is_bold(written: str) -> None:
    assert re.findall(r"<b>(.*?)</b>", written) == [".9"]


def test_every_figure_is_inside_the_page_with_its_title_as_alternative_text(written: str, tmp_path: Path) -> None:
    one, two = Read(written).all("img")
    assert (one["alt"], two["alt"]) == (f"Curves of {NASTY}", "two")
    assert (
        base64.b64decode(str(one["src"]).removeprefix("data:image/png;base64,")) == (tmp_path / "one.png").read_bytes()
    )
    assert (one["width"], one["height"]) == ("900", "300")


def test_the_contents_lead_to_every_table_figure_and_section(written: str) -> None:
    page = Read(written)
    targets = [str(link["href"]).removeprefix("#") for link in page.all("a")]
    places = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert targets == places == ["tables", "table-1", "table-2", "figures", "figure-1", "figure-2", "notes", "runs"]


def test_the_page_asks_for_nothing_outside_itself(written: str) -> None:
    page = Read(written)
    sources = [value for _, attributes in page.tags for key, value in attributes.items() if key in ("src", "href")]
    assert sources
    assert all(str(source).startswith(("data:", "#")) for source in sources)
    assert "url(" not in written and "@import" not in written


def test_what_stands_between_backticks_in_a_note_is_code(tmp_path: Path) -> None:
    write_page(tmp_path / "page.html", [], [Table("t", ["a"], [], notes=["run `<x>` again"])], ["`a=1`"], [])
    content = (tmp_path / "page.html").read_text()
    assert "<li>run <code>&lt;x&gt;</code> again</li>" in content and "<li><code>a=1</code></li>" in content


def test_a_page_of_nothing_but_notes_has_no_empty_sections(tmp_path: Path) -> None:
    write_page(tmp_path / "page.html", [], [], ["run x: failed"], [])
    page = Read((tmp_path / "page.html").read_text())
    assert [link["href"] for link in page.all("a")] == ["#notes"]
    assert "run x: failed" in page.text and "0 finished runs in 0 groups" in page.text


def test_a_folder_whose_name_is_not_utf8_does_not_stop_the_page(tmp_path: Path) -> None:
    write_page(tmp_path / "page.html", [group(folder="outputs/caf\udce9")], [], [], [])
    assert "outputs/caf\\udce9" in (tmp_path / "page.html").read_text()
