import logging
from collections import OrderedDict
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from google.protobuf import text_format
from makers import image_batch
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from PIL import Image
from pytorch_lightning import Trainer
from pytorch_lightning.loggers import TensorBoardLogger
from sklearn.metrics import average_precision_score
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.projector import ProjectorConfig
from torch import Tensor, nn

from retdm.backbones.base import Backbone
from retdm.criteria import decide, evaluate
from retdm.criteria.mean_average_precision import label_average_precision
from retdm.data.augment import test_view as whole_view
from retdm.data.module import ImageData
from retdm.data.synthetic.source import Synthetic
from retdm.methods.deep import DeepMethod
from retdm.methods.networks.bce import BCE
from retdm.methods.networks.retdm import RETDM
from retdm.stop import Stopped
from retdm.training import draw_images, draw_labels, embedding, pictures
from retdm.training.evaluation import Evaluation
from retdm.training.pictures import Pictures
from retdm.training.stages import Stages

NAMES = ["desert", "mountains", "sea", "sunset", "trees"]
STAGES = [
    {"name": "first", "train": ["encoder", "classifier"], "losses": ["classification"]},
    {"name": "second", "train": ["label_net"], "losses": ["metric"]},
]
KINDS = ("predictions", "precision_recall", "labels", "embedding")


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
    index = np.sort(data.splits["validation"])
    target = data.source.targets[index].astype(np.float32)
    noise = np.random.default_rng(0).random(target.shape)
    scores = (0.4 * target + 0.6 * noise).astype(np.float32)
    return {"index": index, "scores": scores, "target": target, "known": np.ones(target.shape, bool)}


def precisions(rows: dict[str, np.ndarray]) -> np.ndarray:
    return label_average_precision(rows["scores"], rows["target"], rows["known"])


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


# ---- the grid


def test_hits_misses_extras_and_unknown_labels_are_told_apart_by_sign_and_colour() -> None:
    target, known, predicted = np.array([1, 1, 0, 0, 0]), np.array([1, 1, 1, 0, 1], bool), np.array([1, 0, 1, 1, 0])
    scores = np.array([0.934, 0.2, 1.0, 0.5, 0.0])
    words = draw_images.verdict(target, known, predicted, scores, NAMES)
    assert [text for text, _ in words] == ["desert .93", "−mountains .20", "+sea 1.00", "?sunset .50"]
    assert len({colour for _, colour in words}) == 4


def test_an_image_without_labels_that_none_was_predicted_for_is_a_hit() -> None:
    nothing = np.zeros(5, int)
    assert draw_images.verdict(nothing, np.ones(5, bool), nothing, nothing, NAMES) == [("none", draw_images.HIT)]


def test_captions_break_between_words_and_end_in_dots_where_they_are_too_long() -> None:
    words = [(name, "") for name in ("sea", "mountains", "sunset", "a-very-long-label-name", "trees")]
    lines = [[text for text, _ in line] for line in draw_images.in_lines(words, width=15, most=3)]
    assert lines == [["sea", "mountains"], ["sunset"], ["a-very-long-label-name"], ["…"]]


def test_the_rows_shown_are_distinct_and_carry_every_label_where_there_is_room() -> None:
    target = np.zeros((100, 7), int)
    target[np.arange(100), np.minimum(np.arange(100) // 15, 5)] = 1
    target[97, 6] = 1  # the only one of its label
    places = draw_images.choose_rows(target, 12)
    assert len(set(places)) == 12 and (target[places].sum(0) > 0).all()
    assert np.array_equal(places, draw_images.choose_rows(target, 12))
    assert places.max() - places.min() > 80


@pytest.mark.parametrize(("n", "labels", "expected"), [(5, 3, 5), (40, 30, 12), (1, 4, 1)])
def test_the_number_of_rows_shown_is_bounded_by_images_and_by_the_grid(n: int, labels: int, expected: int) -> None:
    places = draw_images.choose_rows(np.ones((n, labels), int), 12)
    assert len(places) == len(set(places)) == expected


def test_the_grid_shows_the_cached_images_of_its_rows_under_the_words_of_the_rule(data: ImageData, rows: Any) -> None:
    figure = draw_images.draw_predictions(data.images, rows, decide(rows["scores"], "top3"), NAMES, "title")
    places = draw_images.choose_rows(rows["target"], 12)
    assert len(figure.axes) == 12
    for axes, place in zip(figure.axes, places, strict=True):
        assert np.array_equal(axes.images[0].get_array(), data.images[rows["index"][place]])
        (caption,) = [artist for artist in axes.artists if hasattr(artist, "get_child")]
        texts = [area.get_text() for line in caption.get_child().get_children() for area in line.get_children()]
        predicted = {NAMES[j] for j in np.argsort(-rows["scores"][place])[:3]}
        assert {text.lstrip("+").rsplit(" ", 1)[0] for text in texts if not text.startswith("−")} == predicted


# ---- precision-recall curves


def test_the_area_under_each_curve_is_the_average_precision_in_its_legend(rows: Any) -> None:
    known = np.random.default_rng(1).random(rows["target"].shape) < 0.8
    rows |= {"known": known, "target": rows["target"] * np.array([1, 1, 1, 1, 0], np.float32)}  # no trees at all
    figure = draw_labels.draw_curves(rows, precisions(rows), NAMES, "title")
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


@pytest.mark.painted
def test_of_many_labels_only_the_best_and_the_worst_are_named() -> None:
    target = np.random.default_rng(2).random((60, 50)) < 0.3
    rows = {"scores": np.random.default_rng(3).random((60, 50)), "target": target, "known": np.ones_like(target)}
    figure = draw_labels.draw_curves(rows, precisions(rows), [f"${j}$" for j in range(50)], "title")
    values = [float(text.get_text().split()[0]) for text in figure.legends[0].get_texts()]
    assert len(figure.axes[0].lines) == 20 and len(values) == 20 and values == sorted(values, reverse=True)
    (others,) = figure.axes[0].collections
    assert len(others.get_segments()) == 30
    assert pictures.rendered(figure).shape == (600, 912, 3)


# ---- a bar a label


def test_a_label_has_its_precision_its_f1_and_what_chance_would_reach(rows: Any) -> None:
    known = np.random.default_rng(1).random(rows["target"].shape) < 0.8
    rows |= {"known": known}
    predicted = decide(rows["scores"], "half")
    values = precisions(rows)
    axes = draw_labels.draw_bars(rows, values, predicted, NAMES, "title").axes[0]
    f1, chance = (line.get_xdata() for line in axes.lines)
    expected = evaluate(rows["scores"], rows["target"], known, NAMES, predicted)["per_label"]
    assert len(axes.patches) == 5
    for place, text in enumerate(axes.get_yticklabels()):
        name, positives = text.get_text().split("  ")
        assert int(positives) == expected[name]["positives"]
        assert axes.patches[place].get_width() == pytest.approx(expected[name]["AP"])
        assert f1[place] == pytest.approx(expected[name]["F1"])
        assert chance[place] == pytest.approx(int(positives) / known[:, NAMES.index(name)].sum())
    assert [bar.get_width() for bar in axes.patches] == sorted(values, reverse=True)


def test_of_two_thousand_labels_the_most_telling_are_drawn_in_few_strokes() -> None:
    generator = np.random.default_rng(0)
    shape, labels = (60, 2000), [f"label {j}" for j in range(2000)]
    target = generator.random(shape) < 0.2
    rows = {"scores": generator.random(shape), "target": target, "known": np.ones(shape, bool), "index": np.arange(60)}
    values, predicted = precisions(rows), rows["scores"] > 0.5
    images = np.zeros((60, 8, 8, 3), np.uint8)
    space = embedding.Space(generator.random((60, 4)), target, np.ones(60, bool), np.zeros((0, 4)), target)
    figures = (
        draw_labels.draw_curves(rows, values, labels, "title"),
        draw_labels.draw_bars(rows, values, predicted, labels, "title"),
        draw_images.draw_predictions(images, rows, predicted, labels, "title"),
        embedding.draw_embedding(space, labels, "title"),
    )
    for figure in figures:
        assert len(figure.findobj(lambda artist: isinstance(artist, Text | Line2D | Rectangle))) < 1000


# ---- the shared embedding


def test_the_embedding_is_what_both_nets_give_in_evaluation_mode(data: ImageData) -> None:
    method = make_method()
    method.stage = method.stages[0]  # where dropout and running statistics are at work in training
    space = embedding.embed(method.train(), data, with_sets=True)
    method.eval()
    with torch.no_grad():
        for row, point, target in zip(data.splits["validation"], space.images, space.image_targets, strict=True):
            image = method.normalised(whole_view(data.images[row], 32)[None])
            assert point == pytest.approx(method.encoder(image_batch(image))[0].numpy(), abs=1e-5)
            assert np.array_equal(target, data.source.targets[row])
        carried = [tuple(data.source.targets[row].tolist()) for row in data.splits["train"]]
        assert len(space.set_targets) == len(set(carried)) == len(space.sets)
        counts = []
        for point, target in zip(space.sets, space.set_targets, strict=True):
            seen = method.label_net(torch.from_numpy(target[None]).float())
            assert point == pytest.approx(seen[0].numpy(), abs=1e-5)
            counts.append(carried.count(tuple(target.tolist())))
    assert counts == sorted(counts, reverse=True)


def test_label_sets_with_unknown_cells_are_no_label_sets(data: ImageData) -> None:
    data.source.known = np.ones_like(data.source.known)
    train, validation = data.splits["train"], data.splits["validation"]
    data.source.known[train[1:]] = False
    data.source.known[validation[0], 0] = False
    space = embedding.embed(make_method(), data, with_sets=False)
    assert np.array_equal(space.set_targets, data.source.targets[train[:1]])
    assert not space.complete[0] and space.complete[1:].all() and len(space.sets) == 0


def test_the_projector_lists_every_stage_once_the_last_first_though_runs_resume(tmp_path: Path) -> None:
    sea = np.eye(5, dtype=np.uint8)[2]
    complete = np.array([True, True, False])
    space = embedding.Space(np.eye(3), np.stack([sea, 0 * sea, sea]), complete, np.ones((1, 3)), sea[None])
    for stage in ("first", "second", "second"):  # nothing but the files is kept from one to the next
        embedding.write_projector(tmp_path, stage, ["first", "second"], space, NAMES)
    config = text_format.Parse((tmp_path / "projector_config.pbtxt").read_text(), ProjectorConfig())
    assert [each.tensor_name for each in config.embeddings] == ["second", "first"]
    for each in config.embeddings:
        points = np.loadtxt(tmp_path / each.tensor_path, delimiter="\t")
        assert np.array_equal(points, [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1]])
        lines = (tmp_path / each.metadata_path).read_text().splitlines()
        assert lines == ["kind\tlabel set", "image\tsea", "image\tnone", "image\tsea?", "label set\tsea"]
    assert not list(tmp_path.rglob("*.part"))


def test_names_of_label_sets_neither_overlap_nor_leave_the_axes() -> None:
    rng = np.random.default_rng(0)
    names = [f"a long name of a label set {j}" for j in range(14)]
    of_images = np.eye(14, dtype=np.uint8)[np.zeros(30, int)]
    space = embedding.Space(
        rng.normal(size=(30, 6)), of_images, np.ones(30, bool), rng.normal(size=(14, 6)), np.eye(14)
    )
    figure = embedding.draw_embedding(space, names, "title")
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    assert len(boxes) > 7
    assert all(box.count_overlaps(boxes) == 1 for box in boxes)  # itself
    assert all(box.x0 >= figure.axes[0].bbox.x0 and box.x1 <= figure.axes[0].bbox.x1 for box in boxes)


# ---- the callback


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


def test_label_sets_are_embedded_only_once_a_label_net_has_learnt(
    data: ImageData, rows: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spaces: list[embedding.Space] = []
    monkeypatch.setattr(pictures, "draw_embedding", lambda space, *_: spaces.append(space))
    torch.manual_seed(0)
    without = BCE(Tiny(), NAMES, stages=stages_of(["first"]))
    for method, done in ((make_method(), 1), (without, 1), (make_method(), 2)):
        draw(method, data, rows, tmp_path, done=done)
    assert [len(space.sets) > 0 for space in spaces] == [False, False, True]
    assert all(len(space.images) == len(data.splits["validation"]) for space in spaces)


def test_drawing_changes_neither_weights_nor_mode_nor_random_state(data: ImageData, rows: Any, tmp_path: Path) -> None:
    method = make_method()
    method.stage = method.stages[0]  # where dropout and running statistics are at work in training
    method.train()
    modes = [module.training for module in method.modules()]
    state = {name: value.clone() for name, value in method.state_dict().items()}
    generator, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    draw(method, data, rows, tmp_path, done=1)
    assert (tmp_path / "pictures" / "embedding-first.png").exists()
    assert any(modes) and not all(modes) and [module.training for module in method.modules()] == modes
    assert all(torch.equal(value, state[name]) for name, value in method.state_dict().items())
    assert torch.equal(torch.get_rng_state(), generator)
    assert np.array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002


def test_a_method_that_scores_regions_leaves_heat_maps_of_validation_images_and_is_as_before(
    data: ImageData, rows: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    batches_of = data.batches_of
    monkeypatch.setattr(data, "batches_of", lambda rows: seen.extend(rows) or batches_of(rows))
    torch.manual_seed(0)
    method = BCE(Tiny(), NAMES, stages=stages_of(["first"]), head="csra").train()
    modes = [module.training for module in method.modules()]
    state = {name: value.clone() for name, value in method.state_dict().items()}
    generator = torch.get_rng_state()
    draw(method, data, rows, tmp_path, done=1)
    assert (tmp_path / "pictures" / "heat_maps-first.png").exists()
    assert "view/heat_maps" in shown_images(tmp_path)
    seen = seen[: draw_images.HEATED]  # the embedding comes after
    assert len(seen) == draw_images.HEATED and set(seen) <= set(data.splits["validation"].tolist())
    assert any(modes) and [module.training for module in method.modules()] == modes
    assert all(torch.equal(value, state[name]) for name, value in method.state_dict().items())
    assert torch.equal(torch.get_rng_state(), generator)


def test_a_picture_that_fails_is_a_warning_and_the_others_are_drawn(
    data: ImageData, rows: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("out of memory")

    method = make_method().train()
    modes = [module.training for module in method.modules()]
    rows["target"] = np.zeros_like(rows["target"])  # no curve can be drawn
    monkeypatch.setattr(method.label_net, "forward", fail)
    draw(method, data, rows, tmp_path)
    assert [path.name for path in (tmp_path / "pictures").iterdir()] == ["predictions-second.png"]
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
    monkeypatch.setattr(pictures, "draw_curves", stop)
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
        views = partial(data.part_loader, "train")
        evaluation, stages = Evaluation(), Stages(method.stages, views)
        pictures = Pictures(tmp_path / "pictures", data, stages, evaluation)
        callbacks = [evaluation, stages, *([pictures] if drawn else [])]
        trainer = Trainer(
            accelerator="cpu", max_epochs=2, callbacks=callbacks, num_sanity_val_steps=0, enable_checkpointing=False,
            logger=TensorBoardLogger(tmp_path, name="", version=f"tensorboard{'' if drawn else '-without'}"),
            enable_progress_bar=False, enable_model_summary=False, use_distributed_sampler=False,
        )  # fmt: skip
        trainer.fit(method, data.train_loader(), data.part_loader("validation"))
        weights.append(method.state_dict())
    names = {path.name for path in (tmp_path / "pictures").iterdir()}
    assert names == {f"{kind}-{stage}.png" for kind in KINDS for stage in ("first", "second")}
    assert shown_images(tmp_path) == sorted(f"view/{kind}" for kind in KINDS)
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
