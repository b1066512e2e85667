"""A paired test of whether two methods differ by more than the splits do."""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike

from retdm.errors import UserError
from retdm.registry import nearest
from retdm.report.choose import ranked
from retdm.report.groups import Group, mean_std
from retdm.report.results import by_task, heading, own_name
from retdm.report.tables import Table, number

CRITERIA = ("mAP", "O-F1", "average_precision")
MOST_GROUPS = 4  # of which every pair is compared; of more each with one


@dataclass(frozen=True)
class Comparison:
    """First minus second over n splits.

    Args:
        mean: mean difference.
        error: its standard error, corrected for splits that share images.
        t: ``mean / error``; None where the differences do not vary.
        p: two-sided probability of such a t, or one further from 0, where the two are equally good; None without t.
        n: splits.
    """

    mean: float
    error: float
    t: float | None
    p: float | None
    n: int


def corrected_t_test(differences: ArrayLike, n_test: float, n_train: float) -> Comparison | None:
    """The corrected resampled t-test of Nadeau and Bengio (Machine Learning 52, 2003), paired.

    t = mean(d) / sqrt((1/n + n_test/n_train) var(d)) with n - 1 degrees of freedom. Random splits of one data set
    share images, so results on them are not independent; the plain paired t-test, which takes 1/n alone, finds
    differences where there are none.

    Args:
        differences: (n,) of a criterion between two methods, one a split.
        n_test: images that a split tests on.
        n_train: images that it trains on.

    Returns:
        None for fewer than two splits, or where a difference is not defined.
    """
    d = np.asarray(differences, np.float64)
    if len(d) < 2 or np.isnan(d).any():
        return None
    mean, deviation = mean_std(d)
    error = deviation * math.sqrt(1 / len(d) + n_test / n_train)
    if error <= 1e-12:  # rounding of equal differences
        return Comparison(mean, 0.0, None, None, len(d))
    t = mean / error
    from scipy import stats  # takes more than a second

    return Comparison(mean, error, t, float(2 * stats.t.sf(abs(t), len(d) - 1)), len(d))


def compare(first: Group, second: Group, criterion: str) -> Comparison | None:
    """The test of two groups on the splits that both have; None where there are fewer than two.

    Folds of a split are tested on the same images, so their mean is one difference.
    """
    pairs = sorted(set(first.split_folds) & set(second.split_folds))
    values = [
        dict(zip(group.split_folds, group.criteria().get(criterion, np.full(len(group.runs), np.nan)), strict=True))
        for group in (first, second)
    ]
    by_split: dict[int, list[float]] = defaultdict(list)
    for pair in pairs:
        by_split[pair[0]].append(values[0][pair] - values[1][pair])
    sizes = [run.sizes for group in (first, second) for run in group.runs if run.split_fold in pairs]
    n_test, n_train = (float(np.mean([size[part] for size in sizes])) if sizes else 1.0 for part in ("test", "train"))
    return corrected_t_test([float(np.mean(differences)) for differences in by_split.values()], n_test, n_train)


def significance_tables(
    groups: Sequence[Group], criteria: Sequence[str] = CRITERIA, baseline: str | None = None
) -> list[Table]:
    """A table for each task in which two groups share two splits or more.

    Args:
        groups: of one task every pair of up to four is compared, of more each with the baseline.
        criteria: what is compared.
        baseline: a method or a group's name, which the others are compared with, however many they are; None: of more
            than four the one that is best on validation.

    Raises:
        UserError: no group is the baseline.
    """
    if baseline is not None and not any(_is(group, baseline) for group in groups):
        names = dict.fromkeys(name for group in groups for name in (group.method, own_name(group)))
        raise UserError(f"baseline={baseline} is none of these runs", nearest(baseline, names))
    tables = []
    for title, members in by_task(groups).items():
        rows: list[list[str]] = []
        bold: set[tuple[int, int]] = set()
        for criterion in criteria:
            for first, second in pairs_of(members, criterion, baseline):
                found = compare(first, second, criterion)
                if found is None:
                    continue
                if found.p is not None and found.p < 0.05:
                    bold.add((len(rows), 5))
                pair = f"{own_name(first)} − {own_name(second)}"
                rows.append([pair, heading(criterion), *_cells(found)])
        if rows:
            columns = ["difference", "criterion", "mean", "95 % interval", "t", "p", "splits"]
            tables.append(
                Table(f"{title}: are the differences more than chance?", columns, rows, bold, _notes(len(rows)))
            )
    return tables


def _notes(tests: int) -> list[str]:
    lines = [
        "Corrected resampled t-test (Nadeau and Bengio, 2003) on paired differences between test results, one a split: "
        "t = mean(d) / sqrt((1/n + n_test/n_train) var(d)), n − 1 degrees of freedom; bold: p < .05."
    ]
    if tests > 1:
        lines.append(
            f"Each p is for its own comparison: were all methods equal, {tests / 20:.1f} of {tests} would be below .05."
        )
    return lines


def pairs_of(groups: Sequence[Group], criterion: str, baseline: str | None) -> list[tuple[Group, Group]]:
    """The groups of one task that are compared, see :func:`significance_tables`."""
    named = [group for group in groups if baseline is not None and _is(group, baseline)]
    if not named and len(groups) <= MOST_GROUPS:
        return list(combinations(groups, 2))
    if not named:
        named = ranked(groups, criterion)[:1]
    return [(group, other) for other in named for group in groups if group not in named]


def _is(group: Group, name: str) -> bool:
    return name in (group.method, group.name, own_name(group))


def _cells(found: Comparison) -> list[str]:
    if found.t is None:
        return [number(found.mean, 4), "", "", "", str(found.n)]
    from scipy import stats

    reach = float(stats.t.ppf(0.975, found.n - 1)) * found.error
    interval = f"{number(found.mean - reach)} … {number(found.mean + reach)}"
    return [number(found.mean, 4), interval, f"{found.t:.2f}", number(found.p), str(found.n)]
