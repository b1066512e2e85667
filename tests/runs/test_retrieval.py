"""Criteria of retrieval by the embeddings of a method."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from deep_methods import METHODS, ready

from retdm.criteria.retrieval import evaluate_retrieval
from retdm.runs import retrieval
from retdm.runs.retrieval import evaluate_retrieval_of
from retdm.settings.run_settings import RunSettings

Tiny = Callable[..., RunSettings]


def data_of(method: Any) -> Any:
    return method.trainer.datamodule


@torch.no_grad()
def embedded(method: Any, rows: list[int]) -> np.ndarray:
    """The embeddings of some rows, one image after the other."""
    method.eval()
    data = data_of(method)
    batches = [method.prepared(data.rows().__getitems__([(0, row)])) for row in rows]
    return np.concatenate([method.encoder(batch).numpy() for batch in batches])


def test_images_and_label_sets_are_searched_among_the_test_images(tiny: Tiny) -> None:
    method, _ = ready(tiny("method=retdm", "method.embedding_dim=6"))
    data = data_of(method)
    rows = sorted(data.splits["test"].tolist())
    sets, images, own = data.source.targets[rows], embedded(method, rows), np.arange(len(rows))
    distinct = np.array(sorted(map(list, {tuple(row) for row in sets.tolist()})))
    points = method.label_net(torch.from_numpy(distinct).float()).detach().numpy()
    found = evaluate_retrieval_of(method, data)
    for name, expected in (
        ("by_image", evaluate_retrieval(images, sets, images, sets, own)),
        ("by_label_set", evaluate_retrieval(points, distinct, images, sets)),
    ):
        assert found[name] == pytest.approx(expected, abs=1e-6)
    assert found["by_label_set"]["without_relevant"] == 0


def test_images_with_an_unknown_label_are_left_out_and_queries_are_no_more_than_a_number(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retrieval, "QUERIES", 3)
    method, _ = ready(tiny("method=bce"))
    data = data_of(method)
    rows = sorted(data.splits["test"].tolist())
    data.source.known[rows[2], 1] = False
    kept = [row for row in rows if row != rows[2]]
    own = np.array([0, len(kept) // 2, len(kept) - 1])
    sets, images = data.source.targets[kept], embedded(method, kept)
    found = evaluate_retrieval_of(method, data)
    assert found == {"by_image": pytest.approx(evaluate_retrieval(images[own], sets[own], images, sets, own), abs=1e-6)}
    data.source.known[:] = False
    assert evaluate_retrieval_of(method, data)["by_image"]["queries"] == 0


@pytest.mark.parametrize("name", METHODS)
def test_every_deep_method_is_evaluated(tiny: Tiny, name: str) -> None:
    method, _ = ready(tiny(f"method={name}"))
    assert 0 < evaluate_retrieval_of(method, data_of(method))["by_image"]["mAP"] <= 1  # type: ignore[operator]
