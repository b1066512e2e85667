from collections.abc import Callable
from typing import Any

import pytest
from by_hand import scores_by_hand

from retdm.criteria import evaluate
from retdm.decisions import best_threshold, decide
from retdm.training.evaluation import threshold_on

PARTLY = ["data._target_=makers.PartlyKnown", "data.validation_fraction=0.4", "method=bce"]


@pytest.mark.parametrize("batch_size, rule", [(2, "half"), (7, "top3"), (60, "validation")])
def test_criteria_of_a_validation_are_those_of_the_whole_part_at_once(
    plan: Callable[..., Any], batch_size: int, rule: str
) -> None:
    fit = plan(*PARTLY, f"data.batch_size={batch_size}", f"method.decide={rule}")
    (logged,) = fit.trainer.validate(fit.method, fit.data.split_loader("validation"), verbose=False)
    rows = scores_by_hand(fit, "validation")
    assert len(rows["index"]) == 19
    threshold = best_threshold(rows["scores"], rows["target"], rows["known"])
    predicted = decide(rows["scores"], rule, threshold)
    report = evaluate(rows["scores"], rows["target"], rows["known"], fit.data.labels, predicted)
    assert report["left_out"]["unknown_cells"] > 0
    expected = {f"validation/{name}": value for name, value in report["criteria"].items() if value is not None}
    found = {
        name: value for name, value in logged.items() if name not in ("validation/loss", "validation/classification")
    }
    assert found == pytest.approx(expected, abs=1e-6)


def test_the_validation_loss_is_the_mean_of_its_batches_losses(plan: Callable[..., Any]) -> None:
    fit = plan(*PARTLY, "data.batch_size=7")
    (logged,) = fit.trainer.validate(fit.method, fit.data.split_loader("validation"), verbose=False)
    fit.method.eval()
    batches = [fit.method.on_after_batch_transfer(batch, 0) for batch in fit.data.split_loader("validation")]
    losses = [fit.method.losses(batch)["classification"].item() for batch in batches]
    assert len(losses) == 3
    assert logged["validation/loss"] == pytest.approx(sum(losses) / 3, rel=1e-5)
    assert logged["validation/classification"] == pytest.approx(sum(losses) / 3, rel=1e-5)


def test_the_threshold_is_the_one_of_the_validation_rows(plan: Callable[..., Any]) -> None:
    fit = plan(*PARTLY)
    rows = scores_by_hand(fit, "validation")
    found = threshold_on(rows)
    cells, positive = rows["scores"][rows["known"]], rows["target"][rows["known"]] > 0

    def f1(threshold: float) -> float:
        chosen = cells >= threshold
        return float(2 * (chosen & positive).sum() / (chosen.sum() + positive.sum()))

    assert f1(found) == pytest.approx(max(f1(cell) for cell in cells))
