from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from retdm.batch import Batch
from retdm.criteria import best_threshold, decide, evaluate
from retdm.training.evaluation import Evaluation

PARTLY = ["data._target_=makers.PartlyKnown", "data.validation_fraction=0.4", "method=bce"]


def by_hand(fit: Any, part: str) -> dict[str, np.ndarray]:
    """Scores of a part, image by image."""
    source, rows = fit.data.source, fit.data.splits[part]
    views = torch.cat([batch.image for batch in fit.data.part_loader(part)])
    fit.method.eval()
    with torch.inference_mode():
        scores = []
        for view in views:
            image = fit.method.normalised(view[None])
            empty = torch.zeros(1, 5)
            scores.append(fit.method.scores(Batch(torch.zeros(1).long(), image, empty, empty.bool()))[0].numpy())
    known = source.known[rows]
    return {"index": rows, "scores": np.array(scores), "target": source.targets[rows] * known, "known": known}


@pytest.mark.parametrize("batch_size, rule", [(2, "half"), (7, "top3"), (60, "validation")])
def test_criteria_of_a_validation_are_those_of_the_whole_part_at_once(
    plan: Callable[..., Any], batch_size: int, rule: str
) -> None:
    fit = plan(*PARTLY, f"data.batch_size={batch_size}", f"method.decide={rule}")
    (logged,) = fit.trainer.validate(fit.method, datamodule=fit.data, verbose=False)
    rows = by_hand(fit, "validation")
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
    (logged,) = fit.trainer.validate(fit.method, datamodule=fit.data, verbose=False)
    fit.method.eval()
    batches = [fit.method.on_after_batch_transfer(batch, 0) for batch in fit.data.val_dataloader()]
    losses = [fit.method.losses(batch)["classification"].item() for batch in batches]
    assert len(losses) == 3
    assert logged["validation/loss"] == pytest.approx(sum(losses) / 3, rel=1e-5)
    assert logged["validation/classification"] == pytest.approx(sum(losses) / 3, rel=1e-5)


@pytest.mark.parametrize("part", ["validation", "test"])
def test_predictions_of_a_test_pass_are_the_parts_rows_in_order(plan: Callable[..., Any], part: str) -> None:
    fit = plan(*PARTLY, "data.batch_size=7")
    for _ in range(2):  # a second pass begins anew
        fit.data.evaluated = part
        fit.trainer.test(fit.method, datamodule=fit.data, verbose=False)
    expected = by_hand(fit, part)
    found = fit.evaluation.predictions
    assert list(found) == ["index", "scores", "target", "known"]
    for name in ("index", "target", "known"):
        assert np.array_equal(found[name], expected[name]), name
    assert np.allclose(found["scores"], expected["scores"], atol=1e-6)


def test_the_threshold_is_the_one_of_the_validation_rows(plan: Callable[..., Any]) -> None:
    fit = plan(*PARTLY)
    rows = by_hand(fit, "validation")
    found = Evaluation.threshold_on(rows)
    cells, positive = rows["scores"][rows["known"]], rows["target"][rows["known"]] > 0

    def f1(threshold: float) -> float:
        chosen = cells >= threshold
        return float(2 * (chosen & positive).sum() / (chosen.sum() + positive.sum()))

    assert f1(found) == pytest.approx(max(f1(cell) for cell in cells))
