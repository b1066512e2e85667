from typing import Any, get_args

import pytest
import torch

from retdm.methods.stage import RuleName, Stage
from retdm.training.schedule_rules import RULES, StageRule, rule_of


def rule(name: str, **settings: Any) -> StageRule:
    given = {"lr": 0.1, "max_epochs": 20, "patience": 2, **settings}
    return rule_of(Stage("joint", ("encoder",), ("classification",), rule=name, **given))  # type: ignore[arg-type]


def rates(of: StageRule, losses: list[float], steps: int = 20) -> list[float]:
    """The rate of each epoch of one step, until the losses or the stage end."""
    found = []
    for step, loss in enumerate(losses):
        found.append(of.lr(step, steps))
        of.end_epoch(loss)
        if of.is_over:
            break
    return found


def test_every_name_that_a_stage_takes_has_its_rule() -> None:
    assert tuple(RULES) == get_args(RuleName)


@pytest.mark.parametrize("steps", [4, 5, 10, 33, 200])
@pytest.mark.parametrize("warmup", [None, 0.3, 0.5])
def test_one_cycle_is_pytorchs(steps: int, warmup: float | None) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 0.2, total_steps=steps, pct_start=warmup or 0.3, cycle_momentum=False
    )
    expected = []
    for step in range(steps):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if step + 1 < steps:
            scheduler.step()
    found = [rule("one_cycle", lr=0.2, warmup=warmup).lr(step, steps) for step in range(steps)]
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-12)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_one_cycle_of_few_steps_stays_between_nothing_and_its_peak(steps: int) -> None:
    found = [rule("one_cycle", lr=0.2).lr(step, steps) for step in range(steps)]
    assert all(0 < rate <= 0.2 for rate in found)
    assert found[0] == pytest.approx(0.2 / 25)


def test_plateau_takes_a_tenth_when_the_loss_has_not_fallen_for_its_patience_and_then_ends() -> None:
    #        falls     stands    -> tenth  stands    -> end
    losses = [1.0, 0.9, 0.95, 0.9, 0.91, 0.92, 0.1]
    assert rates(rule("plateau"), losses) == pytest.approx([0.1, 0.1, 0.1, 0.1, 0.01, 0.01])


def test_plateau_waits_anew_after_each_lower_loss() -> None:
    losses = [1.0, 1.1, 0.9, 1.0, 0.8, 0.9, 0.9, 0.85, 0.7, 0.75, 0.72]
    #                                       -> tenth       waits 2: end
    assert rates(rule("plateau"), losses) == pytest.approx([0.1] * 7 + [0.01] * 4)


def test_plateau_of_patience_one_does_not_wait() -> None:
    assert rates(rule("plateau", patience=1), [1.0] * 9) == pytest.approx([0.1, 0.1, 0.01])


def test_constant_keeps_its_rate_whatever_the_loss_does_until_its_last_epoch() -> None:
    constant = rule("constant", max_epochs=4)
    assert rates(constant, [1.0, 2.0, 3.0]) == [0.1, 0.1, 0.1]
    assert constant.in_last_epoch and not constant.is_over
    constant.end_epoch(4.0)
    assert constant.is_over


@pytest.mark.parametrize("name", ["constant", "plateau"])
def test_a_warm_up_climbs_in_equal_steps_to_the_rate(name: str) -> None:
    warmed = rule(name, warmup=0.25)
    assert [warmed.lr(step, 16) for step in range(6)] == pytest.approx([0.025, 0.05, 0.075, 0.1, 0.1, 0.1])


@pytest.mark.parametrize("name", RULES)
def test_the_weights_of_a_validation_split_are_kept_only_by_a_rule_that_needs_one(name: str) -> None:
    """With ``refit=true`` there is no such split: what chooses by it must be refused."""
    of = RULES[name]
    assert of.needs_validation or of.keeps == "last"


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("stop", range(1, 6))
def test_the_saved_state_continues_as_if_nothing_had_happened(name: str, stop: int) -> None:
    losses = [1.0, 1.0, 1.0, 0.9, 0.95, 0.95, 0.95]
    whole, before, after = (rule(name, max_epochs=7) for _ in range(3))
    rates(whole, losses, 7)
    rates(before, losses[:stop])
    after.load_state_dict(before.state_dict())
    for loss in losses[stop:]:
        if not after.is_over:
            after.end_epoch(loss)
    assert after.state_dict() == whole.state_dict()
    assert after.lr(6, 7) == whole.lr(6, 7)
