import math
from pathlib import Path

import numpy as np
import pytest
from report_runs import read, write_run
from scipy import integrate, special, stats

from retdm.errors import UserError
from retdm.report.uncertainty.significance import compare, corrected_t_test, significance_tables


def reference(differences: list[float], n_test: float, n_train: float) -> tuple[float, float, float]:
    """(standard error, t, two-sided p) by plain loops and the integral of Student's density."""
    n = len(differences)
    mean = sum(differences) / n
    variance = sum((d - mean) ** 2 for d in differences) / (n - 1)
    error = math.sqrt((1 / n + n_test / n_train) * variance)
    t, free = mean / error, n - 1
    scale = special.gamma((free + 1) / 2) / (math.sqrt(free * math.pi) * special.gamma(free / 2))
    inside, _ = integrate.quad(lambda x: scale * (1 + x * x / free) ** (-(free + 1) / 2), -abs(t), abs(t))
    return error, t, 1 - inside


@pytest.mark.parametrize("n", [2, 3, 10, 30])
def test_equals_the_definition(n: int) -> None:
    differences = np.random.default_rng(n).normal(0.01, 0.02, n).tolist()
    found = corrected_t_test(differences, 400, 1440)
    assert found is not None
    assert (found.error, found.t, found.p) == pytest.approx(reference(differences, 400, 1440), rel=1e-6)
    assert (found.mean, found.n) == (pytest.approx(np.mean(differences)), n)


def test_without_shared_images_it_is_the_plain_paired_test() -> None:
    differences = [0.01, 0.03, -0.01, 0.02]
    found, plain = corrected_t_test(differences, 0, 100), stats.ttest_1samp(differences, 0)
    assert found is not None
    assert (found.t, found.p) == pytest.approx((plain.statistic, plain.pvalue))


def test_the_correction_makes_a_difference_less_certain() -> None:
    differences = [0.01, 0.03, 0.01, 0.035]
    plain, corrected = corrected_t_test(differences, 0, 100), corrected_t_test(differences, 20, 80)
    assert plain is not None and corrected is not None and plain.p is not None and corrected.p is not None
    assert plain.p < 0.05 < corrected.p
    assert plain.t is not None and corrected.t == pytest.approx(plain.t * math.sqrt((1 / 4) / (1 / 4 + 1 / 4)))


def test_exchanging_the_methods_changes_the_sign_alone() -> None:
    differences = np.array([0.01, -0.04, 0.02])
    one, other = corrected_t_test(differences, 1, 4), corrected_t_test(-differences, 1, 4)
    assert one is not None and other is not None and one.t is not None
    assert (other.mean, other.t, other.p) == (pytest.approx(-one.mean), pytest.approx(-one.t), pytest.approx(one.p))


def test_one_split_or_an_undefined_difference_gives_no_test() -> None:
    assert corrected_t_test([], 1, 4) is None
    assert corrected_t_test([0.1], 1, 4) is None
    assert corrected_t_test([0.1, math.nan, 0.2], 1, 4) is None


@pytest.mark.parametrize("differences", [[0.0, 0.0], [0.1, 0.1, 0.1], [0.3 - 0.2, 0.2 - 0.1]])
def test_differences_that_do_not_vary_have_a_mean_and_no_probability(differences: list[float]) -> None:
    found = corrected_t_test(differences, 1, 4)
    assert found is not None
    assert (found.t, found.p, found.mean) == (None, None, pytest.approx(differences[0]))


def make(folder: Path, method: str, values: dict[int, float | None], **more: object) -> None:
    for split, value in values.items():
        write_run(folder / f"{method}{split}", split, method=method, test={"mAP": value}, **more)  # type: ignore[arg-type]


def test_groups_are_paired_by_split_and_with_the_sizes_of_the_runs(tmp_path: Path) -> None:
    make(tmp_path, "bce", {0: 0.80, 1: 0.70, 5: 0.99}, sizes=(60, 20, 20))
    make(tmp_path, "retdm", {1: 0.72, 0: 0.85, 7: 0.01}, sizes=(60, 20, 20))
    _, (bce, retdm) = read(tmp_path)
    found, expected = compare(retdm, bce, "mAP"), corrected_t_test([0.05, 0.02], 20, 60)
    assert found is not None and expected is not None
    assert (found.mean, found.t, found.p, found.n) == pytest.approx((expected.mean, expected.t, expected.p, 2))


def test_a_pair_with_fewer_than_two_shared_splits_or_an_undefined_value_is_not_compared(tmp_path: Path) -> None:
    make(tmp_path, "bce", {0: 0.8, 1: 0.7, 2: None})
    make(tmp_path, "retdm", {1: 0.7, 2: 0.6})
    make(tmp_path, "zlpr", {1: 0.7, 3: 0.6})
    _, (bce, retdm, zlpr) = read(tmp_path)
    assert compare(bce, zlpr, "mAP") is None
    assert compare(bce, retdm, "mAP") is None
    assert compare(bce, retdm, "no_such_criterion") is None
    assert compare(bce, retdm, "O-F1") is not None


def test_the_table_has_every_pair_its_interval_and_bold_what_is_below_a_twentieth(tmp_path: Path) -> None:
    make(tmp_path, "bce", {0: 0.50, 1: 0.502, 2: 0.499})
    make(tmp_path, "retdm", {0: 0.60, 1: 0.60, 2: 0.60})
    (table,) = significance_tables(read(tmp_path)[1], ["mAP", "O-F1"])
    first, second = table.rows
    expected = corrected_t_test([-0.1, -0.098, -0.101], 20, 72)
    assert expected is not None
    reach = stats.t.ppf(0.975, 2) * expected.error
    assert first[:3] == ["bce · vgg16 − retdm · vgg16", "mAP ↑", "-.0997"]
    assert first[3] == f"{expected.mean - reach:.3f} … {expected.mean + reach:.3f}".replace("-0.", "-.")
    assert first[5:] == [f"{expected.p:.3f}"[1:], "3"]
    assert second == ["bce · vgg16 − retdm · vgg16", "O-F1 ↑", ".0000", "", "", "", "3"]
    assert table.bold == {(0, 5)}
    assert "Nadeau and Bengio" in table.notes[0] and "n_test/n_train" in table.notes[0]


def test_groups_of_other_data_are_never_compared(tmp_path: Path) -> None:
    make(tmp_path / "a", "bce", {0: 0.5, 1: 0.6})
    make(tmp_path / "b", "retdm", {0: 0.5, 1: 0.6}, data="msrcv2")
    make(tmp_path / "c", "zlpr", {0: 0.5, 1: 0.6}, train_size=10)
    assert significance_tables(read(tmp_path)[1]) == []


def test_of_many_groups_each_is_compared_with_the_best_on_validation(tmp_path: Path) -> None:
    for i, method in enumerate("abcde"):
        good_on_validation = {"mAP": 0.9 if method == "d" else 0.5 + i / 100}
        make(tmp_path, method, {0: 0.5, 1: 0.6 + i / 10}, validation=good_on_validation)
    _, groups = read(tmp_path)
    (table,) = significance_tables(groups, ["mAP"])
    assert [row[0][0] + row[0].split("− ")[1][0] for row in table.rows] == ["ad", "bd", "cd", "ed"]
    (table,) = significance_tables(groups[:4], ["mAP"])
    assert len(table.rows) == 6


def test_a_named_baseline_is_what_all_are_compared_with(tmp_path: Path) -> None:
    for method in "abc":
        make(tmp_path, method, {0: 0.5, 1: 0.6})
    _, groups = read(tmp_path)
    (table,) = significance_tables(groups, ["mAP"], baseline="b")
    assert [row[0] for row in table.rows] == ["a · vgg16 − b · vgg16", "c · vgg16 − b · vgg16"]
    with pytest.raises(UserError, match="baseline=bc is none of these runs"):
        significance_tables(groups, ["mAP"], baseline="bc")
