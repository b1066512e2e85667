"""What methods on feature vectors share."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_info, threadpool_limits  # type: ignore[import-untyped]

import retdm
from retdm.backbones.vgg import VGGSmall
from retdm.commands.train import train
from retdm.errors import UserError
from retdm.methods.components.shallow import clusters, constant_labels, log_loss, lowest_loss, nearest, smoothed_prior
from retdm.methods.fitted import FittedMethod
from retdm.methods.on_features.lmmo_knn import LMMOkNN
from retdm.methods.on_features.ml_knn import MLkNN
from retdm.methods.on_features.mlspl import MLSPL
from retdm.runs.settings import RunSettings

LABELS = ["a", "b", "c", "d"]
CLASSES = (MLkNN, LMMOkNN, MLSPL)


def make(kind: type[FittedMethod], **settings: Any) -> FittedMethod:
    return kind(VGGSmall(channels=[8, 8]), LABELS, **settings)


def problem(n: int = 50) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Three labels that follow the features, in pairs of equal label sets, and one that no row carries."""
    rng = np.random.default_rng(3)
    x = np.abs(rng.normal(size=(n, 12))).astype(np.float32)
    target = np.stack([x[:, 0] > 0.7, x[:, 1] > 0.7, x[:, 0] > x[:, 2], x[:, 0] < 0], 1).astype(np.uint8)
    return x, target, np.ones_like(target, bool)


def scores(method: FittedMethod, x: np.ndarray) -> np.ndarray:
    return method.decision(torch.from_numpy(x).double()).numpy()


@pytest.mark.parametrize("kind", CLASSES)
def test_scores_are_probabilities_that_know_the_labels_and_the_same_twice(kind: type[FittedMethod]) -> None:
    x, target, known = problem(200)
    found = []
    for _ in range(2):
        method = make(kind, seed=5)
        method.fit(x[:120], target[:120], known[:120])
        found.append(scores(method, x[120:]))
    assert np.array_equal(*found)
    assert found[0].dtype == np.float64 and found[0].min() >= 0 and found[0].max() <= 1
    right = ((found[0] >= 0.5) == target[120:])[:, :3].mean()
    usual = np.maximum(target.mean(0), 1 - target.mean(0))[:3].mean()
    assert right > usual + 0.1


@pytest.mark.parametrize("kind", CLASSES)
def test_a_label_of_one_class_scores_its_smoothed_share_everywhere(kind: type[FittedMethod]) -> None:
    x, target, known = problem()
    method = make(kind)
    method.fit(x, target, known)
    assert scores(method, x)[:, 3] == pytest.approx(1 / 52)
    target[:, 3], known[10:, 3] = 1, False
    method.fit(x, target, known)
    assert scores(method, x)[:, 3] == pytest.approx(11 / 12)


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("mark", [0, 1])
def test_one_label_set_in_all_rows_is_no_error(kind: type[FittedMethod], mark: int) -> None:
    x, target, known = problem(12)
    method = make(kind)
    method.fit(x, np.full_like(target, mark), known)
    assert scores(method, x) == pytest.approx(np.full(target.shape, (12 * mark + 1) / 14))


@pytest.mark.parametrize("kind", CLASSES)
def test_what_an_unknown_cell_holds_changes_nothing(kind: type[FittedMethod]) -> None:
    x, target, known = problem()
    known = np.random.default_rng(0).random(known.shape) < 0.7
    found = []
    for marks in (target, np.where(known, target, 1 - target)):
        method = make(kind)
        method.fit(x, marks, known)
        found.append(scores(method, x))
    assert np.array_equal(*found)
    assert np.isfinite(found[0]).all()


@pytest.mark.parametrize("kind", CLASSES)
def test_a_checkpoint_fills_a_fresh_method(kind: type[FittedMethod], tmp_path: Any) -> None:
    x, target, known = problem()
    method = make(kind)
    method.fit(x, target, known)
    torch.save(method.state_dict(), tmp_path / "x.pt")
    fresh, fitted_otherwise = make(kind), make(kind)
    fitted_otherwise.fit(x[:20], target[:20], known[:20])
    for other in (fresh, fitted_otherwise):
        other.load_state_dict(torch.load(tmp_path / "x.pt", weights_only=True))
        assert np.array_equal(scores(other, x), scores(method, x))


def test_a_checkpoint_that_lacks_what_was_learnt_is_refused() -> None:
    state = make(MLkNN).state_dict()
    del state["likelihood"]
    with pytest.raises(RuntimeError, match="likelihood"):
        make(MLkNN).load_state_dict(state)


@pytest.mark.parametrize("name", ["ml_knn", "lmmo_knn", "mlspl"])
def test_a_run_is_judged_again_to_the_last_bit(name: str, tiny: Callable[..., RunSettings]) -> None:
    from command_line import in_process

    folder = train(tiny(f"method={name}", "refit=true"))
    report = json.loads((folder / "metrics.json").read_text())
    assert in_process("test.py", f"run={folder}").code == 0
    assert json.loads((folder / "test.json").read_text())["test"] == report["test"]
    assert len(retdm.load(folder).labels) == 5


@pytest.mark.parametrize(
    "kind, setting, grid",
    [(MLkNN, "k", [1, 7, 30]), (LMMOkNN, "ridge", [0.1, 10.0, 1000.0]), (MLSPL, "penalty", [0.1, 3.0, 100.0])],
)
def test_tuning_takes_the_value_of_the_lowest_loss_over_folds(
    kind: type[FittedMethod], setting: str, grid: list[Any]
) -> None:
    x, target, known = problem()
    more: dict[str, Any] = {"rounds": 1, "groups": 2} if kind is MLSPL else {}
    method = make(kind, tune=True, grid=grid, **more)
    method.fit(x, target, known)
    fold = np.random.default_rng(0).permutation(50) % 5
    losses = {}
    for value in grid:
        losses[value] = 0.0
        for held in range(5):
            model = make(kind, **{setting: value}, **more)
            model.fit(x[fold != held], target[fold != held], known[fold != held])
            p = scores(model, x[fold == held]).clip(0.001, 0.999)
            losses[value] -= np.log(np.where(target[fold == held] == 1, p, 1 - p)).sum()
    best = min(losses, key=losses.__getitem__)
    assert getattr(method, setting) == best
    alone = make(kind, **{setting: best}, **more)
    alone.fit(x, target, known)
    assert np.array_equal(scores(method, x), scores(alone, x))
    loaded = make(kind, tune=True, grid=grid, **more)
    loaded.load_state_dict(method.state_dict())
    assert np.array_equal(scores(method, x), scores(loaded, x))


@pytest.mark.parametrize("kind", CLASSES)
def test_an_empty_grid_and_values_out_of_range_are_named(kind: type[FittedMethod]) -> None:
    with pytest.raises(UserError, match="method.grid is empty"):
        make(kind, tune=True, grid=[])
    with pytest.raises(UserError, match="method.grid=-1"):
        make(kind, tune=True, grid=[-1, 2])


@pytest.mark.parametrize(
    "kind, settings, message",
    [
        (MLkNN, {"k": 0}, "method.k=0"),
        (MLkNN, {"smoothing": 0.0}, "method.smoothing=0.0"),
        (LMMOkNN, {"votes": "some"}, "method.votes=some"),
        (LMMOkNN, {"neighbours": "rows"}, "method.neighbours=rows"),
        (LMMOkNN, {"ridge": 0.0}, "method.ridge=0.0"),
        (MLSPL, {"pace": "fast"}, "method.pace=fast"),
        (MLSPL, {"start": 1.5}, "method.start=1.5"),
        (MLSPL, {"groups": 0}, "method.groups=0"),
    ],
)
def test_a_setting_that_cannot_be_is_named(kind: type[FittedMethod], settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make(kind, **settings)


def test_the_nearest_rows_are_those_of_plain_loops() -> None:
    rng = np.random.default_rng(0)
    rows, queries = torch.from_numpy(rng.normal(size=(30, 4))), torch.from_numpy(rng.normal(size=(7, 4)))

    def loops(from_: torch.Tensor, own: bool) -> list[list[int]]:
        found = []
        for i, query in enumerate(from_):
            distance = [float(((query - row) ** 2).sum()) for row in rows]
            order = sorted(range(len(rows)), key=distance.__getitem__)
            found.append([j for j in order if not (own and j == i)][:5])
        return found

    assert nearest(queries, rows, 5, chunk=3).tolist() == loops(queries, False)
    assert nearest(rows, rows, 5, chunk=7).tolist() == loops(rows, True)


def test_every_row_is_judged_once_by_what_the_others_taught_and_a_tie_goes_to_the_earlier() -> None:
    judged: dict[str, list[int]] = {"x": [], "y": [], "z": []}

    def loss(value: str, fitted: np.ndarray, held: np.ndarray) -> float:
        assert np.array_equal(fitted, ~held)
        judged[value] += np.flatnonzero(held).tolist()
        return {"x": 2.0, "y": 1.0, "z": 1.0}[value]

    assert lowest_loss(["x", "y", "z"], loss, 13, 0) == "y"
    assert all(sorted(rows) == list(range(13)) for rows in judged.values())


def test_shares_and_losses_are_of_known_cells() -> None:
    target = np.array([[1, 0, 1], [1, 1, 0], [0, 1, 1]])
    known = np.array([[True, True, False], [True, False, False], [False, True, False]])
    assert smoothed_prior(target, known).tolist() == [3 / 4, 2 / 4, 1 / 2]
    assert constant_labels(target, known).tolist() == [True, False, True]
    p = np.array([[0.9, 0.0, 0.5], [0.8, 0.3, 0.2], [0.7, 0.6, 1.0]])
    expected = -np.log([0.9, 0.999, 0.8, 0.6]).sum()
    assert log_loss(p, target, known) == pytest.approx(expected)


def test_clusters_add_up_in_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = []
    fit = KMeans.fit

    def watched(self: KMeans, x: Any) -> KMeans:
        threads.extend(pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "openmp")
        return fit(self, x)

    monkeypatch.setattr(KMeans, "fit", watched)
    x = np.repeat(np.eye(3), 4, axis=0)
    with threadpool_limits(4, user_api="openmp"):
        means, group = clusters(x, 5, seed=0, starts=2)
    assert threads and set(threads) == {1}
    assert np.array_equal(means[group], x)
