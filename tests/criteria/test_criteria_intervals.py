"""Bootstrap intervals against plain loops over resampled images, and against the truth of made populations."""

import numpy as np
import pytest
from awkward import NAMES, Case

from retdm.criteria import (
    CRITERIA,
    bootstrap_intervals,
    calibration,
    evaluate,
    paired_difference,
    resample,
    resampling,
)

COLUMNS = ("P", "R", "F1", "AP")


def plain_interval(
    value: float | None, values: list[float | None], level: float, greatest: float = 1
) -> tuple[float, float] | None:
    """Percentiles of the defined values by sorting, moved by twice the bias; None where most are undefined."""
    defined = sorted(each for each in values if each is not None)
    if value is None or 2 * len(defined) < len(values):
        return None
    bias = sum(defined) / len(defined) - value
    found = []
    for share in ((1 - level) / 2, (1 + level) / 2):
        place = share * (len(defined) - 1)
        low = int(place)
        high = min(low + 1, len(defined) - 1)
        percentile = defined[low] + (place - low) * (defined[high] - defined[low])
        found.append(min(max(percentile - 2 * bias, 0), greatest))
    return found[0], found[1]


def error_in_fixed_bins(case: Case, images: list[int]) -> float | None:
    """The calibration error of a resample in the bins of all images, in loops."""
    errors = []
    for j in range(case.scores.shape[1]):
        if known := [i for i in images if case.known[i, j]]:
            shares = calibration.in_bins(case.scores[:, j], case.known[:, j])
            gaps = [sum(shares[i, b] * (case.scores[i, j] - case.target[i, j]) for i in known) for b in range(10)]
            errors.append(sum(map(abs, gaps)) / len(known))
    return sum(errors) / len(errors) if errors else None


def resampled(case: Case, names: list[str], count: int, seed: int) -> list[dict[str, dict[str, float | None]]]:
    """Everything that `evaluate` says of each resample, its images written out one by one."""
    found = []
    for weights in resampling._resamples(len(case.scores), count, seed):
        for row in weights:
            images = [i for i, times in enumerate(row) for _ in range(int(times))]
            assert len(images) == len(case.scores)
            scores, target, known, predicted = (part[images] for part in case)
            report = evaluate(scores, target, known, names, predicted)
            report["criteria"]["calibration_error"] = error_in_fixed_bins(case, images)
            labels = {f"{key} {name}": report["per_label"][name][key] for key in COLUMNS for name in names}
            found.append({"criteria": report["criteria"], "labels": labels})
    return found


def test_equals_the_criteria_of_resamples_written_out(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = resampled(case, NAMES, 30, 3)
    whole = evaluate(*case[:3], NAMES, case.predicted)
    for at_once in (40 * 7, 10**6):  # in parts, and all
        monkeypatch.setattr(resampling, "AT_ONCE", at_once)
        ours = bootstrap_intervals(*case, level=0.8, resamples=30, seed=3)
        for name in CRITERIA:
            greatest = {"coverage": len(NAMES) - 1, "log_loss": -np.log(1e-7)}.get(name, 1)
            values = [each["criteria"][name] for each in theirs]
            expected = plain_interval(whole["criteria"][name], values, 0.8, greatest)
            assert ours.criteria[name] == (None if expected is None else pytest.approx(expected, abs=1e-9)), name
        for key in COLUMNS:
            for j, label in enumerate(NAMES):
                values = [each["labels"][f"{key} {label}"] for each in theirs]
                expected = plain_interval(whole["per_label"][label][key], values, 0.8)
                low_high = (np.nan, np.nan) if expected is None else expected
                assert ours.per_label[key][j] == pytest.approx(low_high, abs=1e-9, nan_ok=True), (key, label)


def test_a_label_without_positives_has_no_interval_and_the_means_have_one(case: Case) -> None:
    found = bootstrap_intervals(*case, resamples=50)
    assert all(np.isnan(found.per_label[key][2]).all() for key in COLUMNS)
    assert all(found.criteria[name] is not None for name in CRITERIA)


def test_what_most_resamples_leave_undefined_has_no_interval() -> None:
    # One positive among 60 images: in 37 of 100 resamples it is missing, and in none where it is unknown.
    scores = np.linspace(0.1, 0.9, 60)[:, None]
    target = np.zeros((60, 1), int)
    target[30] = 1
    known = np.ones((60, 1), bool)
    found = bootstrap_intervals(scores, target, known, scores >= 0.5)
    assert not np.isnan(found.per_label["AP"]).any()
    assert found.criteria["ranking_loss"] is None  # of a single label no image has a pair
    known[30] = False
    found = bootstrap_intervals(scores, target, known, scores >= 0.5)
    assert np.isnan(found.per_label["AP"]).all() and found.criteria["mAP"] is None
    assert found.criteria["hamming_loss"] is not None


def test_no_images_have_no_intervals() -> None:
    empty = np.zeros((0, 3))
    found = bootstrap_intervals(empty, empty, empty.astype(bool), empty.astype(bool))
    assert found.criteria == dict.fromkeys(CRITERIA)
    assert all(np.isnan(found.per_label[key]).all() and len(found.per_label[key]) == 3 for key in COLUMNS)


def test_is_a_function_of_its_arguments(plain: Case) -> None:
    first, again, other = (bootstrap_intervals(*plain, resamples=40, seed=seed) for seed in (0, 0, 1))
    assert first.criteria == again.criteria != other.criteria
    assert np.array_equal(first.per_label["AP"], again.per_label["AP"])


def test_all_right_is_a_point_and_a_higher_level_is_wider(plain: Case) -> None:
    sure = bootstrap_intervals(plain.target.astype(float), plain.target, plain.known, plain.target > 0, resamples=40)
    assert sure.criteria["mAP"] == sure.criteria["O-F1"] == (1, 1)
    assert sure.criteria["hamming_loss"] == (0, 0)
    narrow, wide = (bootstrap_intervals(*plain, level=level, resamples=400).criteria for level in (0.5, 0.99))
    for name in CRITERIA:
        (low, high), (lower, higher) = narrow[name] or (0, 0), wide[name] or (0, 0)
        assert lower < low < high < higher, name


@pytest.mark.parametrize("wrong", [{"level": 0.0}, {"level": 1.0}, {"resamples": 0}])
def test_impossible_settings_are_refused(plain: Case, wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        bootstrap_intervals(*plain, **wrong)  # type: ignore[arg-type]


def drawn(g: np.random.Generator, n: int, frequencies: tuple[float, ...] = (0.5, 0.3, 0.2)) -> Case:
    """Images of a population of labels of some frequencies, whose scores tell something of them."""
    target = (g.random((n, len(frequencies))) < frequencies).astype(int)
    scores = 1 / (1 + np.exp(-(2.0 * target - 1 + g.normal(size=target.shape))))
    return Case(scores, target, np.ones(target.shape, bool), scores >= 0.5)


def test_95_percent_intervals_have_the_true_value_in_them_about_so_often() -> None:
    g = np.random.default_rng(0)
    names = ["a", "b", "c"]
    truth = evaluate(*(population := drawn(g, 200_000))[:3], names, population.predicted)
    trials, n = 200, 250
    criteria = ("C-P", "C-R", "O-F1", "example_F1", "mAP", "hamming_loss", "ranking_loss", "coverage", "one_error")
    inside = dict.fromkeys([*criteria, "AP c"], 0)
    for _ in range(trials):
        found = bootstrap_intervals(*drawn(g, n), resamples=100)
        for name in criteria:
            low, high = found.criteria[name] or (np.nan, np.nan)
            value = truth["criteria"][name]
            assert value is not None
            inside[name] += bool(low <= value <= high)
        low, high = found.per_label["AP"][2]
        inside["AP c"] += bool(low <= float(truth["per_label"]["c"]["AP"] or 0) <= high)
    # Three standard errors of 200 trials are 4.6 points; 100 resamples and the percentiles take one or two more.
    assert all(0.88 <= count / trials <= 0.99 for count in inside.values()), inside


def test_the_interval_of_many_rare_labels_is_where_the_true_value_is() -> None:
    """The mean of 40 average precisions of 15 positives each is biased as much as it varies.

    Percentiles that are not moved have the true value in them in half of the trials, these in 88 of 100; .7 is
    more than three standard errors below that, and two and a half above a half.
    """
    g = np.random.default_rng(1)
    truth = evaluate(*(population := drawn(g, 100_000, (0.03,)))[:3], ["a"], population.predicted)["criteria"]["mAP"]
    trials, inside = 40, 0
    assert truth is not None
    for _ in range(trials):
        low, high = bootstrap_intervals(*drawn(g, 500, (0.03,) * 40), resamples=100).criteria["mAP"] or (np.nan, np.nan)
        inside += low <= truth <= high
    assert inside / trials >= 0.7


def plain_difference(
    first: Case, second: Case, name: str, resamples: list[list[dict[str, dict[str, float | None]]]]
) -> tuple[float, float, float, float]:
    """Value, 80 % interval and p of a criterion's difference, over the resamples of both, written out one by one."""
    pairs = [(a["criteria"][name], b["criteria"][name]) for a, b in zip(*resamples, strict=True)]
    differences = sorted(a - b for a, b in pairs if a is not None and b is not None)
    whole = [evaluate(*each[:3], NAMES, each.predicted)["criteria"][name] for each in (first, second)]
    assert whole[0] is not None and whole[1] is not None
    value = whole[0] - whole[1]
    moved = [each - 2 * (sum(differences) / len(differences) - value) for each in differences]
    ends = [float(np.quantile(moved, share)) for share in (0.1, 0.9)]
    below, above = sum(each <= 0 for each in moved), sum(each >= 0 for each in moved)
    return value, *ends, min(1.0, 2 * (1 + min(below, above)) / (1 + len(moved)))


def test_a_paired_difference_draws_the_same_images_for_both(case: Case) -> None:
    other = case._replace(scores=case.scores[:, ::-1], predicted=case.scores[:, ::-1] >= 0.6)
    resamples = [resampled(each, NAMES, 25, 4) for each in (case, other)]
    both = [resample(*each, resamples=25, seed=4) for each in (case, other)]
    for name in ("mAP", "O-F1", "ranking_loss", "coverage"):
        found = paired_difference(both[0].criteria[name], both[1].criteria[name], level=0.8)
        assert found is not None
        assert (found.value, *found.interval, found.p) == pytest.approx(
            plain_difference(case, other, name, resamples), abs=1e-9
        ), name


def test_no_difference_is_certain_and_a_great_one_too(plain: Case) -> None:
    same, right = (
        resample(*plain, resamples=99),
        resample(plain.target * 1.0, *plain[1:3], plain.target > 0, resamples=99),
    )
    none, great = (paired_difference(each.criteria["mAP"], same.criteria["mAP"]) for each in (same, right))
    assert none == (0, (0, 0), 1)
    assert great is not None and great.interval.low > 0 and great.p == pytest.approx(2 / 100)
    assert paired_difference(np.array([0.5, np.nan, np.nan]), np.array([0.5, 0.1, 0.1])) is None


def test_two_equally_good_scores_differ_by_p_below_a_tenth_in_a_tenth_of_all_trials() -> None:
    """The interval of the difference has 0 in it as often as it should, and is narrower than the two intervals."""
    g = np.random.default_rng(3)
    trials, below, inside, narrower = 150, 0, 0, 0
    for _ in range(trials):
        first = drawn(g, 150)
        noise = np.exp(0.2 * g.normal(size=first.scores.shape))
        odds = [first.scores / (1 - first.scores) * each for each in (noise, 1 / noise)]  # of one distribution
        scores = [each / (1 + each) for each in odds]
        one, other = (resample(s, *first[1:3], s >= 0.5, resamples=100).criteria["mAP"] for s in scores)
        found = paired_difference(one, other, level=0.9)
        assert found is not None
        below += found.p < 0.1
        inside += found.interval.low <= 0 <= found.interval.high
        narrower += np.std(one - other) < np.std(one)
    # Three standard errors of 150 trials are 7.3 points.
    assert 0.03 <= below / trials <= 0.18 and 0.82 <= inside / trials <= 0.98
    assert narrower > 0.9 * trials
