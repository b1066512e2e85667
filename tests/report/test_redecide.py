"""What other rules would have given a run, from its folder."""

from pathlib import Path

import numpy as np
import pytest
from report_runs import LABELS, write_run

from retdm.criteria import evaluate
from retdm.criteria.counts import count
from retdm.decisions.rules import rule_of
from retdm.errors import UserError
from retdm.report.read import Run, find_runs
from retdm.report.redecide import redecided
from retdm.runs.folder.paths import RunFolder
from retdm.runs.folder.rows import VALIDATION, ChosenOn, write_chosen_on

N = 40


def drawn(seed: int) -> dict[str, np.ndarray]:
    g = np.random.default_rng(seed)
    target = (g.random((N, 3)) < [0.5, 0.4, 0.1]).astype(np.float32)
    scores = np.clip(g.normal(0.3 + 0.3 * target, 0.2), 0, 1).astype(np.float32)
    return {"index": np.arange(N), "scores": scores, "target": target, "known": g.random((N, 3)) < 0.9}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    write_run(
        tmp_path / "run", sizes=(72, N, N), settings={"decide": "half"}, arrays=drawn(0), metrics={"threshold": 0.4}
    )
    (found,) = find_runs([tmp_path])
    write_chosen_on(RunFolder(found.folder), ChosenOn(drawn(1), VALIDATION), LABELS)
    return found


def test_the_runs_own_rule_comes_first_and_each_rule_chooses_on_what_the_run_keeps(run: Run) -> None:
    names = ["precision:.8", "half", "per_label_f1", "recall:.9", "expected_f1", "precision:0.80"]
    found, chosen_on = redecided(run, names)
    assert [row.rule.name for row in found] == ["half", "precision:0.8", "per_label_f1", "recall:0.9", "expected_f1"]
    assert chosen_on is not None and chosen_on.source == VALIDATION
    kept, rows = drawn(1), drawn(0)
    for row in found[1:]:
        threshold = row.rule.choose(kept["scores"], kept["target"], kept["known"])
        predicted = row.rule.apply(rows["scores"], threshold)
        assert row.threshold == threshold
        assert row.criteria == evaluate(rows["scores"], rows["target"], rows["known"], LABELS, predicted)["criteria"]


@pytest.mark.parametrize("name", ["precision:0.8", "recall:0.9"])
def test_a_floor_says_how_many_labels_meet_it_where_it_was_chosen_and_on_test(run: Run, name: str) -> None:
    found, _ = redecided(run, [name])
    row, rule = found[1], rule_of(name)
    for reached, rows in ((row.chosen, drawn(1)), (row.test, drawn(0))):
        predicted = rule.apply(rows["scores"], row.threshold)
        tally = count(predicted, rows["target"], rows["known"])
        hits, of = tally.labels.hits, tally.labels.predicted if "precision" in name else tally.labels.relevant
        there = tally.labels.relevant > 0
        values = [hit / all_ for hit, all_ in zip(hits[there], of[there], strict=True) if all_]
        assert reached is not None
        assert (reached.labels, reached.meet) == (len(values), sum(v >= float(name.split(":")[1]) for v in values))
        assert reached.overall == pytest.approx(hits.sum() / of.sum())
    assert row.chosen is not None and row.chosen.meet >= 2  # two labels have ten positives: they meet it there
    assert set(row.content()["floor"]) == {"criterion", "wished", "validation", "test"}


def test_a_run_of_an_older_version_compares_rules_that_choose_nothing_and_says_what_others_miss(run: Run) -> None:
    RunFolder(run.folder).validation.unlink()
    found, chosen_on = redecided(run, ["top1", "expected_f1"])
    assert chosen_on is None and len(found) == 3
    with pytest.raises(UserError, match="retdm test run="):
        redecided(run, ["top1", "per_label_f1"])


def test_the_methods_own_thresholds_are_in_its_checkpoint(run: Run) -> None:
    with pytest.raises(UserError, match="in the checkpoint"):
        redecided(run, ["train_threshold"])
