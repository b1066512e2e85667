import logging
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from picture_toys import NAMES, Tiny, make_method, stages_of
from PIL import Image
from pytorch_lightning import Trainer
from pytorch_lightning.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from retdm.data.modules import ImageData
from retdm.data.synthetic.source import Synthetic
from retdm.methods.deep import DeepMethod
from retdm.methods.networks.classifier import Classifier
from retdm.stop import Stopped
from retdm.training.evaluation import Evaluation
from retdm.training.pictures import callback
from retdm.training.pictures.callback import Pictures
from retdm.training.pictures.embedding import Space
from retdm.training.pictures.images import HEATED
from retdm.training.stages import Stages

pytestmark = pytest.mark.drawn

KINDS = ("predictions", "heat_maps", "precision_recall", "labels", "embedding")


def draw(
    method: DeepMethod,
    data: ImageData,
    rows: dict[str, np.ndarray],
    folder: Path,
    done: int = 2,
    entered: bool = False,
    leader: bool = True,
) -> None:
    """Draw what a run draws after ``done`` stages."""
    stages, evaluation = Stages(method.stages), Evaluation()
    stages.index, stages.entered = done, entered
    method.stage = method.stages[done - 1]
    evaluation.predictions = rows
    logger = TensorBoardLogger(folder, name="", version="tensorboard", default_hp_metric=False)
    trainer: Any = SimpleNamespace(is_global_zero=leader, global_step=5, logger=logger)
    Pictures(folder / "pictures", data, stages, evaluation).on_train_epoch_end(trainer, method)
    logger.experiment.flush()


def shown_images(folder: Path) -> list[str]:
    accumulator = EventAccumulator(str(folder / "tensorboard"), size_guidance={"images": 0})
    return sorted(accumulator.Reload().Tags()["images"])


@pytest.mark.painted
def test_the_end_of_a_stage_leaves_png_files_and_tensorboard_images(
    data: ImageData, rows: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    method = make_method()
    draw(method, data, rows, tmp_path)
    assert not caplog.records
    assert sorted(path.name for path in (tmp_path / "pictures").iterdir()) == sorted(f"{k}-second.png" for k in KINDS)
    for path in (tmp_path / "pictures").iterdir():
        assert np.asarray(Image.open(path)).std() > 10  # something is drawn
    assert shown_images(tmp_path) == sorted(f"view/{kind}" for kind in KINDS)
    assert (tmp_path / "tensorboard" / "projector_config.pbtxt").exists()


def test_within_a_stage_and_in_other_processes_nothing_is_drawn(data: ImageData, rows: Any, tmp_path: Path) -> None:
    method = make_method()
    for entered, leader in ((True, True), (False, False)):
        draw(method, data, rows, tmp_path, entered=entered, leader=leader)
    assert not (tmp_path / "pictures").exists()


def test_label_sets_are_embedded_only_after_a_stage_that_trains_the_label_net(
    data: ImageData, rows: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spaces: list[Space] = []
    monkeypatch.setattr(callback, "draw_embedding", lambda space, *_: spaces.append(space))
    torch.manual_seed(0)
    without = Classifier(Tiny(), NAMES, stages=stages_of(["first"]))
    for method, done in ((make_method(), 1), (without, 1), (make_method(), 2)):
        draw(method, data, rows, tmp_path, done=done)
    assert [len(space.sets) > 0 for space in spaces] == [False, False, True]
    assert all(len(space.images) == len(data.splits["validation"]) for space in spaces)


@pytest.mark.parametrize("head", ["average", "csra"])
def test_drawing_changes_neither_weights_nor_mode_nor_random_state(
    data: ImageData, rows: Any, tmp_path: Path, head: str
) -> None:
    torch.manual_seed(0)
    method = Classifier(
        Tiny(), NAMES, stages=stages_of(["first"]), head=head
    ).train()  # dropout and statistics are at work
    modes = [module.training for module in method.modules()]
    state = {name: value.clone() for name, value in method.state_dict().items()}
    generator, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    draw(method, data, rows, tmp_path, done=1)
    assert (tmp_path / "pictures" / "embedding-first.png").exists()
    assert (tmp_path / "pictures" / "heat_maps-first.png").exists()
    assert any(modes) and [module.training for module in method.modules()] == modes
    assert all(torch.equal(value, state[name]) for name, value in method.state_dict().items())
    assert torch.equal(torch.get_rng_state(), generator)
    assert np.array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002


def test_heat_maps_are_of_validation_images(
    data: ImageData, rows: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[int] = []
    batches_of = data.batches_of
    monkeypatch.setattr(data, "batches_of", lambda rows: drawn.extend(rows) or batches_of(rows))
    draw(Classifier(Tiny(), NAMES, stages=stages_of(["first"]), head="csra"), data, rows, tmp_path, done=1)
    assert "view/heat_maps" in shown_images(tmp_path)
    drawn = drawn[:HEATED]  # the embedding comes after
    assert len(drawn) == HEATED and set(drawn) <= set(data.splits["validation"].tolist())


def test_a_picture_that_fails_is_a_warning_and_the_others_are_drawn(
    data: ImageData, rows: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("out of memory")

    logger = logging.Logger("pictures")  # of its own: another test's run may still hold the program's loggers
    logger.addHandler(caplog.handler)
    monkeypatch.setattr(callback, "log", logger)
    method = make_method().train()
    modes = [module.training for module in method.modules()]
    rows["target"] = np.zeros_like(rows["target"])  # no curve can be drawn
    monkeypatch.setattr(method.label_net, "forward", fail)
    draw(method, data, rows, tmp_path)
    drawn = {path.name for path in (tmp_path / "pictures").iterdir()}
    assert drawn == {"predictions-second.png", "heat_maps-second.png"}
    curves, bars, space = (record.getMessage() for record in caplog.records if record.levelno == logging.WARNING)
    assert "precision_recall" in curves and "no label has a positive image" in curves and "labels" in bars
    assert "embedding" in space and "RuntimeError: out of memory" in space
    assert [module.training for module in method.modules()] == modes


def test_a_request_to_stop_at_once_is_no_failed_picture(
    data: ImageData, rows: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: Any) -> None:
        raise Stopped(15)

    method = make_method()
    monkeypatch.setattr(callback, "draw_curves", stop)
    with pytest.raises(Stopped):
        draw(method, data, rows, tmp_path)


@pytest.mark.filterwarnings("ignore")
def test_a_training_run_is_drawn_after_each_stage_and_ends_with_the_weights_of_one_without_pictures(
    cache: Path, tmp_path: Path
) -> None:
    weights = []
    for drawn in (True, False):
        method = make_method()
        source = Synthetic(size=80, side=37)
        data = ImageData(source, image_size=32, batch_size=16, validation_fraction=0.3, cache=str(cache), workers=0)
        method.use_training_labels(data.training_labels())
        views = partial(data.split_loader, "train")
        evaluation, stages = Evaluation(), Stages(method.stages, views)
        pictures = Pictures(tmp_path / "pictures", data, stages, evaluation)
        callbacks = [evaluation, stages, *([pictures] if drawn else [])]
        trainer = Trainer(
            accelerator="cpu", max_epochs=2, callbacks=callbacks, num_sanity_val_steps=0, enable_checkpointing=False,
            logger=TensorBoardLogger(tmp_path, name="", version=f"tensorboard{'' if drawn else '-without'}"),
            enable_progress_bar=False, enable_model_summary=False, use_distributed_sampler=False,
        )  # fmt: skip
        trainer.fit(method, data.train_loader(), data.split_loader("validation"))
        weights.append(method.state_dict())
    names = {path.name for path in (tmp_path / "pictures").iterdir()}
    assert names == {f"{kind}-{stage}.png" for kind in KINDS for stage in ("first", "second")}
    assert shown_images(tmp_path) == sorted(f"view/{kind}" for kind in KINDS)
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
