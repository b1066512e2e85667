"""Distances of a data set: computed once, shared by splits and methods, and the same without a cache."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import in_process

import retdm
from retdm.bags import Bags
from retdm.commands.train import train
from retdm.errors import UserError
from retdm.methods.components import bag_distances as pure
from retdm.methods.components.bag_distances import bag_distances
from retdm.runs.build import build_data, build_method, precompute
from retdm.settings.compose import compose_settings
from retdm.settings.run_settings import RunSettings
from retdm.training.precompute import distances

Tiny = Callable[..., RunSettings]


@pytest.fixture(autouse=True)
def quiet() -> None:
    logging.getLogger("pytorch_lightning.utilities.rank_zero").setLevel(logging.WARNING)


@pytest.fixture
def bags(tmp_path: Path) -> Callable[..., RunSettings]:
    """Settings of a run on 40 bags of 1 to 4 instances."""
    rng = np.random.default_rng(0)
    sizes = rng.integers(1, 5, 40)
    target = (rng.random((40, 3)) < 0.4).astype(np.uint8)
    instances = rng.normal(0, 1, (sizes.sum(), 3)) + 3 * np.repeat(target, sizes, 0)
    file = tmp_path / "bags.npz"
    np.savez(file, instances=instances, offsets=np.cumsum([0, *sizes]), targets=target, names=["a", "b", "c"])
    fixed = ["data=bags", f"data.file={file}", f"outputs={tmp_path}", "trainer.accelerator=cpu"]
    return lambda *more: compose_settings([*fixed, "trainer.precision=32-true", *more])


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was computed, one name a table."""
    found: list[str] = []
    compute = distances._compute
    monkeypatch.setattr(distances, "_compute", lambda kind, *rest: found.append(kind) or compute(kind, *rest))
    return found


def table_of(settings: RunSettings) -> np.ndarray:
    data = build_data(settings)
    method: Any = build_method(settings, data.labels, dim=data.dim)
    precompute(settings, data, method)
    return np.array(method.table)


@pytest.mark.parametrize("method", ["mimlsvm", "mimlknn", "emd_svm"])
def test_the_table_holds_the_distances_of_all_bags(bags: Any, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = bags(f"method={method}", "method.scale=standard")
    data = build_data(settings)
    source = data.source
    x, learnt = source.instances.astype(np.float64), data.examples("train")[0].instances.astype(np.float64)
    assert len(learnt) < len(x)
    scaled = Bags((x - learnt.mean(0)) / learnt.std(0), source.offsets, np.arange(len(source)))
    monkeypatch.setattr(pure, "BLOCK", 30)
    np.testing.assert_allclose(table_of(settings), bag_distances(settings.method["distance"], scaled, scaled), 1e-5)


def test_a_table_is_computed_once_for_all_methods_and_where_nothing_is_scaled_for_all_splits(
    bags: Any, computed: list[str]
) -> None:
    first = table_of(bags("method=mimlsvm"))
    np.testing.assert_array_equal(table_of(bags("method=mimlsvm", "seed=5")), first)
    np.testing.assert_array_equal(
        table_of(bags("method=emd_svm", "method.distance=max_hausdorff", "method.scale=minmax")), first
    )
    assert computed == ["max_hausdorff"]
    table_of(bags("method=mimlsvm", "method.scale=none"))
    table_of(bags("method=mimlsvm", "method.scale=none", "data.split=3"))
    table_of(bags("method=mimlknn"))
    assert computed == ["max_hausdorff", "max_hausdorff", "average_hausdorff"]
    np.testing.assert_array_equal(table_of(bags("method=mimlsvm", "data.cache=none")), first)


@pytest.mark.parametrize("method", ["mimlsvm", "mimlknn"])
def test_bags_that_are_not_learnt_from_move_neither_scale_nor_scores_of_others(bags: Any, method: str) -> None:
    settings = bags(f"method={method}", "method.scale=minmax", "data.cache=none")
    found = []
    for factor in (1.0, 100.0):
        data: Any = build_data(settings)
        rows = np.concatenate([data.splits[part] for part in ("validation", "test")])
        held = np.isin(np.repeat(np.arange(40), np.diff(data.source.offsets)), rows[1:])
        data.source.instances[held] *= factor
        built: Any = build_method(settings, data.labels, dim=data.dim)
        precompute(settings, data, built)
        built.fit(*data.examples("train"))
        found.append([built.shift.numpy(), built.spread.numpy(), built.table[rows[0]][data.splits["train"]]])
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_computation_that_is_killed_leaves_no_table(
    bags: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(*ignored: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(distances, "_between", dies)
        with pytest.raises(KeyboardInterrupt):
            table_of(bags("method=mimlsvm"))
    assert not list((tmp_path / "cache").glob("*.distances"))
    np.testing.assert_array_equal(table_of(bags("method=mimlsvm")), table_of(bags("method=mimlsvm", "data.cache=none")))


def test_a_table_with_other_bytes_is_not_believed(bags: Any, tmp_path: Path) -> None:
    table_of(bags("method=mimlsvm"))
    (file,) = (tmp_path / "cache").glob("*.distances")
    content = file.read_bytes()
    for other in (b"short", content[: len(content) // 2] + bytes(len(content) // 2)):
        file.write_bytes(other)
        with pytest.raises(UserError, match=r"\(the distances\) is damaged"):
            table_of(bags("method=mimlsvm"))


@pytest.mark.parametrize("method", ["mimlsvm", "mimlknn", "emd_svm"])
def test_a_run_is_evaluated_again_to_the_last_bit_and_predicts_new_bags_as_it_did(bags: Any, method: str) -> None:
    settings = bags(f"method={method}", "refit=true")
    folder = train(settings)
    drawn = {path.name for path in (folder / "pictures").iterdir()}
    assert drawn == {"embedding-fitted.png", "labels-fitted.png", "precision_recall-fitted.png"}
    report = json.loads((folder / "metrics.json").read_text())
    assert report["kept"] > 0
    assert in_process("test.py", f"run={folder}").code == 0
    again = json.loads((folder / "test.json").read_text())
    for key in ("test", "test_validation_threshold", "validation", "per_label", "threshold"):
        assert again[key] == report[key]
    rows = np.load(folder / "predictions.npz")
    source = build_data(settings).source
    given = [source.instances[source.offsets[i] : source.offsets[i + 1]] for i in rows["index"]]
    np.testing.assert_allclose(retdm.load(folder).predict(given), rows["scores"], atol=1e-5)


def test_regions_of_images_are_bags(tiny: Tiny, tmp_path: Path, computed: list[str]) -> None:
    settings = tiny("method=mimlknn", "data.size=30")
    settings.data["cache"] = str(tmp_path / "cache")
    table = table_of(settings)
    data = build_data(settings)
    method: Any = build_method(settings, data.labels, dim=data.dim)
    data = precompute(settings, data, method)
    learnt = data.examples("train")[0].instances
    data.splits = {"all": np.arange(30)}
    bags, _, _ = data.examples("all")
    low, high = learnt.min(0), learnt.max(0)
    spread = np.where(high > low, high - low, 1).astype(np.float64)
    scaled = bags.scaled(low, spread)
    np.testing.assert_allclose(table, bag_distances("average_hausdorff", scaled, scaled), rtol=1e-4, atol=1e-6)
    assert len(bags.instances) > 30
    folder = train(settings.changed(outputs=str(tmp_path)))
    assert json.loads((folder / "metrics.json").read_text())["test"]["mAP"] > 0
    assert computed == ["average_hausdorff"]
