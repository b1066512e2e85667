"""The smoke experiment: every method of conf/method through train.py's own path on drawn images."""

import json
from pathlib import Path

import pytest

from retdm.commands.train import train
from retdm.criteria import CRITERIA
from retdm.registry import CONF
from retdm.settings.compose import compose_settings

METHODS = sorted(file.stem for file in (CONF / "method").glob("*.yaml"))
# The same path with another loss; tests/methods/test_methods.py trains them too.
LIKE_OTHERS = ("asl", "center", "cnn_softmax", "cnn_warp", "retdm_oneway")


@pytest.mark.parametrize(
    "method", [pytest.param(name, marks=pytest.mark.slow) if name in LIKE_OTHERS else name for name in METHODS]
)
def test_every_method_trains_and_is_evaluated_on_drawn_images(method: str, tmp_path: Path, tiny_cache: Path) -> None:
    words = ["experiment=smoke", f"method={method}", "data.size=60", f"data.cache={tiny_cache}", f"outputs={tmp_path}"]
    folder = train(compose_settings([*words, "trainer.accelerator=cpu", "trainer.precision=32-true"]))
    found = json.loads((folder / "metrics.json").read_text())
    assert all(found["test"][name] is not None for name in CRITERIA)
    assert found["test_validation_threshold"] is not None
