"""The cost of fitting L1LR or LR, in one run, beside a plain loop over scikit-learn.

    python benchmarks/logistic.py [penalty=l1] [rows=1333] [features=3232] [labels=5] [splits=2]

The features are drawn like pooled ones of a network (never negative, sparse, of unlike scales); the labels depend on
some. The plain loop is OneVsRestClassifier(LogisticRegression(...)), by liblinear with the same penalty and C. Printed:
seconds, the ratio, and by how much our objective lies above the plain loop's.
"""

import resource
import time
from typing import Any

import numpy as np
from benchmark_options import options_of
from joblib import cpu_count
from numpy.typing import NDArray
from rich.console import Console
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier

from retdm.backbones.vgg import VGGSmall
from retdm.methods.on_features.logistic import NEW_NAMES, Logistic

OPTIONS: dict[str, Any] = {"penalty": "l1", "rows": 1333, "features": 3232, "labels": 5, "splits": 2}


def drawn(rows: int, features: int, labels: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    rng = np.random.default_rng(seed)
    x = np.maximum(rng.normal(size=(rows, features)), 0) * rng.lognormal(0, 1, features)
    weights = np.where(rng.random((features, labels)) < 0.02, rng.normal(size=(features, labels)), 0)
    logits = x @ weights
    target = logits + rng.normal(size=logits.shape) * logits.std(0) * 0.3 > np.quantile(logits, 0.75, axis=0)
    return x.astype(np.float32), target.astype(np.uint8)


def objective(
    x: NDArray[np.float32], target: NDArray[np.uint8], w: NDArray[np.float64], b: NDArray[np.float64], penalty: str
) -> float:
    signs, lines = 2.0 * target - 1, np.append(w, b[:, None], 1)
    weight = np.abs(lines).sum() if penalty == "l1" else (lines**2).sum() / 2
    return float(weight + np.logaddexp(0, -signs * (x.astype(float) @ w.T + b)).sum())


def main() -> None:
    options = options_of(OPTIONS)
    penalty = options["penalty"]
    kind = {"l1_ratio": float(penalty == "l1")} if NEW_NAMES else {"penalty": penalty}
    tolerance = 1e-2 if penalty == "l1" else 1e-6  # as conf/method has them
    seconds = {"plain": 0.0, "ours": 0.0}
    gaps = []
    # The processes start once in a program's life; a first small problem starts them.
    names = [str(j) for j in range(options["labels"])]
    for split in range(-1, options["splits"]):
        rows = options["rows"] if split >= 0 else 200
        x, target = drawn(rows, options["features"], options["labels"], split + 1)
        method = Logistic(VGGSmall(channels=[8]), names, penalty=penalty, tolerance=tolerance)
        start = time.perf_counter()
        method.fit(x, target, np.ones_like(target, bool))
        ours = time.perf_counter() - start
        if split < 0:
            continue
        start = time.perf_counter()
        model = LogisticRegression(solver="liblinear", C=1, tol=1e-4, max_iter=1000, random_state=0, **kind)
        plain = OneVsRestClassifier(model).fit(x, target)
        seconds["plain"] += time.perf_counter() - start
        seconds["ours"] += ours
        w = np.stack([each.coef_[0] for each in plain.estimators_])
        b = np.array([each.intercept_[0] for each in plain.estimators_])
        theirs = objective(x, target, w, b, penalty)
        mine = objective(x, target, method.coefficients.numpy(), method.intercepts.numpy(), penalty)
        gaps.append(mine / theirs - 1)
    screen = Console(width=100, highlight=False)
    screen.print(" ".join(f"{key}={value}" for key, value in options.items()), f"cores={cpu_count()}")
    screen.print(
        f"plain loop {seconds['plain']:.2f} s, ours {seconds['ours']:.2f} s: {seconds['plain'] / seconds['ours']:.2f} x"
    )
    screen.print(f"our objective ÷ the plain loop's - 1, at most: {max(gaps):.1e}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss + resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    screen.print(f"memory at most {peak / 1e6:.2f} GB, processes included")


if __name__ == "__main__":
    main()
