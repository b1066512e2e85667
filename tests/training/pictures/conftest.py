from pathlib import Path

import numpy as np
import pytest

from retdm.data.modules import ImageData
from retdm.data.synthetic.source import Synthetic


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def data(cache: Path) -> ImageData:
    source = Synthetic(size=80, side=37)
    return ImageData(source, image_size=32, batch_size=16, validation_fraction=0.3, cache=str(cache), workers=0)


@pytest.fixture
def rows(data: ImageData) -> dict[str, np.ndarray]:
    """What an evaluation of the validation split leaves."""
    index = np.sort(data.splits["validation"])
    target = data.source.targets[index].astype(np.float32)
    noise = np.random.default_rng(0).random(target.shape)
    scores = (0.4 * target + 0.6 * noise).astype(np.float32)
    return {"index": index, "scores": scores, "target": target, "known": np.ones(target.shape, bool)}
