"""The smoke experiment: every method of conf/method, trained on drawn images, ranks test images better than chance."""

import json
from pathlib import Path

import numpy as np
import pytest
from composing import composed

from retdm.commands.train import train
from retdm.criteria import CRITERIA
from retdm.criteria.mean_average_precision import label_average_precision, mean_average_precision
from retdm.registry import CONF

METHODS = sorted(file.stem for file in (CONF / "method").glob("*.yaml"))
# The same path with another loss, or another value of a setting; tests/methods trains them too.
LIKE_OTHERS = ("asl", "center", "cnn_softmax", "cnn_warp", "large_loss", "mi_svm_witness", "mlloc", "retdm_oneway")
# Enough data and steps to learn from.
ENOUGH = ["data.size=160", "data.image_size=24", "data.test_fraction=0.3", "schedule=from_scratch"]
SIX = ["schedule.end_to_end.max_epochs=6"]  # instead of 11, of those that learn from fewer
ITS_OWN = {
    "abmil": SIX,
    "cnn_rnn": SIX,
    "role": SIX,
    "mi_svm": ["method.rounds=3"],
    "mimlfast": ["method.epochs=5"],
    "c2ae": ["data.batch_size=16"],  # its embedding is estimated from a batch
    "ranklsim": ["method.penalty=0.0001", "method.rounds=2", "method.steps=2000"],
}


def shuffled(rows: dict[str, np.ndarray]) -> tuple[float, float]:
    """Mean and deviation of the mAP of the same scores given to other images."""
    rng = np.random.default_rng(0)
    orders = [rng.permutation(len(rows["scores"])) for _ in range(50)]
    found = [label_average_precision(rows["scores"][order], rows["target"], rows["known"]) for order in orders]
    values = np.array([mean_average_precision(each) for each in found], float)
    return float(values.mean()), float(values.std())


@pytest.mark.parametrize(
    "method", [pytest.param(name, marks=pytest.mark.slow) if name in LIKE_OTHERS else name for name in METHODS]
)
def test_every_method_learns_from_drawn_images(method: str, tmp_path: Path, tiny_cache: Path) -> None:
    words = ["experiment=smoke", f"method={method}", *ENOUGH, "data.batch_size=8", *ITS_OWN.get(method, [])]
    places = [f"data.cache={tiny_cache}", f"outputs={tmp_path}"]
    folder = train(composed(*words, *places, "trainer.accelerator=cpu", "trainer.precision=32-true"))
    found = json.loads((folder / "metrics.json").read_text())
    assert all(found["test"][name] is not None for name in CRITERIA)
    assert found["test_validation_threshold"] is not None
    with np.load(folder / "predictions.npz") as rows:
        chance, deviation = shuffled(dict(rows))
    assert found["test"]["mAP"] > chance + 2 * deviation
