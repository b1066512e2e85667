"""Losses for missing labels, on cached features of a frozen backbone whose training labels are hidden on purpose.

    python benchmarks/weak_labels.py [set=scene] [splits=5] [observe=share:.3,…] [rates=.003,.01,.03,.1,.3]
                                     [ways=hill,role,…] [words='backbone=mobilenet_v2 …'] [out=weak_labels.jsonl]

Each way trains a linear classifier as schedule=precomputed does, once for each of its settings and each of ``rates``.
Which of these counts is chosen by mAP on validation, split by split, under two readings of validation: its labels are
complete, as papers have it; or they are hidden as those of training are. A line of ``out`` is a way on a split under
one observation, and what it already has is not done again. The tables have means over splits.
"""

import os
import shlex
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmark_options import names_among, options_of
from benchmark_results import keep, kept, spread
from frozen_features import FrozenFeatures

from retdm.commands.output.tables import print_table
from retdm.criteria.counts import Tally, count, f1
from retdm.criteria.mean_average_precision import label_average_precision
from retdm.data.modules import ImageData
from retdm.data.sampling import GlobalBatches
from retdm.decisions.thresholds import best_threshold
from retdm.methods.deep import DeepMethod
from retdm.training.inference import predict
from retdm.training.schedule_rules import rule_of

DEFAULTS = {
    "set": "scene",
    "splits": 5,
    "observe": "single_positive,share:0.1,share:0.3,share:0.5,positives_only:0.5,noise:0.1",
    "rates": "0.003,0.01,0.03,0.1,0.3",
    "ways": "",
    "words": "backbone=mobilenet_v2",
    "out": "weak_labels.jsonl",
}
POSITIVES = ("single_positive", "positives_only")
READINGS = ("complete", "hidden")


@dataclass(frozen=True)
class Way:
    """Words of a method, each of its settings that validation chooses among, and the observations that it is for."""

    words: tuple[str, ...]
    settings: tuple[str, ...] = ("",)
    observations: tuple[str, ...] = (*POSITIVES, "share")

    def candidates(self) -> list[list[str]]:
        return [[*self.words, *setting.split()] for setting in self.settings]


def _loss(name: str, *settings: str, observations: tuple[str, ...] = (*POSITIVES, "share")) -> Way:
    choices = [f"method.loss={{name:{name}{',' + setting if setting else ''}}}" for setting in settings or ("",)]
    return Way(("method=bce",), tuple(choices), observations)


ALL = (*POSITIVES, "share", "noise")
WAYS = {
    "complete": Way(("method=bce", "data.observe=null"), observations=("complete",)),
    "binary_cross_entropy": _loss("binary_cross_entropy", observations=ALL),
    "partial_bce": _loss("partial_bce", observations=("share",)),
    "gce": _loss("gce", "q:0.4", "q:0.7", observations=ALL),
    "assume_negative": _loss("assume_negative"),
    "weak_negative": _loss("weak_negative"),
    "smoothed_negative": _loss("smoothed_negative", "smoothing:0.1", "smoothing:0.2"),
    "expected_positives": _loss("expected_positives", "", "expected:given"),
    "role": Way(("method=role",), ("", "method.expected=given")),
    "entropy": _loss("entropy", "alpha:0.1", "alpha:0.2"),
    "large_loss reject": _loss("large_loss", *(f"way:reject,rate:{rate}" for rate in (0.002, 0.005, 0.02))),
    "large_loss correct": _loss("large_loss", *(f"way:correct,rate:{rate}" for rate in (0.002, 0.005, 0.02))),
    "large_loss for good": Way(("method=large_loss",), ("method.rate=0.0005", "method.rate=0.002")),
    "hill": _loss("hill", "", "margin:0", observations=ALL),
    "splc": _loss("splc", "threshold:0.6", "threshold:0.8"),
    "asymmetric": Way(
        ("method=asl", "data.unlabelled=negative"),
        ("method.loss.gamma_negative=2", "method.loss.gamma_negative=4"),
        ALL,
    ),
}


def label_map(scores: Any, target: Any, known: Any) -> float:
    return float(np.nanmean(label_average_precision(scores, target, known)))


def overall_f1(scores: Any, threshold: float, target: Any, known: Any) -> float:
    labels = count(scores >= threshold, target, known).labels
    return float(np.nanmean(f1(Tally(*(column.sum(keepdims=True) for column in labels)))))


class Observed:
    """One split whose training labels are observed in one way."""

    def __init__(self, frozen: FrozenFeatures, split: int, observe: str) -> None:
        words = [f"data.split={split}"] + ([] if observe == "complete" else [f"data.observe={observe}"])
        self.frozen, self.words = frozen, words
        self.datas = {"": frozen.data(words)}
        hidden = frozen.data([*words, "data.observe_validation=true"]) if observe != "complete" else self.datas[""]
        rows = np.sort(hidden.splits["validation"])
        self.cells = {
            reading: (data.source.targets[rows], data.source.known[rows])
            for reading, data in zip(READINGS, (self.datas[""], hidden), strict=True)
        }
        targets, known = self.cells["complete"]
        self.expected = float(targets[known].sum() / len(targets))

    def train(self, way: Way, rates: list[float]) -> list[dict[str, Any]]:
        """The criteria of each setting of a way and each rate; all see the same batches."""
        absent = "data.unlabelled=negative" in way.words
        if "negative" not in self.datas and absent:
            self.datas["negative"] = self.frozen.data([*self.words, "data.unlabelled=negative"])
        data = self.datas["negative" if absent else ""]
        begun: list[tuple[str, float, DeepMethod]] = []
        for setting, words in zip(way.settings, way.candidates(), strict=True):
            told = [word.replace("given", f"{self.expected:.6g}") for word in words]
            methods = self.frozen.methods([*self.words, *told], data, len(rates))
            begun += [(setting, rate, method) for rate, method in zip(rates, methods, strict=True)]
        train([(method, rate) for _, rate, method in begun], data)
        return [{"setting": setting, "rate": rate, **self.criteria(method)} for setting, rate, method in begun]

    def criteria(self, method: DeepMethod) -> dict[str, Any]:
        """mAP on validation under both readings and on test; O-F1 on test, decided as each reading says."""
        data = self.datas[""]
        scores = predict(method, data, "validation")["scores"]
        test = predict(method, data, "test")
        found = [test[name] for name in ("target", "known")]
        report: dict[str, Any] = {"mAP": label_map(test["scores"], *found)}
        for reading, cells in self.cells.items():
            threshold = best_threshold(scores, *cells)
            report[reading] = {
                "validation mAP": label_map(scores, *cells),
                "O-F1": overall_f1(test["scores"], threshold, *found),
            }
        return report


def train(methods: list[tuple[DeepMethod, float]], data: ImageData) -> None:
    """What retdm.training makes of a single stage on features, of many methods at once."""
    batches, rows = data.train_loader().batch_sampler, data.rows(training=True)
    assert isinstance(batches, GlobalBatches)
    running = []
    for method, rate in methods:
        method.stage = replace(method.stages[0], lr=rate).lengthened(len(batches))
        running.append((method, method.configure_optimizers(), rule_of(method.stage)))
        method.train()
    epochs = running[0][0].stage.max_epochs
    for epoch in range(epochs):
        batches.set_epoch(epoch)
        for place, keys in enumerate(batches):
            batch = rows.__getitems__(keys)
            for method, optimizer, rule in running:
                method.stage_epoch = epoch
                for group in optimizer.param_groups:
                    rate = rule.lr(epoch * len(batches) + place, epochs * len(batches))
                    group["lr"] = rate * group["lr_factor"]
                optimizer.zero_grad()
                method.total(method.losses(batch)).backward()
                method.on_before_optimizer_step(optimizer)
                optimizer.step()


def chosen(line: dict[str, Any], reading: str) -> dict[str, Any]:
    """The candidate with the greatest mAP on validation. Hidden labels do not give how many there are."""
    fitting = [each for each in line["candidates"] if reading == "complete" or "given" not in each["setting"]]
    best: dict[str, Any] = max(fitting, key=lambda each: each[reading]["validation mAP"])
    return best


def print_results(lines: list[dict[str, Any]]) -> None:
    for observe in dict.fromkeys(line["observe"] for line in lines):
        print(observe)
        of_observe = [line for line in lines if line["observe"] == observe]
        rows = []
        for way in dict.fromkeys(line["way"] for line in of_observe):
            of_way = [line for line in of_observe if line["way"] == way]
            columns = []
            for reading in READINGS:
                best = [chosen(line, reading) for line in of_way]
                columns += [
                    spread([each["mAP"] for each in best]),
                    spread([each[reading]["O-F1"] for each in best]),
                ]
            rates = sorted(chosen(line, "complete")["rate"] for line in of_way)
            rows.append([way, *columns, " ".join(f"{rate:g}" for rate in rates)])
        rows.sort(key=lambda row: row[1], reverse=True)
        print_table(["way", "mAP", "O-F1", "mAP, validation hidden", "O-F1", "rates"], rows)
    print(f"{sum(line['cpu'] for line in lines):.0f} s of processor time")


def main() -> None:
    options = options_of(DEFAULTS)
    names = names_among("ways", options["ways"], WAYS)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 1)))
    out, rates = Path(options["out"]), [float(rate) for rate in options["rates"].split(",")]
    lines = [line for line in kept(out) if line["set"] == options["set"]]
    done = {(line["split"], line["observe"], line["way"]) for line in lines}
    frozen = FrozenFeatures([f"data={options['set']}", *shlex.split(options["words"])])
    for observe in ["complete", *options["observe"].split(",")]:
        ways = [name for name in names if observe.partition(":")[0] in WAYS[name].observations]
        for split in range(options["splits"]):
            todo = [name for name in ways if (split, observe, name) not in done]
            if not todo:
                continue
            observed = Observed(frozen, split, observe)
            for name in todo:
                begun = time.process_time()
                candidates = observed.train(WAYS[name], rates)
                line = {"set": options["set"], "split": split, "observe": observe, "way": name}
                line |= {"candidates": candidates, "cpu": time.process_time() - begun}
                lines.append(line)
                keep(out, line)
    print_results(lines)


if __name__ == "__main__":
    main()
