"""The house's plan: which room may know which. A new room gets its line here."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "retdm"
GROUND = {"bags", "batch", "errors", "files", "ranges", "registry", "stop"}  # single files that know no room
RESULTS = {"criteria", "decisions"}
ROOMS: dict[str, set[str]] = {
    "display": set(),
    "losses": {"ranges"},
    "criteria": {"errors", "registry"},
    "decisions": {"criteria", "errors", "registry"},
    "backbones": {"errors", "files", "ranges", "registry"},
    "data": {"display", *GROUND},
    "methods": {"backbones", "losses", *GROUND},
    "training": {"methods", "backbones", "losses", *RESULTS, "data", "display", *GROUND},
    "settings": {"training", "methods", "backbones", *RESULTS, "data", "display", *GROUND},
    "runs": {"settings", "training", "methods", "backbones", "losses", *RESULTS, "data", "display", *GROUND},
    "report": {"runs", "settings", "training", *RESULTS, "display", *GROUND},
    "review": {"runs", "settings", "methods", "data", "display", *GROUND},
    "commands": {"review", "report", "runs", "settings", "training", "methods", *RESULTS, "data", "display", *GROUND},
    "api": {"commands", "report", "runs", "settings", *RESULTS, "data", "display", *GROUND},
}


def imported(file: Path) -> Iterator[tuple[str, int]]:
    """(module, line) of every import in a file, those inside functions too."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno}: relative import"
            # `from retdm import x` may mean the room x.
            names = [f"retdm.{alias.name}" for alias in node.names] if node.module == "retdm" else [str(node.module)]
            yield from ((name, node.lineno) for name in names)


def module_of(file: Path) -> str:
    return ".".join(("retdm", *file.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")


def modules_known_by(file: Path, modules: set[str]) -> set[str]:
    """Files of the package that a file imports, inside functions and for type checkers alone too."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom):
            inside = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= inside & modules or {str(node.module)}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found & modules - {module_of(file)}


def rooms_known_by(file: Path) -> Iterator[tuple[str, int]]:
    for name, line in imported(file):
        words = name.split(".")
        if words[0] == "retdm" and len(words) > 1 and ((PACKAGE / words[1]).is_dir() or words[1] in GROUND):
            yield words[1], line


def test_every_room_has_its_line_in_the_plan() -> None:
    found = {path.name for path in PACKAGE.iterdir() if path.is_dir() and list(path.glob("*.py"))}
    assert found == set(ROOMS)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_what_the_plan_allows(room: str) -> None:
    wrong = [
        f"{file.relative_to(PACKAGE)}:{line} imports retdm.{known}"
        for file in sorted((PACKAGE / room).rglob("*.py"))
        for known, line in rooms_known_by(file)
        if known != room and known not in ROOMS[room]
    ]
    assert not wrong


def test_the_plan_has_no_circle() -> None:
    left = {room: allowed & set(ROOMS) for room, allowed in ROOMS.items()}
    while left:
        free = {room for room, allowed in left.items() if not allowed}
        assert free, f"these know each other: {sorted(left)}"
        left = {room: allowed - free for room, allowed in left.items() if room not in free}


def test_no_two_files_import_each_other_by_whatever_way_round() -> None:
    # The package itself imports what it names when that is asked for (tests/api/test_light_import.py).
    files = {module_of(file): file for file in PACKAGE.rglob("*.py") if file != PACKAGE / "__init__.py"}
    left = {name: modules_known_by(file, set(files)) for name, file in files.items()}
    assert len(left["retdm.commands.train"]) > 10
    while left:
        free = {name for name, known in left.items() if not known & left.keys()}
        assert free, f"each of these imports, over others, itself: {sorted(left)}"
        left = {name: known for name, known in left.items() if name not in free}


def test_single_files_know_no_room_but_the_package_itself_and_its_commands() -> None:
    for name in GROUND:
        assert {known for known, _ in rooms_known_by(PACKAGE / f"{name}.py")} <= GROUND


def test_the_walk_sees_an_import_where_there_is_one() -> None:
    assert "training" in {room for room, _ in rooms_known_by(PACKAGE / "runs" / "train.py")}
    assert "runs" in {room for room, _ in rooms_known_by(PACKAGE / "__init__.py")}


def test_losses_and_criteria_bring_no_lightning_and_no_configuration() -> None:
    heavy = {"pytorch_lightning", "hydra", "omegaconf"}
    for room in ("losses", "criteria", "decisions", "backbones"):
        for file in (PACKAGE / room).rglob("*.py"):
            assert not heavy & {name.split(".")[0] for name, _ in imported(file)}, file
