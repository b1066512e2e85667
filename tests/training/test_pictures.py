import logging
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from google.protobuf import text_format
from PIL import Image
from pytorch_lightning import Trainer
from pytorch_lightning.loggers import TensorBoardLogger
from sklearn.metrics import average_precision_score
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.projector import ProjectorConfig
from torch import Tensor, nn

from retdm.backbones.base import Backbone
from retdm.data.augment import test_view as whole_view
from retdm.data.module import ImageData
from retdm.data.synthetic import Synthetic
from retdm.methods.base import DeepMethod
from retdm.methods.bce import BCE
from retdm.methods.retdm import RETDM
from retdm.stop import Stopped
from retdm.training import pictures
from retdm.training.evaluation import Evaluation
from retdm.training.pictures import Pictures
from retdm.training.stages import Stages

NAMES = ["desert", "mountains", "sea", "sunset", "trees"]
STAGES = [
    {"name": "first", "train": ["image_net", "classifier"], "losses": ["classification"]},
    {"name": "second", "train": ["label_net"], "losses": ["metric"]},
]
KINDS = ("predictions", "precision_recall", "embedding")


class Tiny(Backbone):
    """A network with all that could be disturbed: running statistics and dropout."""

    name = "tiny"
    stages = ("conv", "fc")
    smallest = 8

    def __init__(self) -> None:
        layers = [("conv", nn.Conv2d(3, 6, 5, 4)), ("norm", nn.BatchNorm2d(6)), ("relu", nn.ReLU())]
        net = nn.Sequential(OrderedDict([*layers, ("drop", nn.Dropout(0.5))]))
        super().__init__(net, dim=6, weights="none", load=False)

    def levels(self, image: Tensor) -> Iterator[tuple[str, Tensor]]:
        yield "conv", self.net(image)


def stages_of(names: list[str], epochs: int = 1) -> list[dict[str, Any]]:
    chosen = [stage for stage in STAGES if stage["name"] in names]
    return [{**stage, "lr": 0.05, "rule": "one_cycle", "max_epochs": epochs} for stage in chosen]


def make_method(names: tuple[str, ...] = ("first", "second")) -> RETDM:
    torch.manual_seed(0)
    return RETDM(Tiny(), NAMES, embedding_dim=7, k=2, stages=stages_of(list(names)), seed=1)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def data(cache: Path) -> ImageData:
    source = Synthetic(size=80, side=37)
    return ImageData(source, image_size=32, batch_size=16, validation_fraction=0.3, cache=str(cache), workers=0)


@pytest.fixture
def rows(data: ImageData) -> dict[str, np.ndarray]:
    """What an evaluation of the validation part leaves."""
    index = np.sort(data.parts["validation"])
    target = data.source.targets[index].astype(np.float32)
    noise = np.random.default_rng(0).random(target.shape)
    scores = (0.4 * target + 0.6 * noise).astype(np.float32)
    return {"index": index, "scores": scores, "target": target, "known": np.ones(target.shape, bool)}


def make_trainer(method: DeepMethod, data: ImageData, rows: dict[str, np.ndarray], folder: Path, done: int = 2) -> Any:
    """A trainer after ``done`` stages, as a callback sees it at the end of an epoch."""
    stages, evaluation = Stages(method.stages), Evaluation()
    stages.index, stages.entered = done, False
    method.stage = method.stages[done - 1]
    evaluation.predictions = rows
    return SimpleNamespace(
        callbacks=[evaluation, stages],
        datamodule=data,
        is_global_zero=True,
        global_step=5,
        logger=TensorBoardLogger(folder, name="", version="tensorboard", default_hp_metric=False),
    )


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are made but not painted, which takes most of the time."""
    monkeypatch.setattr(pictures, "rendered", lambda figure: np.zeros((4, 4, 3), np.uint8))


def shown_images(folder: Path) -> list[str]:
    accumulator = EventAccumulator(str(folder / "tensorboard"), size_guidance={"images": 0})
    return sorted(accumulator.Reload().Tags()["images"])


# ---- the grid


def test_hits_misses_extras_and_unknown_labels_are_told_apart_by_sign_and_colour() -> None:
    target, known, predicted = np.array([1, 1, 0, 0, 0]), np.array([1, 1, 1, 0, 1], bool), np.array([1, 0, 1, 1, 0])
    words = pictures.verdict(target, known, predicted, NAMES)
    assert [text for text, _ in words] == ["desert", "−mountains", "+sea", "?sunset"]
    assert len({colour for _, colour in words}) == 4


def test_an_image_without_labels_that_none_was_predicted_for_is_a_hit() -> None:
    nothing = np.zeros(5, int)
    assert pictures.verdict(nothing, np.ones(5, bool), nothing, NAMES) == [("none", pictures.HIT)]


def test_captions_break_between_words_and_end_in_dots_where_they_are_too_long() -> None:
    words = [(name, "") for name in ("sea", "mountains", "sunset", "a-very-long-label-name", "trees")]
    lines = [[text for text, _ in line] for line in pictures.in_lines(words, width=15, most=3)]
    assert lines == [["sea", "mountains"], ["sunset"], ["a-very-long-label-name"], ["…"]]


def test_the_rows_shown_are_distinct_and_carry_every_label_where_there_is_room() -> None:
    target = np.zeros((100, 7), int)
    target[np.arange(100), np.minimum(np.arange(100) // 15, 5)] = 1
    target[97, 6] = 1  # the only one of its label
    places = pictures.choose_rows(target, 12)
    assert len(set(places)) == 12 and (target[places].sum(0) > 0).all()
    assert np.array_equal(places, pictures.choose_rows(target, 12))
    assert places.max() - places.min() > 80


@pytest.mark.parametrize(("n", "labels", "expected"), [(5, 3, 5), (40, 30, 12), (1, 4, 1)])
def test_the_number_of_rows_shown_is_bounded_by_images_and_by_the_grid(n: int, labels: int, expected: int) -> None:
    places = pictures.choose_rows(np.ones((n, labels), int), 12)
    assert len(places) == len(set(places)) == expected


def test_the_grid_shows_the_cached_images_of_its_rows_under_the_words_of_the_rule(data: ImageData, rows: Any) -> None:
    figure = pictures.draw_predictions(data.images, rows, NAMES, "top3", "title")
    places = pictures.choose_rows(rows["target"], 12)
    assert len(figure.axes) == 12
    for axes, place in zip(figure.axes, places, strict=True):
        assert np.array_equal(axes.images[0].get_array(), data.images[rows["index"][place]])
        (caption,) = [artist for artist in axes.artists if hasattr(artist, "get_child")]
        texts = [area.get_text() for line in caption.get_child().get_children() for area in line.get_children()]
        predicted = {NAMES[j] for j in np.argsort(-rows["scores"][place])[:3]}
        assert {text.lstrip("+") for text in texts if not text.startswith("−")} == predicted


# ---- precision-recall curves


def test_the_area_under_each_curve_is_the_average_precision_in_its_legend(rows: Any) -> None:
    known = np.random.default_rng(1).random(rows["target"].shape) < 0.8
    rows |= {"known": known, "target": rows["target"] * np.array([1, 1, 1, 1, 0], np.float32)}  # no trees at all
    figure = pictures.draw_curves(rows, NAMES, "title")
    areas = {}
    for line in figure.axes[0].lines:
        recall, precision = line.get_data()
        areas[line] = -np.sum(np.diff(recall) * precision[:-1])  # a step keeps the precision of its greater recall
    expected = {
        name: average_precision_score(rows["target"][known[:, j], j], rows["scores"][known[:, j], j])
        for j, name in enumerate(NAMES[:4])
    }
    assert list(areas.values()) == pytest.approx(sorted(expected.values(), reverse=True))
    legend = [text.get_text().split("  ") for text in figure.legends[0].get_texts()]
    assert {name: float(value) for value, name in legend} == pytest.approx(expected, abs=6e-4)
    assert "1 without an image" in figure.legends[0].get_title().get_text()


def test_of_many_labels_only_the_best_and_the_worst_are_named() -> None:
    target = np.random.default_rng(2).random((60, 50)) < 0.3
    rows = {"scores": np.random.default_rng(3).random((60, 50)), "target": target, "known": np.ones_like(target)}
    figure = pictures.draw_curves(rows, [f"${j}$" for j in range(50)], "title")
    values = [float(text.get_text().split()[0]) for text in figure.legends[0].get_texts()]
    assert len(figure.axes[0].lines) == 50 and len(values) == 20 and values == sorted(values, reverse=True)
    assert pictures.rendered(figure).shape == (600, 912, 3)


# ---- the shared embedding


def test_the_embedding_is_what_both_nets_give_in_evaluation_mode(data: ImageData) -> None:
    method = make_method()
    method.stage = method.stages[0]  # where dropout and running statistics are at work in training
    space = pictures.embed(method.train(), data)
    method.eval()
    with torch.no_grad():
        for row, point, name in zip(data.parts["validation"], space.images, space.image_names, strict=True):
            image = method.normalised(whole_view(data.images[row], 32)[None])
            assert point == pytest.approx(method.image_net(image)[0].numpy(), abs=1e-5)
            assert name == ("+".join(NAMES[j] for j in range(5) if data.source.targets[row, j]) or "none")
        carried = [tuple(data.source.targets[row].tolist()) for row in data.parts["train"]]
        assert len(space.set_names) == len(set(carried))
        counts = []
        for point, name in zip(space.sets, space.set_names, strict=True):
            target = [float(label in name.split("+")) for label in NAMES]
            assert point == pytest.approx(method.label_net(torch.tensor([target]))[0].numpy(), abs=1e-5)
            counts.append(carried.count(tuple(map(int, target))))
    assert counts == sorted(counts, reverse=True)


def test_label_sets_with_unknown_cells_are_no_label_sets(data: ImageData) -> None:
    data.source.known = np.ones_like(data.source.known)
    train, validation = data.parts["train"], data.parts["validation"]
    data.source.known[train[1:]] = False
    data.source.known[validation[0], 0] = False
    space = pictures.embed(make_method(), data)
    assert space.set_names == [pictures.set_name(data.source.targets[train[0]], NAMES)]
    assert space.image_names[0].endswith("?") and not any(name.endswith("?") for name in space.image_names[1:])


def test_the_projector_lists_every_stage_once_the_last_first_though_runs_resume(tmp_path: Path) -> None:
    space = pictures.Space(np.eye(3, dtype=np.float32), ["sea", "none", "sea"], np.ones((1, 3), np.float32), ["sea"])
    for stage in ("first", "second", "second"):  # nothing but the files is kept from one to the next
        pictures.write_projector(tmp_path, stage, ["first", "second"], space)
    config = text_format.Parse((tmp_path / "projector_config.pbtxt").read_text(), ProjectorConfig())
    assert [each.tensor_name for each in config.embeddings] == ["second", "first"]
    for each in config.embeddings:
        points = np.loadtxt(tmp_path / each.tensor_path, delimiter="\t")
        assert np.array_equal(points, [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1]])
        lines = (tmp_path / each.metadata_path).read_text().splitlines()
        assert lines == ["kind\tlabel set", "image\tsea", "image\tnone", "image\tsea", "label set\tsea"]
    assert not list(tmp_path.rglob("*.part"))


def test_names_of_label_sets_neither_overlap_nor_leave_the_axes() -> None:
    rng = np.random.default_rng(0)
    sets = rng.normal(size=(14, 6)).astype(np.float32)
    names = [f"a long name of a label set {j}" for j in range(14)]
    figure = pictures.draw_embedding(pictures.Space(rng.normal(size=(30, 6)), [names[0]] * 30, sets, names), "title")
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    assert len(boxes) > 7
    assert all(box.count_overlaps(boxes) == 1 for box in boxes)  # itself
    assert all(box.x0 >= figure.axes[0].bbox.x0 and box.x1 <= figure.axes[0].bbox.x1 for box in boxes)


# ---- the callback


def test_the_end_of_a_stage_leaves_png_files_and_tensorboard_images(
    data: ImageData, rows: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    method = make_method()
    trainer = make_trainer(method, data, rows, tmp_path)
    Pictures(tmp_path / "pictures").on_train_epoch_end(trainer, method)
    trainer.logger.experiment.flush()
    assert not caplog.records
    assert sorted(path.name for path in (tmp_path / "pictures").iterdir()) == sorted(f"{k}-second.png" for k in KINDS)
    for path in (tmp_path / "pictures").iterdir():
        assert np.asarray(Image.open(path)).std() > 10  # something is drawn
    assert shown_images(tmp_path) == sorted(f"pictures/{kind}" for kind in KINDS)
    assert (tmp_path / "tensorboard" / "projector_config.pbtxt").exists()


def test_within_a_stage_and_in_other_processes_nothing_is_drawn(data: ImageData, rows: Any, tmp_path: Path) -> None:
    method = make_method()
    for entered, leader in ((True, True), (False, False)):
        trainer = make_trainer(method, data, rows, tmp_path)
        trainer.callbacks[1].entered, trainer.is_global_zero = entered, leader
        Pictures(tmp_path / "pictures").on_train_epoch_end(trainer, method)
    assert not (tmp_path / "pictures").exists()


@pytest.mark.usefixtures("quick")
def test_an_embedding_is_drawn_only_once_a_label_net_has_learnt(data: ImageData, rows: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    without = BCE(Tiny(), NAMES, stages=stages_of(["first"]))
    for method in (make_method(), without):
        trainer = make_trainer(method, data, rows, tmp_path, done=1)
        Pictures(tmp_path / "pictures").on_train_epoch_end(trainer, method)
        names = {path.name for path in (tmp_path / "pictures").iterdir()}
        assert names == {"predictions-first.png", "precision_recall-first.png"}


@pytest.mark.usefixtures("quick")
def test_drawing_changes_neither_weights_nor_mode_nor_random_state(data: ImageData, rows: Any, tmp_path: Path) -> None:
    method = make_method()
    trainer = make_trainer(method, data, rows, tmp_path)
    method.stage = method.stages[0]  # where dropout and running statistics are at work in training
    method.train()
    modes = [module.training for module in method.modules()]
    state = {name: value.clone() for name, value in method.state_dict().items()}
    generator, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    Pictures(tmp_path / "pictures").on_train_epoch_end(trainer, method)
    assert (tmp_path / "pictures" / "embedding-first.png").exists()
    assert any(modes) and not all(modes) and [module.training for module in method.modules()] == modes
    assert all(torch.equal(value, state[name]) for name, value in method.state_dict().items())
    assert torch.equal(torch.get_rng_state(), generator)
    assert np.array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002


@pytest.mark.usefixtures("quick")
def test_a_method_that_scores_regions_leaves_heat_maps_of_validation_images_and_is_as_before(
    data: ImageData, rows: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    batches_of = data.batches_of
    monkeypatch.setattr(data, "batches_of", lambda rows: seen.extend(rows) or batches_of(rows))
    torch.manual_seed(0)
    method = BCE(Tiny(), NAMES, stages=stages_of(["first"]), head="csra").train()
    trainer = make_trainer(method, data, rows, tmp_path, done=1)
    modes = [module.training for module in method.modules()]
    state = {name: value.clone() for name, value in method.state_dict().items()}
    generator = torch.get_rng_state()
    Pictures(tmp_path / "pictures").on_train_epoch_end(trainer, method)
    trainer.logger.experiment.flush()
    assert (tmp_path / "pictures" / "heat_maps-first.png").exists()
    assert "pictures/heat_maps" in shown_images(tmp_path)
    assert len(seen) == pictures.HEATED and set(seen) <= set(data.parts["validation"].tolist())
    assert any(modes) and [module.training for module in method.modules()] == modes
    assert all(torch.equal(value, state[name]) for name, value in method.state_dict().items())
    assert torch.equal(torch.get_rng_state(), generator)


@pytest.mark.usefixtures("quick")
def test_a_picture_that_fails_is_a_warning_and_the_others_are_drawn(
    data: ImageData, rows: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("out of memory")

    method = make_method().train()
    modes = [module.training for module in method.modules()]
    trainer = make_trainer(method, data, rows, tmp_path)
    rows["target"] = np.zeros_like(rows["target"])  # no curve can be drawn
    monkeypatch.setattr(method.label_net, "forward", fail)
    Pictures(tmp_path / "pictures").on_train_epoch_end(trainer, method)
    assert [path.name for path in (tmp_path / "pictures").iterdir()] == ["predictions-second.png"]
    curves, embedding = (record.getMessage() for record in caplog.records if record.levelno == logging.WARNING)
    assert "precision_recall" in curves and "no label has a positive image" in curves
    assert "embedding" in embedding and "RuntimeError: out of memory" in embedding
    assert [module.training for module in method.modules()] == modes


@pytest.mark.usefixtures("quick")
def test_a_request_to_stop_at_once_is_no_failed_picture(
    data: ImageData, rows: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: Any) -> None:
        raise Stopped(15)

    method = make_method()
    monkeypatch.setattr(pictures, "draw_curves", stop)
    with pytest.raises(Stopped):
        Pictures(tmp_path / "pictures").on_train_epoch_end(make_trainer(method, data, rows, tmp_path), method)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("quick")
def test_a_training_run_is_drawn_after_each_stage_and_ends_with_the_weights_of_one_without_pictures(
    cache: Path, tmp_path: Path
) -> None:
    weights = []
    for drawn in (True, False):
        method = make_method()
        source = Synthetic(size=80, side=37)
        data = ImageData(source, image_size=32, batch_size=16, validation_fraction=0.3, cache=str(cache), workers=0)
        callbacks = [Evaluation(), Stages(method.stages), *([Pictures(tmp_path / "pictures")] if drawn else [])]
        trainer = Trainer(
            accelerator="cpu", max_epochs=2, callbacks=callbacks, num_sanity_val_steps=0, enable_checkpointing=False,
            logger=TensorBoardLogger(tmp_path, name="", version=f"tensorboard{'' if drawn else '-without'}"),
            enable_progress_bar=False, enable_model_summary=False, use_distributed_sampler=False,
        )  # fmt: skip
        trainer.fit(method, datamodule=data)
        weights.append(method.state_dict())
    names = {path.name for path in (tmp_path / "pictures").iterdir()}
    assert names == {f"{kind}-{stage}.png" for kind in KINDS for stage in ("first", "second")} - {"embedding-first.png"}
    assert shown_images(tmp_path) == sorted(f"pictures/{kind}" for kind in KINDS)
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
