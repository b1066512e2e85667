from pathlib import Path

import numpy as np
import pytest
import torch
from google.protobuf import text_format
from makers import image_batch
from picture_toys import NAMES, make_method
from tensorboard.plugins.projector import ProjectorConfig

from retdm.data.augment import test_view as whole_view
from retdm.data.modules import ImageData
from retdm.data.preparation import WHOLE
from retdm.training.pictures.embedding import Space, draw_embedding, embed, write_projector


def test_the_embedding_is_what_both_nets_give_in_evaluation_mode(data: ImageData) -> None:
    method = make_method()
    method.stage = method.stages[0]  # where dropout and running statistics are at work in training
    space = embed(method.train(), data, with_sets=True)
    method.eval()
    with torch.no_grad():
        for row, point, target in zip(data.splits["validation"], space.images, space.image_targets, strict=True):
            image = method.normalised(whole_view(data.images[row], 32, WHOLE)[None])
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
    space = embed(make_method(), data, with_sets=False)
    assert np.array_equal(space.set_targets, data.source.targets[train[:1]])
    assert not space.complete[0] and space.complete[1:].all() and len(space.sets) == 0


def test_the_projector_lists_every_stage_once_the_last_first_though_runs_resume(tmp_path: Path) -> None:
    sea = np.eye(5, dtype=np.uint8)[2]
    complete = np.array([True, True, False])
    space = Space(np.eye(3), np.stack([sea, 0 * sea, sea]), complete, np.ones((1, 3)), sea[None])
    for stage in ("first", "second", "second"):  # nothing but the files is kept from one to the next
        write_projector(tmp_path, stage, ["first", "second"], space, NAMES)
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
    space = Space(rng.normal(size=(30, 6)), of_images, np.ones(30, bool), rng.normal(size=(14, 6)), np.eye(14))
    figure = draw_embedding(space, names, "title")
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    assert len(boxes) > 7
    assert all(box.count_overlaps(boxes) == 1 for box in boxes)  # itself
    assert all(box.x0 >= figure.axes[0].bbox.x0 and box.x1 <= figure.axes[0].bbox.x1 for box in boxes)
