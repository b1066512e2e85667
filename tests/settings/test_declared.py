"""What classes declare: read from their source, it is what their constructors say."""

from typing import Annotated, Any, Literal

import pytest

from retdm.data.modules import BagData, ImageData
from retdm.ranges import AtLeast
from retdm.registry import CONF, files_of, resolve
from retdm.settings.compose import CLASSES
from retdm.settings.declared import is_ours, lineage, parameters_of

# By the program and not by YAML, of types of its own.
GIVEN = {"backbone", "optimizer", "source", "augmentation", "preparation"}


def targets() -> set[str]:
    """Every class that a YAML file names."""
    files = [
        found for group in CLASSES for file in (CONF / group).glob("*.yaml") for found in files_of(group, file.stem)
    ]
    lines = [line for file in files for line in file.read_text().splitlines()]
    return {line.split()[1] for line in lines if line.startswith("_target_:")}


@pytest.mark.parametrize("target", sorted(targets()))
def test_the_source_of_a_class_declares_what_its_constructor_does(target: str) -> None:
    read, there = parameters_of(target), parameters_of(resolve(target))
    assert read.keys() == there.keys()
    assert {name: kind for name, kind in read.items() if name not in GIVEN} == {
        name: kind for name, kind in there.items() if name not in GIVEN
    }


@pytest.mark.parametrize("module", [ImageData, BagData])
def test_so_does_the_source_of_a_data_module(module: type) -> None:
    read, there = parameters_of(f"{module.__module__}.{module.__name__}"), parameters_of(module)
    assert {name for name in there if read[name] != there[name]} <= GIVEN


def test_lineage_ends_where_the_package_does() -> None:
    names = [each.target for each in lineage("retdm.methods.networks.retdm_oneway.Missing")]
    assert names == [] and not is_ours("torch.nn.Linear") and not is_ours("tests.Missing") and not is_ours(None)
    bases = [each.target for each in lineage("retdm.data.user.csv_labels.CsvLabels")]
    assert bases[0].endswith("CsvLabels") and bases[-1] == "retdm.data.source.Source"


def test_a_class_of_the_users_own_is_read_where_it_stands() -> None:
    class Own:
        def __init__(self, k: Annotated[int, AtLeast(1)], kind: Literal["a", "b"] = "a", *, untyped=None) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
            pass

    class Derived(Own):
        def __init__(self, more: float, **rest: Any) -> None:
            pass

    own = {"k": Annotated[int, AtLeast(1)], "kind": Literal["a", "b"], "untyped": Any}
    assert parameters_of(Own) == own and parameters_of(Derived) == {"more": float, **own}
