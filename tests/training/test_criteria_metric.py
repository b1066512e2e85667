"""The metrics of torchmetrics against the pure functions: in batches, collections, a Lightning loop."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from awkward import NAMES, Case, awkward, expected
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics import MetricCollection

from retdm.criteria import CRITERIA, evaluate
from retdm.errors import UserError
from retdm.training.criteria_metric import MultilabelCriteria, MultilabelCriterion


def tensors(case: Case) -> tuple[Tensor, Tensor, Tensor]:
    return torch.tensor(case.scores).float(), torch.tensor(case.target), torch.tensor(case.known)


def values(computed: dict[str, Tensor]) -> dict[str, float]:
    return {name: value.item() for name, value in computed.items()}


@pytest.mark.parametrize("rule", ["half", "top3", "validation"])
def test_batches_of_any_size_give_what_the_functions_give_of_all_rows(case: Case, rule: str) -> None:
    metric = MultilabelCriteria(NAMES, decide=rule)
    for rows in torch.arange(len(case.scores)).split(7):
        metric.update(*(column[rows] for column in tensors(case)))
    assert values(metric.compute()) == expected(case, rule)


def test_what_stands_in_unknown_cells_is_never_read(case: Case) -> None:
    scores, target, known = tensors(case)
    metric = MultilabelCriteria(NAMES)
    metric.update(scores.where(known, 0.99), target.float().where(known, float("nan")), known)
    assert values(metric.compute()) == expected(case)


def test_undefined_criteria_are_nan_and_the_others_numbers() -> None:
    metric = MultilabelCriteria(2)
    metric.update(torch.full((3, 2), 0.4), torch.zeros(3, 2))
    found = values(metric.compute())
    assert np.isnan(found["mAP"]) and found["hamming_loss"] == 0
    metric.reset()
    metric.update(torch.zeros(0, 2), torch.zeros(0, 2))
    assert all(map(np.isnan, values(metric.compute()).values()))


def test_each_criterion_stands_in_a_collection_under_its_name(case: Case) -> None:
    collection = MetricCollection({name: MultilabelCriterion(name, NAMES) for name in CRITERIA})
    for rows in torch.arange(len(case.scores)).split(16):
        collection.update(*(column[rows] for column in tensors(case)))
    assert values(collection.compute()) == pytest.approx(expected(case), abs=0, nan_ok=True)
    assert len(collection.compute_groups) == 1  # the rows are kept once


def test_all_criteria_at_once_stand_in_a_collection_too(case: Case) -> None:
    collection = MetricCollection([MultilabelCriteria(NAMES)], prefix="test/")
    collection.update(*tensors(case))
    assert values(collection.compute()) == {f"test/{name}": value for name, value in expected(case).items()}


def test_a_criterion_says_in_which_direction_it_improves() -> None:
    assert MultilabelCriterion("mAP", 3).higher_is_better
    assert not MultilabelCriterion("ranking_loss", 3).higher_is_better


def test_a_threshold_for_each_label_is_used(case: Case) -> None:
    thresholds = [0.2, 0.3, 0.4, 0.5, 0.6, 0.7]
    metric = MultilabelCriterion("C-F1", NAMES, decide="train_threshold", threshold=thresholds)
    metric.update(*tensors(case))
    predicted = case.scores >= np.array(thresholds)
    assert metric.compute().item() == evaluate(*case[:3], NAMES, predicted)["criteria"]["C-F1"]


def test_with_an_index_a_repeated_row_counts_once_and_rows_come_in_its_order(case: Case) -> None:
    order = torch.randperm(len(case.scores), generator=torch.Generator().manual_seed(0))
    order = torch.cat([order, order[:5]])
    metric = MultilabelCriteria(NAMES)
    scores, target, known = tensors(case)
    metric.update(scores[order], target[order], known[order], order)
    assert values(metric.compute()) == expected(case)
    rows = metric.gathered()
    assert list(rows) == ["index", "scores", "target", "known"]
    assert np.array_equal(rows["index"], np.arange(len(case.scores)))
    assert np.array_equal(rows["scores"], case.scores.astype(np.float32))
    assert np.array_equal(rows["target"], case.target * case.known)


def test_a_reset_forgets_every_row(case: Case) -> None:
    metric = MultilabelCriteria(NAMES)
    metric.update(torch.rand(9, 6), torch.ones(9, 6))
    metric.reset()
    metric.update(*tensors(case))
    assert values(metric.compute()) == expected(case)


@pytest.mark.parametrize(
    ("batch", "words"),
    [
        ((torch.rand(2, 4), torch.ones(2, 4)), r"must be \(B, 3\)"),
        ((torch.rand(2, 3), torch.ones(2, 2)), r"must be \(B, 3\)"),
        ((torch.rand(2, 3), torch.ones(2, 3), torch.ones(2, 3)), r"known \(bool\)"),
    ],
)
def test_a_batch_of_another_form_is_refused_at_once(batch: tuple[Tensor, ...], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        MultilabelCriteria(3).update(*batch)


def test_logits_and_half_an_index_are_refused_when_computed() -> None:
    metric = MultilabelCriteria(2)
    metric.update(torch.tensor([[0.1, 0.2]]), torch.ones(1, 2), index=torch.tensor([3]))
    metric.update(torch.tensor([[0.1, 0.2]]), torch.ones(1, 2))
    with pytest.raises(ValueError, match="some rows have an index"):
        metric.compute()
    metric.reset()
    metric.update(torch.tensor([[3.0, -1.0]]), torch.ones(1, 2))
    with pytest.raises(ValueError, match="never logits"):
        metric.compute()


def test_bad_arguments_are_refused_and_unknown_names_answered_by_the_nearest() -> None:
    with pytest.raises(UserError, match="there is no criterion 'map'\ndid you mean mAP"):
        MultilabelCriterion("map", 3)
    with pytest.raises(UserError, match="there is no decision rule 'halve'\ndid you mean half"):
        MultilabelCriteria(3, decide="halve")
    with pytest.raises(ValueError, match="there are no labels"):
        MultilabelCriteria(0)
    with pytest.raises(UserError, match="needs a threshold for each label"):
        MultilabelCriteria(3, decide="train_threshold")


class Loop(LightningModule):
    """A minimal loop of someone else: logs one criterion as an object and all of them by ``log_dict``."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)
        self.map = MultilabelCriterion("mAP", NAMES)
        self.all = MultilabelCriteria(NAMES)

    def validation_step(self, batch: list[Tensor], _: int) -> None:
        self.map.update(*batch)
        self.all.update(*batch)
        self.log("mAP by itself", self.map)

    def on_validation_epoch_end(self) -> None:
        self.log_dict(self.all.compute())
        self.all.reset()


def test_a_lightning_loop_logs_them_and_begins_each_epoch_anew(tmp_path: Path) -> None:
    case = awkward(0)
    trainer = Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        default_root_dir=tmp_path,
    )
    loader = DataLoader(TensorDataset(*tensors(case)), batch_size=7)
    loop = Loop()
    for _ in range(2):
        (logged,) = trainer.validate(loop, loader, verbose=False)
        wanted = expected(case)
        assert logged == pytest.approx(wanted | {"mAP by itself": wanted["mAP"]}, abs=1e-6)


def test_the_functions_alone_load_neither_pytorch_nor_torchmetrics() -> None:
    code = (
        "import retdm.decisions, sys; print(sorted({'torch', 'torchmetrics', 'pytorch_lightning'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
