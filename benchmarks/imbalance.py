"""Losses, weights and sampling for labels of different frequency, on cached features of a frozen backbone.

    python benchmarks/imbalance.py [set=mirflickr] [splits=5] [epochs=20] [rates=0.0003,0.001,0.003,0.01]
                                   [ways=bce,focal,…] [words='backbone=mobilenet_v2 …'] [out=imbalance.jsonl]

Each way trains a linear classifier by AdamW and one cycle. Its rate is the one of ``rates`` whose classifier has the
greatest mAP on validation. A line of ``out`` is a way on a split, and what
it already has is not done again. The table has means over splits, for all labels and by how many training images have
them: mAP; O-F1 and C-F1 at the threshold that is best on validation, and C-F1 at one a label.
"""

import os
import shlex
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmark_options import names_among, options_of
from benchmark_results import keep, kept, spread
from frozen_features import FrozenFeatures
from numpy.typing import NDArray

from retdm.commands.output.tables import print_table
from retdm.criteria.bands import BANDS
from retdm.criteria.counts import Tally, count, f1
from retdm.criteria.mean_average_precision import label_average_precision
from retdm.data.sampling import GlobalBatches
from retdm.decisions.thresholds import best_threshold, f1_thresholds
from retdm.training.inference import predict

DEFAULTS = {
    "set": "mirflickr",
    "splits": 5,
    "epochs": 20,
    "rates": "0.0003,0.001,0.003,0.01",
    "ways": "",
    "words": "backbone=mobilenet_v2",
    "out": "imbalance.jsonl",
}
DB = ["method=bce", "method.loss=distribution_balanced"]
WAYS: dict[str, list[str]] = {
    "bce": ["method=bce"],
    "pos_weight sqrt": ["method=bce", "method.pos_weight=sqrt"],
    "pos_weight balanced": ["method=bce", "method.pos_weight=balanced"],
    "focal": ["method=bce", "method.loss=focal"],
    "asl": ["method=asl"],
    "distribution_balanced": DB,
    "repeat_rare": ["method=bce", "data.repeat_rare=0.1"],
    "distribution_balanced, repeat_rare": [*DB, "data.repeat_rare=0.1"],
}
GROUPS = ("all", *BANDS)
Found = dict[str, NDArray[Any]]


class Trained:
    """The methods of one split, which share its data and features."""

    def __init__(self, words: list[str], epochs: int) -> None:
        self.frozen, self.epochs = FrozenFeatures(words), epochs
        self.data = self.frozen.data([])

    def scores(self, words: list[str], rate: float) -> dict[str, Found]:
        """What a trained method gives for the rows of validation and test."""
        data = self.frozen.data(words)
        (method,) = self.frozen.methods(words, data)
        batches, rows = data.train_loader().batch_sampler, data.rows(training=True)
        assert isinstance(batches, GlobalBatches)
        weights = [
            weight for part in method.components.values() for weight in part.parameters() if weight.requires_grad
        ]
        optimizer = torch.optim.AdamW(weights, rate, weight_decay=0.01)
        cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=self.epochs * len(batches))
        method.train()
        for epoch in range(self.epochs):
            batches.set_epoch(epoch)
            for keys in batches:
                optimizer.zero_grad()
                method.losses(rows.__getitems__(keys))["classification"].backward()
                optimizer.step()
                cycle.step()
        return {split: predict(method, data, split) for split in ("validation", "test")}


def label_map(found: Found) -> float:
    return float(np.nanmean(label_average_precision(*(found[name] for name in ("scores", "target", "known")))))


def criteria_of(found: dict[str, Found], positives: NDArray[np.int64]) -> dict[str, dict[str, float | None]]:
    """Group -> criteria of the test rows."""
    chosen = [found["validation"][name] for name in ("scores", "target", "known")]
    scores, target, known = (found["test"][name] for name in ("scores", "target", "known"))
    precision = label_average_precision(scores, target, known)
    one = count(scores >= best_threshold(*chosen), target, known).labels
    own = f1(count(scores >= f1_thresholds(*chosen), target, known).labels)
    inside = {name: (positives >= low) & (positives <= (high or np.inf)) for name, (low, high) in BANDS.items()}
    report = {}
    for name, which in {"all": np.ones(len(positives), bool), **inside}.items():
        pooled = Tally(*(column[which].sum(keepdims=True) for column in one))
        values = {"mAP": precision[which], "O-F1": f1(pooled), "C-F1": f1(one)[which], "C-F1 own": own[which]}
        report[name] = {
            key: float(np.nanmean(each)) if np.isfinite(each).any() else None for key, each in values.items()
        }
        report[name]["labels"] = int(which.sum())
    return report


def run(trained: Trained, way: str, rates: list[float]) -> dict[str, Any]:
    """The rate of a way on a split, its criteria, and the seconds of processor time of all rates."""
    begun = time.process_time()
    tried = [(rate, trained.scores(WAYS[way], rate)) for rate in rates]
    rate, found = max(tried, key=lambda each: label_map(each[1]["validation"]))
    source, rows = trained.data.source, trained.data.splits["train"]
    positives = (source.targets[rows] * source.known[rows]).sum(0, dtype=np.int64)
    return {"rate": rate, "criteria": criteria_of(found, positives), "cpu": time.process_time() - begun}


def print_results(lines: list[dict[str, Any]]) -> None:
    for criterion in ("mAP", "C-F1", "C-F1 own", "O-F1"):
        rows = []
        for way in dict.fromkeys(line["way"] for line in lines):
            of_way = [line["criteria"] for line in lines if line["way"] == way]
            values = [[each[group][criterion] for each in of_way] for group in GROUPS]
            there = [[value for value in column if value is not None] for column in values]
            rows.append([way, *(spread(column) if column else "–" for column in there), str(len(of_way))])
        print(criterion)
        print_table(["way", *GROUPS, "splits"], rows)
    labels = [[line["criteria"][group]["labels"] for line in lines] for group in GROUPS]
    print("labels:", ", ".join(f"{group} {min(n)} to {max(n)}" for group, n in zip(GROUPS, labels, strict=True)))
    print(f"{sum(line['cpu'] for line in lines):.0f} s of processor time")


def main() -> None:
    options = options_of(DEFAULTS)
    ways = names_among("ways", options["ways"], WAYS)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 1)))
    out, rates = Path(options["out"]), [float(rate) for rate in options["rates"].split(",")]
    lines = [line for line in kept(out) if line["set"] == options["set"]]
    for split in range(options["splits"]):
        words = [
            f"data={options['set']}",
            "schedule.start=random",
            *shlex.split(options["words"]),
            f"data.split={split}",
        ]
        trained = Trained(words, options["epochs"])
        for way in ways:
            if any(line["split"] == split and line["way"] == way for line in lines):
                continue
            line = {"set": options["set"], "split": split, "way": way, **run(trained, way, rates)}
            lines.append(line)
            keep(out, line)
    print_results(lines)


if __name__ == "__main__":
    main()
