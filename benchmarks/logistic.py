"""The cost of fitting L1LR, in one run, beside a plain loop over scikit-learn.

    python benchmarks/logistic.py [rows=1333] [features=3232] [labels=5] [splits=2]

The features are drawn like pooled ones of a network (never negative, sparse, of unlike scales); the labels depend on
some. The plain loop is OneVsRestClassifier(LogisticRegression(...)) with the same penalty, C and tolerance. Printed:
seconds, the ratio, and by how much the two objectives differ.
"""

import resource
import time

import numpy as np
from benchmark_options import options_of
from joblib import cpu_count
from numpy.typing import NDArray
from rich.console import Console
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier

from retdm.backbones.vgg import VGGSmall
from retdm.methods.on_features.logistic import NEW_NAMES, Logistic

OPTIONS = {"rows": 1333, "features": 3232, "labels": 5, "splits": 2}


def drawn(rows: int, features: int, labels: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    rng = np.random.default_rng(seed)
    x = np.maximum(rng.normal(size=(rows, features)), 0) * rng.lognormal(0, 1, features)
    weights = np.where(rng.random((features, labels)) < 0.02, rng.normal(size=(features, labels)), 0)
    logits = x @ weights
    target = logits + rng.normal(size=logits.shape) * logits.std(0) * 0.3 > np.quantile(logits, 0.75, axis=0)
    return x.astype(np.float32), target.astype(np.uint8)


def objective(
    x: NDArray[np.float32], target: NDArray[np.uint8], w: NDArray[np.float64], b: NDArray[np.float64]
) -> float:
    signs = 2.0 * target - 1
    return float(np.abs(w).sum() + np.abs(b).sum() + np.logaddexp(0, -signs * (x.astype(float) @ w.T + b)).sum())


def main() -> None:
    options = options_of(OPTIONS)
    kind = {"l1_ratio": 1.0} if NEW_NAMES else {"penalty": "l1"}
    seconds = {"plain": 0.0, "ours": 0.0}
    gaps = []
    # The processes start once in a program's life; a first small problem starts them.
    names = [str(j) for j in range(options["labels"])]
    for split in range(-1, options["splits"]):
        rows = options["rows"] if split >= 0 else 200
        x, target = drawn(rows, options["features"], options["labels"], split + 1)
        method = Logistic(VGGSmall(channels=[8]), names)
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
        theirs = objective(x, target, w, b)
        mine = objective(x, target, method.coefficients.numpy(), method.intercepts.numpy())
        gaps.append(abs(mine - theirs) / theirs)
    screen = Console(width=100, highlight=False)
    screen.print(" ".join(f"{key}={value}" for key, value in options.items()), f"cores={cpu_count()}")
    screen.print(
        f"plain loop {seconds['plain']:.2f} s, ours {seconds['ours']:.2f} s: {seconds['plain'] / seconds['ours']:.2f} x"
    )
    screen.print(f"greatest relative difference of the objectives: {max(gaps):.1e}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss + resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    screen.print(f"memory at most {peak / 1e6:.2f} GB, processes included")


if __name__ == "__main__":
    main()
