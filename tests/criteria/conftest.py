import numpy as np
import pytest
from awkward import Case, awkward


@pytest.fixture(params=range(5))
def case(request: pytest.FixtureRequest) -> Case:
    return awkward(request.param)


@pytest.fixture
def plain() -> Case:
    """No ties, no empty or full row, every class present and predicted, all known."""
    g = np.random.default_rng(7)
    n, labels = 60, 5
    scores = g.permutation(n * labels).reshape(n, labels) / (n * labels)
    target = (g.random((n, labels)) < 0.4).astype(np.int64)
    target[target.sum(1) == 0, 1] = 1
    target[target.sum(1) == labels, 3] = 0
    return Case(scores, target, np.ones((n, labels), dtype=bool), scores >= 0.5)
