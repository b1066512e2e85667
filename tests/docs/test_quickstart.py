"""The notebook of the docs runs as it is printed."""

from pathlib import Path

import nbformat
import pytest
from notebooks import QUICKSTART, executed


def test_the_notebook_is_stored_with_what_it_gave() -> None:
    cells = [cell for cell in nbformat.read(QUICKSTART, as_version=4).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    for cell in cells:
        assert cell.outputs
        assert not any(each.output_type == "error" or each.get("name") == "stderr" for each in cell.outputs)


@pytest.mark.slow
def test_the_notebook_gives_what_is_stored(tmp_path: Path) -> None:
    stored, found = nbformat.read(QUICKSTART, as_version=4), executed(QUICKSTART, tmp_path)
    assert (tmp_path / "gallery" / "gallery.html").is_file()
    assert (tmp_path / "exported" / "model.onnx").is_file()
    for old, new in zip(stored.cells, found.cells, strict=True):
        if new.cell_type == "code":  # the numbers differ with the processor
            assert [(each.output_type, sorted(each.get("data", ()))) for each in new.outputs] == [
                (each.output_type, sorted(each.get("data", ()))) for each in old.outputs
            ], new.source
