import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import Callback, Trainer
from torch import Tensor

from retdm.errors import UserError
from retdm.stop import Stopped, StopRequest
from retdm.training.checkpoint_files import read_checkpoint

Plan = Callable[..., Any]
BCE = ["method=bce", "schedule.end_to_end.max_epochs=3"]  # 3 steps an epoch
RETDM = ["method=retdm", "method.embedding_dim=6", "schedule.joint.max_epochs=2"]


def spoil(fit: Any, step: int) -> None:
    """From ``step`` on the training loss is no number."""
    losses = fit.method.losses

    def spoilt(batch: Any) -> dict[str, Tensor]:
        found: dict[str, Tensor] = losses(batch)
        if fit.method.training and fit.method.global_step >= step:
            return {name: loss * float("nan") for name, loss in found.items()}
        return found

    fit.method.losses = spoilt


@pytest.mark.parametrize("step", [4, 5])  # inside the second epoch, and its last
def test_a_loss_that_is_no_number_stops_the_run_names_step_and_images_and_keeps_the_checkpoint(
    plan: Plan, step: int
) -> None:
    fit = plan(*BCE)
    spoil(fit, step)
    with pytest.raises(UserError) as error:
        fit.run()
    rows = fit.checkpoints.batches.global_batches(1)[step - 3]
    message = error.value.message
    assert f"the loss of step {step} is not a number (stage end_to_end, epoch 2, images" in message
    named = message.partition("images ")[2].split(" …")[0].split()
    assert named == [fit.data.source.ids[row] for row in rows[:8]]
    assert "schedule.end_to_end.lr" in error.value.hint
    last = read_checkpoint(fit.folder / "last.ckpt")
    assert last["global_step"] == 3
    assert all(tensor.isfinite().all() for tensor in last["state_dict"].values())


def test_the_first_bad_step_is_named_where_each_look_is_dear(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    fit = plan(*BCE)
    spoil(fit, 4)
    watch, check = fit.checkpoints._watch, fit.checkpoints._check
    # As on a GPU: checked only before something is saved or evaluated.
    monkeypatch.setattr(fit.checkpoints, "_check", lambda trainer: None)

    def watch_only(trainer: Trainer, loss: Tensor) -> None:
        monkeypatch.setattr(fit.checkpoints, "_check", lambda trainer: None)
        watch(trainer, loss)
        monkeypatch.setattr(fit.checkpoints, "_check", check)

    monkeypatch.setattr(fit.checkpoints, "_watch", watch_only)
    with pytest.raises(UserError, match="the loss of step 4 is not a number"):
        fit.run()
    assert fit.trainer.global_step == 6
    assert read_checkpoint(fit.folder / "last.ckpt")["global_step"] == 3


def test_weights_that_the_last_step_spoilt_are_reported_before_they_are_evaluated(plan: Plan) -> None:
    class Spoil(Callback):
        def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *args: Any) -> None:
            if trainer.global_step == 6:
                torch.nn.init.constant_(pl_module.classifier.weight, float("nan"))

    fit = plan(*BCE, callbacks=[Spoil()])
    with pytest.raises(UserError, match=r"not numbers \(stage end_to_end, epoch 2\)"):
        fit.run()
    kept = list(fit.folder.glob("*.ckpt"))
    assert fit.folder / "last.ckpt" in kept
    for path in kept:
        state = read_checkpoint(path)["state_dict"]
        assert all(tensor.isfinite().all() for tensor in state.values())


class Remember(Callback):
    """Stage, validation mAP and weights at each validation's end."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, float, dict[str, Tensor]]] = []

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        weights = {name: tensor.clone() for name, tensor in pl_module.state_dict().items()}
        self.seen.append((pl_module.stage.name, trainer.callback_metrics["validation/mAP"].item(), weights))


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    ("rule", "expected", "kept"),
    [
        # of equal ones the first
        ("plateau", {"best-classification": 1, "best-label_embedding": 3, "best": 5}, (0.9, 0.8, 0.3)),
        # the end of each cycle
        ("one_cycle", {"best-classification": 2, "best-label_embedding": 3, "best": 7}, (0.5, 0.8, 0.2)),
    ],
)
def test_the_best_of_each_stage_is_kept_and_best_is_that_of_the_last(
    rule: str, expected: dict[str, int], kept: tuple[float, ...], plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    remember = Remember()
    rules = [f"schedule.{stage}.rule={rule}" for stage in ("classification", "label_embedding", "joint")]
    stages = ("classification", "label_embedding", "joint")
    waits = [f"+schedule.{stage}.patience=9" for stage in stages] if rule == "plateau" else []
    lengths = ["schedule.classification.max_epochs=3", "schedule.joint.max_epochs=4"]
    fit = plan(*RETDM, *rules, *waits, *lengths, callbacks=[remember])
    values = iter([0.2, 0.9, 0.5, 0.8, 0.1, 0.3, 0.3, 0.2])  # an earlier stage's best is higher than the last's

    class Decreed(Callback):
        def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
            trainer.callback_metrics["validation/mAP"].fill_(next(values))

    fit.trainer.callbacks.insert(0, Decreed())
    fit.run()
    assert {path.stem for path in fit.folder.iterdir()} == {*expected, "last"}
    for name, place in expected.items():
        assert equal(read_checkpoint(fit.folder / f"{name}.ckpt")["state_dict"], remember.seen[place][2]), name
    assert fit.checkpoints.best == pytest.approx(
        dict(zip(("classification", "label_embedding", "joint"), kept, strict=True))
    )
    assert equal(read_checkpoint(fit.folder / "last.ckpt")["state_dict"], remember.seen[-1][2])


def test_checkpoints_hold_plain_values_and_what_a_prediction_needs(plan: Plan) -> None:
    fit = plan(*RETDM).run()
    for name in ("best", "best-classification", "last"):
        content = torch.load(fit.folder / f"{name}.ckpt", weights_only=True)  # executes nothing
        assert content["retdm"]["labels"] == fit.data.labels
        assert content["retdm"]["image_size"] == 16
        assert set(content["retdm"]["transform"]) >= {"size", "mean", "std", "interpolation"}
        assert content["retdm"]["settings"]["method"]["k"] == 10
        assert "torch" in content["retdm"]["provenance"]["packages"]
        assert set(content["state_dict"]) == set(fit.method.state_dict())
        assert ("optimizer_states" in content) == (name == "last")
    assert not list(fit.folder.glob("*.part"))


class Interrupt(Callback):
    """A signal comes in the middle of a step."""

    def __init__(self, step: int, number: int) -> None:
        self.step, self.number, self.request = step, number, StopRequest()

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: Any, optimizer: Any) -> None:
        if trainer.global_step == self.step:
            self.request.handle(self.number, None)


@pytest.mark.parametrize(
    "number, step, place",
    [(signal.SIGTERM, 4, (1, 2)), (signal.SIGINT, 5, (2, 0))],  # inside an epoch, and in its last step
)
def test_a_signal_ends_the_run_after_the_step_it_came_in_and_nothing_is_lost(
    plan: Plan, number: int, step: int, place: tuple[int, int]
) -> None:
    interrupt = Interrupt(step, number)
    fit = plan(*BCE, callbacks=[interrupt])
    interrupt.request = fit.request
    with pytest.raises(Stopped, match=signal.Signals(number).name) as stopped:
        fit.run()
    assert stopped.value.exit_code == 128 + number
    content = read_checkpoint(fit.folder / "last.ckpt")
    assert content["global_step"] == step + 1
    assert content["callbacks"]["Checkpoints"]["position"] == list(place)

    continued = plan(*BCE).run()
    for file in fit.folder.iterdir():
        file.unlink()
    whole = plan(*BCE).run()
    assert equal(continued.method.state_dict(), whole.method.state_dict())
    assert continued.stages.finished
    assert continued.trainer.global_step == 9


def test_a_run_with_repeated_rows_and_weighted_positives_continues_bitwise(plan: Plan) -> None:
    words = [*BCE, "data.repeat_rare=0.9", "method.pos_weight=balanced"]
    interrupt = Interrupt(5, signal.SIGTERM)
    fit = plan(*words, callbacks=[interrupt])
    interrupt.request = fit.request
    with pytest.raises(Stopped):
        fit.run()
    continued = plan(*words).run()
    for file in fit.folder.iterdir():
        file.unlink()
    whole = plan(*words).run()
    assert equal(continued.method.state_dict(), whole.method.state_dict())
    assert continued.trainer.global_step == whole.trainer.global_step > 9  # rows were repeated


def test_a_run_that_is_stopped_between_stages_continues_bitwise(plan: Plan) -> None:
    interrupt = Interrupt(5, signal.SIGTERM)  # the last step of label_embedding
    fit = plan(*RETDM, callbacks=[interrupt])
    interrupt.request = fit.request
    with pytest.raises(Stopped):
        fit.run()
    continued = plan(*RETDM).run()
    for file in fit.folder.iterdir():
        file.unlink()
    whole = plan(*RETDM).run()
    assert equal(continued.method.state_dict(), whole.method.state_dict())
    assert [row["stage"] for row in continued.stages.history] == ["classification", "label_embedding", "joint"]


def test_steps_say_how_often_the_place_inside_an_epoch_is_saved(plan: Plan) -> None:
    saved: list[tuple[int, int]] = []
    fit = plan("method=bce", "data.batch_size=5", "trainer.checkpoint_steps=4")  # 9 steps
    save = fit.checkpoints._save_last

    def remembered(trainer: Trainer, epoch: int, batch: int) -> None:
        saved.append((epoch, batch))
        save(trainer, epoch, batch)

    fit.checkpoints._save_last = remembered
    fit.run()
    assert saved == [(0, 4), (0, 8), (1, 0)]


def test_a_signal_outside_training_and_a_second_one_stop_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    with pytest.raises(Stopped):
        StopRequest().handle(signal.SIGTERM)
    request = StopRequest()
    request.deferred = True
    request.handle(signal.SIGINT)
    now += 0.1
    request.handle(signal.SIGTERM)  # a launcher passes on what all have had
    assert request.number == signal.SIGINT
    now += 2
    with pytest.raises(Stopped, match="SIGINT"):
        request.handle(signal.SIGINT)


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    torch.save({"state_dict": {}}, path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match=f"the checkpoint cannot be read: {path}") as error:
        read_checkpoint(path)
    assert "\n" not in error.value.message
    assert error.value.hint
