from collections.abc import Callable
from pathlib import Path

from report_runs import read

from retdm.report.figures.shown_groups import choose
from retdm.report.figures.style import styles_of

Make = Callable[..., Path]


def test_of_too_many_groups_the_best_of_each_method_is_shown_in_the_order_of_all(make: Make, tmp_path: Path) -> None:
    for metric in range(4):
        make("retdm", 0, weights={"metric": metric}, validation={"mAP": None if metric == 3 else 0.5 + 0.1 * metric})
    make("bce", 0, validation={"mAP": 0.1})
    groups = read(tmp_path / "runs")[1]
    assert [group.name for group in choose(groups, 4)] == ["scene · bce · net", "scene · retdm · net · metric=2"]
    assert choose(groups, 5) == groups


def test_a_method_has_one_colour_in_all_figures_and_its_groups_differ_in_marker() -> None:
    methods = ["bce", "l1", "retdm"]
    few = styles_of([("retdm", "retdm")], methods)
    many = styles_of([("bce", "bce"), ("retdm", "retdm · 1"), ("retdm", "retdm · 2")], methods)
    assert few["retdm"].colour == many["retdm · 1"].colour == many["retdm · 2"].colour != many["bce"].colour
    assert many["retdm · 1"].marker != many["retdm · 2"].marker
    assert few["retdm"].marker == many["retdm · 1"].marker
