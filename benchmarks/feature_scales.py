"""What the scale of the transfer baseline's features does to L1 and to L2: plain scikit-learn on the cached features.

    python benchmarks/feature_scales.py [set=synthetic] [splits=3] [tolerances=1e-1,1e-2,1e-3,1e-4]
        [scales=raw,stages,features,roots] [words="backbone=vgg16 backbone.fc=none backbone.weights=<file>"]
        [folder=outputs/feature_scales]

The features are those of ``method=l1lr``: left alone (``raw``), less their stage's mean and divided by its deviation
(``stages``), the same each by itself (``features``), or their square roots (``roots``). liblinear fits a logistic
regression a label, C = 1, until the slope is ``tolerance`` of the first one: 1e-2 is its own default, and a larger one
stops earlier. Printed are mean and deviation of each stage, and for each scale, penalty and tolerance the five criteria
of the paper's Table 1 on the test split, the coefficients of a label that are not zero, the objective and processor
seconds. ``words`` are further ones of the run. ``<folder>/<set>.png`` is the figure. Each fit is a line of
``<folder>/<set>.jsonl``; what is there is not fitted again.
"""

import json
import statistics
import time
import warnings
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from benchmark_options import options_of
from benchmark_results import kept, spread
from matplotlib.figure import Figure
from numpy.typing import NDArray
from rich.console import Console
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from retdm.criteria import evaluate
from retdm.decisions import decide
from retdm.methods.components.labels import constant_labels, smoothed_prior
from retdm.methods.components.standardise import standardised
from retdm.methods.on_features.logistic import NEW_NAMES, Logistic
from retdm.report.figures.style import COLOURS, MARKERS, blank_figure, quiet
from retdm.runs.build import build_data, build_method, precompute
from retdm.runs.process import prepare_process
from retdm.settings.compose import compose_settings

Array = NDArray[np.float64]
OPTIONS: dict[str, Any] = {
    "set": "synthetic",
    "splits": 3,
    "tolerances": "1e-1,1e-2,1e-3,1e-4",
    "scales": "raw,stages,features,roots",
    "words": "",
    "folder": "outputs/feature_scales",
}
PENALTIES = {"l1": 1.0, "l2": 0.0}
CRITERIA = {  # and their columns
    "average_precision": "av. precision",
    "coverage_normalised": "coverage ÷ L",
    "hamming_loss": "hamming",
    "one_error": "one-error",
    "ranking_loss": "ranking loss",
}
# Published results learn from the validation part too, and test on a third.
PROTOCOL = ["data.test_fraction=0.333333", "method=l1lr", "trainer.accelerator=cpu", "logger=none"]


class Part(NamedTuple):
    """Rows of a split: features (n, F), targets (n, L), which of them are known (n, L)."""

    x: Array
    target: NDArray[np.bool_]
    known: NDArray[np.bool_]


def parts_of(name: str, split: int, words: list[str]) -> tuple[Part, Part, list[int]]:
    """What is learnt from, what is tested on, and the widths of the stages."""
    settings = compose_settings([f"data={name}", f"data.split={split}", *PROTOCOL, *words])
    images = build_data(settings)
    method = build_method(settings, images.labels)
    assert isinstance(method, Logistic)
    data = precompute(settings, images, method)
    parts = []
    for splits in (("train", "validation"), ("test",)):
        x, target, known = data.examples(*splits)
        parts.append(Part(np.asarray(x, np.float64), target > 0, known))
    return parts[0], parts[1], list(method.widths.values())


def scaled(kind: str, train: Array, test: Array, widths: list[int]) -> list[Array]:
    """Both parts, brought to a scale that the first one sets."""
    if kind == "roots":
        return [np.sqrt(np.maximum(x, 0)) for x in (train, test)]
    if kind == "features":
        _, mean, deviation = standardised(train)
        return [(x - mean) / deviation for x in (train, test)]
    if kind == "stages":
        blocks = np.split(train, np.cumsum(widths)[:-1], axis=1)
        mean = np.repeat([block.mean() for block in blocks], widths)
        deviation = np.repeat([block.std() or 1.0 for block in blocks], widths)
        return [(x - mean) / deviation for x in (train, test)]
    return [train, test]


def fit(train: Part, test: Part, names: list[str], penalty: str, tolerance: float) -> dict[str, float]:
    """One logistic regression a label, and what it is worth."""
    kind: dict[str, Any] = {"l1_ratio": PENALTIES[penalty]} if NEW_NAMES else {"penalty": penalty}
    model = LogisticRegression(solver="liblinear", C=1.0, tol=tolerance, max_iter=1000, random_state=0, **kind)
    prior = smoothed_prior(train.target, train.known)
    scores = np.tile(prior, (len(test.x), 1))
    begun, nonzero, objective = time.process_time(), [], []
    for j in np.flatnonzero(~constant_labels(train.target, train.known)):
        rows, target = train.x[train.known[:, j]], train.target[train.known[:, j], j]
        model.fit(rows, target)
        scores[:, j] = model.predict_proba(test.x)[:, 1]
        line = np.append(model.coef_[0], model.intercept_)
        weight = np.abs(line).sum() if penalty == "l1" else (line**2).sum() / 2
        losses = np.logaddexp(0, np.where(target, -1, 1) * model.decision_function(rows))
        nonzero.append(int(np.count_nonzero(model.coef_)))
        objective.append(float(weight + losses.sum()))
    seconds = time.process_time() - begun
    criteria = evaluate(scores, test.target, test.known, names, decide(scores, "half"))["criteria"]
    measured = {"nonzero": statistics.mean(nonzero), "objective": statistics.mean(objective), "cpu": seconds}
    return {key: criteria[key] or 0.0 for key in CRITERIA} | measured


def main() -> None:
    options = options_of(OPTIONS)
    out = Console(width=130, highlight=False)
    prepare_process()
    warnings.simplefilter("ignore", ConvergenceWarning)  # what a thousand iterations give is part of the answer
    folder, name, words = Path(options["folder"]), options["set"], options["words"].split()
    folder.mkdir(parents=True, exist_ok=True)
    results = folder / f"{name}.jsonl"
    lines = kept(results)
    tolerances, scales = [float(each) for each in options["tolerances"].split(",")], options["scales"].split(",")
    stages: list[Array] = []
    found: dict[tuple[str, str, float], list[dict[str, Any]]] = {}
    for split in range(options["splits"]):
        train, test, widths = parts_of(name, split, words)
        stages = stages or np.split(train.x, np.cumsum(widths)[:-1], axis=1)
        for scale in scales:
            x, x_test = scaled(scale, train.x, test.x, widths)
            for penalty, tolerance in product(PENALTIES, tolerances):
                fitted = {"words": words, "split": split, "scale": scale, "penalty": penalty, "tolerance": tolerance}
                line = next((each for each in lines if fitted.items() <= each.items()), None)
                if line is None:
                    names = [str(j) for j in range(train.target.shape[1])]
                    line = fitted | fit(train._replace(x=x), test._replace(x=x_test), names, penalty, tolerance)
                    with results.open("a") as file:
                        file.write(json.dumps(line) + "\n")
                found.setdefault((scale, penalty, tolerance), []).append(line)
    out.print(f"{name}: {len(train.x):,} images to learn from, {len(test.x):,} to test on, {options['splits']} splits")
    for number, block in enumerate(stages, 1):
        out.print(
            f"stage {number}: {block.shape[1]:>6,} features, mean {block.mean():.4g}, deviation {block.std():.4g}"
        )
    columns = "".join(f"{column:>15}" for column in CRITERIA.values())
    out.print(f"{'':<9}{'':<3}{'tolerance':>9}{columns}{'not zero':>9}{'objective':>10}{'CPU s':>7}")
    for (scale, penalty, tolerance), each in found.items():
        cells = "".join(f"{spread([line[key] for line in each]):>15}" for key in CRITERIA)
        nonzero, objective, cpu = (
            statistics.mean(line[key] for line in each) for key in ("nonzero", "objective", "cpu")
        )
        out.print(f"{scale:<9}{penalty:<3}{tolerance:>9g}{cells}{nonzero:>9,.0f}{objective:>10.3g}{cpu:>7.1f}")
    figure(name, stages, found).savefig(folder / f"{name}.png", dpi=100)


def figure(name: str, stages: list[Array], found: dict[tuple[str, str, float], list[dict[str, Any]]]) -> Figure:
    """How large the features of each stage are, and the average precision by tolerance, scale and penalty."""
    drawn = blank_figure(4.7, f"{name}: the scale of features, and where liblinear stops")
    left, right = drawn.subplots(1, 2, width_ratios=(2, 3))
    left.boxplot([block.ravel()[:: max(1, block.size // 20_000)] for block in stages], showfliers=False)
    left.set_yscale("symlog", linthresh=1)
    left.set_xlabel("stage", size=9.5)
    left.set_ylabel("a feature's value", size=9.5)
    tolerances = sorted({tolerance for _, _, tolerance in found}, reverse=True)
    scales = dict.fromkeys(scale for scale, _, _ in found)
    for (colour, marker, scale), penalty in product(zip(COLOURS, MARKERS, scales, strict=False), PENALTIES):
        heights = [statistics.mean(line["average_precision"] for line in found[scale, penalty, t]) for t in tolerances]
        line = "solid" if penalty == "l1" else "dashed"
        label = f"{scale}, {penalty.upper()}"
        right.plot(tolerances, heights, color=colour, marker=marker, markersize=4, linestyle=line, label=label)
    right.set_xscale("log")
    right.invert_xaxis()
    right.set_xlabel("tolerance: further right is nearer to the optimum", size=9.5)
    right.set_ylabel("average precision ↑", size=9.5)
    handles, names = right.get_legend_handles_labels()
    drawn.legend(handles, names, loc="outside lower center", ncols=len(scales), frameon=False, fontsize=8.5)
    for axes in (left, right):
        quiet(axes)
    return drawn


if __name__ == "__main__":
    main()
