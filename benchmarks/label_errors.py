"""How well planted label errors are found, and what it gains to mend those that were found.

    python benchmarks/label_errors.py [set=scene] [rates=.05,.1] [seeds=0,1,2] [planted=both] [words="backbone=<name>"]

Of each seed a fifth of the images is set aside for testing. Of the others' labels a share ``rate`` of the positives,
and as many negatives, are flipped; ``planted=missing`` flips positives alone, ``planted=wrong`` negatives alone, as
many as both have together. All cells are ranked by suspicion, from scores of a logistic regression on frozen features
by five folds: printed are the average precision of finding what was flipped, and the precision at k, the number that
was flipped. Where cleanlab is installed its rankings of a multi-label set are printed too, on the same scores; its
other methods order two values as self-confidence does. Then a reviewer who knows the truth looks at the first k cells
and mends what was flipped: mAP and O-F1 (threshold one half) on the clean test images after training on the labels with
errors, on the mended ones and on the clean ones. ``words`` are further ones of the run. Means, and deviations over the
seeds.
"""

import time
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
import torch
from benchmark_options import options_of
from benchmark_results import spread
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

from retdm.commands.output.tables import print_table
from retdm.criteria import evaluate
from retdm.data.duplicates import groups_of
from retdm.data.modules import ImageData
from retdm.data.splits import folds_of
from retdm.decisions import decide
from retdm.display.screen import muted
from retdm.methods.components.linear_probe import fit_probe
from retdm.review.out_of_fold import features_of_rows, scores_of_folds, scoring_method
from retdm.review.suspicion import RANKINGS, suspicion
from retdm.runs.build import build_data, features_of
from retdm.runs.process import prepare_process
from retdm.settings.compose import compose_settings

OPTIONS: dict[str, Any] = {"set": "scene", "rates": ".05,.1", "seeds": "0,1,2", "planted": "both", "words": ""}
FOLDS = 5
Labels = NDArray[np.uint8]


class Images(NamedTuple):
    """Features (n, F) of all images, their labels (n, L), which of them are known, groups of copies (n,), names."""

    x: torch.Tensor
    target: Labels
    known: NDArray[np.bool_]
    groups: NDArray[np.int64]
    names: list[str]


def images_of(name: str, words: list[str]) -> Images:
    first = ["method=bce", "precompute=true", "logger=none", "schedule=quick"]
    settings = compose_settings([f"data={name}", *first, *words]).changed(method={})
    with muted("retdm", below=40):
        data = build_data(settings)
    assert isinstance(data, ImageData)
    rows = data.readable
    x = features_of_rows(features_of(settings, data, scoring_method(settings, data.labels)), rows)
    groups = groups_of(data.pairs, "identical" if data.pairs["near"] is None else "near", len(data.source))
    assert groups is not None
    source = data.source
    return Images(x, source.targets[rows], source.known[rows], groups[rows], data.labels)


def planted(target: Labels, known: NDArray[np.bool_], rate: float, kind: str, seed: int) -> NDArray[np.bool_]:
    """The cells (n, L) to flip: a share of the known positives and as many negatives, or as many of one kind."""
    rng = np.random.default_rng((seed, round(1000 * rate)))
    chosen = np.zeros(target.shape, bool)
    positives, negatives = (np.flatnonzero(known & (target == value)) for value in (1, 0))
    count = max(1, round(rate * len(positives)))
    counts = {"both": (count, count), "missing": (2 * count, 0), "wrong": (0, 2 * count)}[kind]
    for cells, number in zip((positives, negatives), counts, strict=True):
        chosen.flat[rng.choice(cells, number, replace=False)] = True
    return chosen


def rankings(scores: NDArray[np.float64], target: Labels, known: NDArray[np.bool_]) -> Iterator[tuple[str, Any]]:
    """(name, suspicion (n, L)) of each way to rank, and of cleanlab's where it is installed."""
    for ranking in RANKINGS:
        yield ranking, suspicion(scores, target, known, ranking)
    if find_spec("cleanlab") is None:
        return
    from cleanlab.multilabel_classification.rank import get_label_quality_scores_per_class

    lists = [np.flatnonzero(row).tolist() for row in target]
    for adjusted in (False, True):
        yield (
            f"cleanlab, self-confidence{', adjusted' * adjusted}",
            -get_label_quality_scores_per_class(lists, scores, adjust_pred_probs=adjusted),
        )


def tested(images: Images, target: Labels, train: NDArray[Any], test: NDArray[Any]) -> dict[str, float]:
    """mAP and O-F1 on the clean test rows of a logistic regression that is trained on given labels (n, L)."""
    labels = torch.from_numpy(target[train]), torch.from_numpy(images.known[train])
    probe = fit_probe(images.x[train], *labels)
    logits = (images.x[test] - probe.mean) / probe.deviation @ probe.weight.T + probe.bias
    scores = logits.sigmoid().numpy()
    found = evaluate(scores, images.target[test], images.known[test], images.names, decide(scores, "half"))
    return {name: found["criteria"][name] or 0.0 for name in ("mAP", "O-F1")}


class Measured(NamedTuple):
    """Cells that were flipped; of each ranking average precision and precision at k; of each labelling mAP and O-F1."""

    k: int
    ranked: dict[str, list[float]]
    trained: dict[str, list[float]]


def measured(images: Images, rate: float, kind: str, seed: int) -> Measured:
    fold = folds_of(len(images.x), FOLDS, seed=seed, groups=images.groups, targets=images.target)
    train, test = np.flatnonzero(fold != 0), np.flatnonzero(fold == 0)
    clean, known = images.target[train], images.known[train]
    flipped = planted(clean, known, rate, kind, seed)
    noisy = np.where(flipped, 1 - clean, clean).astype(np.uint8)
    inner = folds_of(len(train), FOLDS, seed=seed, groups=images.groups[train], targets=noisy)
    scores = scores_of_folds(None, images.x[train], noisy, known, inner)
    ranked, k = {}, int(flipped.sum())
    given = {"labels with errors": noisy, "clean labels": clean}
    for name, doubt in rankings(scores, noisy, known):
        doubt = np.where(known, np.nan_to_num(doubt, nan=-np.inf, neginf=-1e9), -1e9)
        looked_at = np.zeros(flipped.shape, bool)
        looked_at.flat[np.argsort(-doubt, axis=None, kind="stable")[:k]] = True
        precision = float((flipped & looked_at).sum() / k)
        ranked[name] = [float(average_precision_score(flipped[known], doubt[known])), precision]
        if name == RANKINGS[0]:
            given[f"reviewed by {name}"] = np.where(looked_at & flipped, clean, noisy)
    trained = {}
    for name, targets in given.items():
        labels = images.target.copy()
        labels[train] = targets
        trained[name] = list(tested(images, labels, train, test).values())
    return Measured(k, ranked, trained)


def print_means(title: str, columns: list[str], seeds: list[dict[str, list[float]]]) -> None:
    rows = [
        [name, *(spread(list(column)) for column in zip(*(each[name] for each in seeds), strict=True))]
        for name in seeds[0]
    ]
    print_table([title, *columns], rows)


def main() -> None:
    asked = options_of(OPTIONS)
    prepare_process()
    images = images_of(asked["set"], asked["words"].split())
    cells = images.known.sum()
    size = f"{len(images.x):,} images, {len(images.names)} labels"
    print(f"{asked['set']}: {size}, {images.target.sum():,} of {cells:,} cells positive")
    for rate in map(float, asked["rates"].split(",")):
        begun = time.process_time()
        seeds = [measured(images, rate, asked["planted"], int(seed)) for seed in asked["seeds"].split(",")]
        counts = "/".join(str(each.k) for each in seeds)
        print(
            f"\n{rate:.0%}, {asked['planted']}: {counts} cells flipped; {time.process_time() - begun:.0f} CPU seconds"
        )
        print_means("ranking", ["average precision", "precision at k"], [each.ranked for each in seeds])
        print_means("trained on", ["mAP", "O-F1"], [each.trained for each in seeds])


if __name__ == "__main__":
    main()
