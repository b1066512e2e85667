import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback, Trainer
from torch import Tensor

from retdm.methods.stage import Stage
from retdm.training.schedule_rules import OneCycle
from retdm.training.stages import Stages


class Silent:
    """What Stages asks of a method, and nothing else."""

    def __init__(self) -> None:
        self.lr, self.stage_step, self.active = 0.0, -1, ["classification"]

    def set_stage(self, stage: Stage, lr: float) -> None:
        self.stage, self.lr = stage, lr

    def set_lr(self, lr: float) -> None:
        self.lr = lr

    def on_stage_start(self, stage: Stage, images: object) -> None: ...
    def train(self) -> None: ...
    def eval(self) -> None: ...


def stage(name: str, **settings: Any) -> Stage:
    return Stage(name, ("encoder",), ("classification",), **{"lr": 0.1, "max_epochs": 20, "patience": 2} | settings)


def walk(stages: Stages, losses: list[float], batches: int = 3) -> list[tuple[str, float]]:
    """(stage, rate of its last step) of each epoch, until the losses or the stages end."""
    trainer: Any = SimpleNamespace(callback_metrics={}, optimizers=[], should_stop=False, num_training_batches=batches)
    method: Any = Silent()
    stages.on_train_start(trainer, method)
    epochs = []
    for loss in losses:
        stages.on_train_epoch_start(trainer, method)
        for index in range(batches):
            stages.on_train_batch_start(trainer, method, None, index)  # type: ignore[arg-type]
            stages.on_train_batch_end(trainer, method, None, None, index)  # type: ignore[arg-type]
        epochs.append((stages.stage.name, method.lr))
        trainer.callback_metrics = {"validation/loss": torch.tensor(loss), "validation/mAP": torch.tensor(0.5)}
        stages.on_train_epoch_end(trainer, method)
        if trainer.should_stop:
            break
    return epochs


def rates(epochs: list[tuple[str, float]]) -> list[float]:
    return [rate for _, rate in epochs]


def test_a_stage_ends_at_its_most_epochs_though_the_loss_falls() -> None:
    falling = [1 / n for n in range(1, 30)]
    stages = Stages([stage("first", max_epochs=3), stage("second", max_epochs=2, lr=0.05)])
    assert walk(stages, falling) == [("first", 0.1)] * 3 + [("second", 0.05)] * 2
    assert stages.finished


def test_each_stage_has_its_own_lowest_loss() -> None:
    stages = Stages([stage("first", max_epochs=2), stage("second", patience=1)])
    epochs = walk(stages, [0.1, 0.1, 5.0, 4.0, 3.0, 3.0, 3.0])  # higher than the first's, but falling
    assert epochs == [("first", 0.1)] * 2 + [("second", pytest.approx(rate)) for rate in (0.1, 0.1, 0.1, 0.1, 0.01)]


def test_one_cycle_runs_its_epochs_over_whatever_the_loss_does() -> None:
    stages = Stages([stage("only", rule="one_cycle", max_epochs=4)])
    epochs = walk(stages, [1.0, 2.0, 3.0, 4.0, 5.0])
    rule = OneCycle(stages.stage)
    assert rates(epochs) == [rule.lr(step, 12) for step in (2, 5, 8, 11)]
    assert stages.finished


def test_the_history_has_each_stage() -> None:
    stages = Stages([stage("first", max_epochs=2), stage("second", max_epochs=1, lr=0.05)])
    walk(stages, [3.0, 2.0, 1.0])
    found = [(row["stage"], row["epochs"], row["lr"], row["validation_loss"]) for row in stages.history]
    assert found == [("first", 2, 0.1, 2.0), ("second", 1, 0.05, 1.0)]


@pytest.mark.parametrize("cut", range(1, 9))
def test_the_saved_state_continues_as_if_nothing_had_happened(cut: int) -> None:
    def plan() -> Stages:
        return Stages([stage("first", max_epochs=4), stage("second", rule="one_cycle", max_epochs=2), stage("third")])

    losses = [1.0, 1.0, 1.0, 0.9, 5.0, 4.0, 3.0, 3.5, 3.5, 3.5, 3.5, 3.5]
    whole = plan()
    expected = walk(whole, losses)
    assert len(expected) == 11
    before, after = plan(), plan()
    start = walk(before, losses[:cut])
    state = json.loads(json.dumps(before.state_dict()))  # plain values only
    after.load_state_dict(state)
    assert start + walk(after, losses[cut:]) == expected
    for row in (*whole.history, *after.history):
        del row["minutes"]
    assert after.state_dict() == whole.state_dict()


class Watch(Callback):
    """Copies of every part at each stage's start and end, and what the optimiser remembers there."""

    def __init__(self) -> None:
        self.before: dict[str, dict[str, dict[str, Tensor]]] = {}
        self.after: dict[str, dict[str, dict[str, Tensor]]] = {}
        self.remembered: dict[str, list[int]] = {}
        self.stepped: dict[str, set[str]] = {}

    @staticmethod
    def copy(method: Any) -> dict[str, dict[str, Tensor]]:
        return {
            name: {key: tensor.clone() for key, tensor in part.state_dict().items()}
            for name, part in method.components.items()
        }

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        name = pl_module.stage.name
        self.remembered.setdefault(name, []).append(len(trainer.optimizers[0].state))
        if name not in self.before:
            self.before[name] = self.copy(pl_module)

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        name = pl_module.stage.name
        self.after[name] = self.copy(pl_module)
        (optimizer,) = trainer.optimizers
        self.stepped[name] = {
            group["name"] for group in optimizer.param_groups if any(p in optimizer.state for p in group["params"])
        }


@pytest.mark.parametrize("backbone", [None, "nets.Normed"])
def test_a_stage_moves_its_parts_and_no_bit_of_the_others(plan: Callable[..., Any], backbone: str | None) -> None:
    watch = Watch()
    fit = plan("method=retdm", "method.embedding_dim=6", callbacks=[watch], backbone=backbone).run()
    assert list(watch.after) == ["classification", "label_embedding", "joint"]
    for stage in fit.method.stages:
        for part, before in watch.before[stage.name].items():
            after = watch.after[stage.name][part]
            moved = {key for key in before if not torch.equal(before[key], after[key])}
            assert bool(moved) == (part in stage.train), (stage.name, part)
            if part == "encoder" and part in stage.train and backbone is not None:
                assert any("running_mean" in key for key in moved)


def test_momentum_is_cleared_at_a_stages_start_and_kept_within_it(plan: Callable[..., Any]) -> None:
    watch = Watch()
    fit = plan("method=retdm", "method.embedding_dim=6", callbacks=[watch]).run()
    for stage in fit.method.stages:
        at_start, *later = watch.remembered[stage.name]
        assert at_start == 0
        assert later
        assert min(later) > 0
        assert watch.stepped[stage.name] == set(stage.train)


def test_a_stage_of_no_epochs_is_left_out_of_the_fit(plan: Callable[..., Any]) -> None:
    fit = plan(
        "method=retdm", "method.embedding_dim=6", "schedule.classification.max_epochs=0", "schedule.joint.max_epochs=2"
    ).run()
    assert [(row["stage"], row["epochs"]) for row in fit.stages.history] == [("label_embedding", 1), ("joint", 2)]
    assert fit.trainer.current_epoch == 3
    assert fit.stages.finished


def test_a_plateau_that_ends_early_ends_the_fit(plan: Callable[..., Any]) -> None:
    fit = plan(
        "method=bce",
        "schedule.end_to_end.rule=plateau",
        "+schedule.end_to_end.patience=1",
        "schedule.end_to_end.lr=1e-20",  # the loss stands still from the first epoch on
        "schedule.end_to_end.max_epochs=9",
    ).run()
    assert fit.stages.history[0]["epochs"] == 3
    assert fit.stages.finished
    assert fit.trainer.current_epoch == 3
