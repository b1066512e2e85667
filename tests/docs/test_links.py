"""Links between the files that are read on a code host: README, CONTRIBUTING, CHANGELOG and the pages of docs."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOP = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")
PAGES = [*(ROOT / name for name in TOP), *sorted((ROOT / "docs").rglob("[!_]*.md"))]
LINK = re.compile(r"\]\(([^)\s]+)\)")
OUTSIDE = ("http://", "https://")


def text_of(page: Path) -> str:
    """A page without its blocks of code."""
    return re.sub(r"^ *```.*?^ *```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)


def anchors_of(page: Path) -> Iterator[str]:
    """The anchors of a page's headings, as GitHub and the site make them."""
    for heading in re.findall(r"^#+ (.+)$", text_of(page), re.MULTILINE):
        yield re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_link_to_a_file_finds_it_and_its_heading(page: Path) -> None:
    for link in LINK.findall(text_of(page)):
        if link.startswith(OUTSIDE):
            continue
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        assert target.is_file(), f"{page.name} links to {link}"
        assert not anchor or anchor in anchors_of(target) or anchor in generated(target), f"{page.name} links to {link}"


def generated(page: Path) -> set[str]:
    """Anchors of headings that the site makes out of ``conf``: of a group's choices."""
    groups = re.findall(r"^```\{choices\} (\S+)$", page.read_text(), re.MULTILINE)
    return {f"{group}{file.stem}" for group in groups for file in (ROOT / "conf" / group).glob("*.yaml")}


def test_links_and_anchors_are_seen() -> None:
    links = [link for page in PAGES for link in LINK.findall(text_of(page))]
    assert len(links) > 60 and sum("#" in link for link in links) > 5
    assert "what-a-runs-folder-has" in set(anchors_of(ROOT / "docs" / "howto" / "runs.md"))


def test_readme_is_read_in_a_minute() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120


def test_every_page_is_reached_from_the_first_one() -> None:
    """By the tables of contents of the site."""
    reached: set[Path] = set()
    todo = [ROOT / "docs" / "index.md"]
    while todo:
        page = todo.pop()
        reached.add(page)
        for block in re.findall(r"^```\{toctree\}\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE):
            names = [line for line in block.splitlines() if line and not line.startswith(":")]
            todo += [page.parent / f"{name}.md" for name in names if (page.parent / f"{name}.md").exists()]
    assert set(PAGES[len(TOP) :]) == reached
