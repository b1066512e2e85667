"""What a run says beside its results: what was chosen for it, what went badly and helps, and what to try next."""

import logging
import shlex
from typing import Any

import numpy as np
import torch

from retdm.criteria.mean_average_precision import label_average_precision, mean_average_precision
from retdm.data.base_module import Data
from retdm.data.modules import BagData
from retdm.decisions.rules import ConformalRule, rule_of
from retdm.methods.base import Method
from retdm.methods.deep import DeepMethod
from retdm.runs.folder.paths import RunFolder, read_json, shown
from retdm.runs.folder.rows import BEFORE_REFIT, OUT_OF_FOLD, VALIDATION, check_promise
from retdm.runs.start import FEW
from retdm.settings.first_choice import kind_of_data, unnamed
from retdm.settings.run_settings import RunSettings
from retdm.training.inference import infer
from retdm.training.schedule_rules import RULES

log = logging.getLogger(__name__)

FEW_STEPS = 200  # of the optimizer; below it a fine-tuned network's classifier hardly leaves its random start
SAMPLE = 256  # training images that are scored at the end, spread evenly
SHUFFLES = 8
NAMED = 5


def say_first_choice(settings: RunSettings, data: Data) -> None:
    """Say in one line what was chosen for the data, where the command leaves it open."""
    if words := unnamed(settings):
        kind = kind_of_data(settings.choices["data"])
        log.info(
            "chosen for %s %s and %d labels: %s: what measured best on %s (docs/explanation/schedule.md); "
            "what you write is taken",
            f"{len(data.source):,}",
            kind,
            len(data.labels),
            " ".join(words),
            kind,
        )


def check_promise_of(settings: RunSettings, method: Method, data: Data) -> None:
    """Before training: raise ``UserError`` where the decision rule promises what the run could not keep, and warn where
    the validation split chooses more than its threshold."""
    rule, count = rule_of(method.decide), len(data.splits["validation"])
    deep = method if isinstance(method, DeepMethod) else None
    by_probe = settings.start == "probe" and count < FEW and deep is not None and deep.estimates_probabilities
    check_promise(rule, BEFORE_REFIT if settings.refit else OUT_OF_FOLD if by_probe else VALIDATION, count)
    if not isinstance(rule, ConformalRule) or deep is None:
        return
    if deep.chooses_on_validation or any(RULES[stage.rule].needs_validation for stage in deep.stages):
        log.warning(
            "decide=%s promises a risk for images that chose nothing else, and here the validation split chooses the "
            "weights too: it holds only about so. schedule.<stage>.rule=one_cycle keeps it",
            rule.name,
        )


def warn_of_random_features(settings: RunSettings) -> None:
    """Warn where training begins at a probe of features that are random."""
    if settings.start == "probe" and settings.backbone["weights"] == "none":
        log.warning(
            "the backbone starts at random (backbone.weights=none), so that a probe of its features says little: "
            "schedule=from_scratch trains all of it"
        )


def warn_of_training_labels(settings: RunSettings, method: Method, data: Data) -> None:
    """Warn before training where no training label is known to be absent and the method leaves unknown ones out, and
    where none is unknown and the method's loss is made for unknown ones."""
    rows = data.splits["train"]
    target, known = data.source.targets[rows], data.source.known[rows]
    deep = isinstance(method, DeepMethod)
    reads_unknown = isinstance(method, DeepMethod) and method.unknown_at_the_probe != "left_out"
    if reads_unknown and known.all():
        loss = settings.method.get("loss")
        name = loss["name"] if isinstance(loss, dict) else loss
        log.warning(
            "no training label is unknown, so %s has nothing to work on: %s (docs/howto/weak-labels.md)",
            f"method={settings.choices['method']}" if name is None else f"method.loss={name}",
            "data.unlabelled=negative takes unknown ones for absent, so leave it out"
            if settings.data.get("unlabelled") == "negative"
            else "data.observe=positives_only:1 makes unknown what the training images of a table do not name",
        )
    elif not reads_unknown and not known.all() and not (known & (target == 0)).any():
        others = "" if isinstance(data, BagData) else "method=bce method.loss=hill, method=role, or "
        log.warning(
            "no training label is known to be absent, and this method leaves unknown ones out, so it %s. What helps: "
            "%sdata.unlabelled=negative (docs/howto/weak-labels.md)",
            "learns that everything has every label" if deep else "gives all the same scores",
            others,
        )


def next_steps(settings: RunSettings, folder: RunFolder) -> list[tuple[str, str]]:
    """Commands to try after a run, each with what it is for, by what the run was."""
    if not settings.typed:
        own = "retdm train data=csv data.root=<folder of your images and labels.csv>"
        return [(own, "a model of your own images")]
    words = [word for word in settings.typed if word.partition("=")[0] not in ("run", "overwrite")]
    steps = []
    if settings.backbone:
        steps.append((f"retdm predict run={shown(folder.path)} images=<folder> gallery=true", "new images"))
    count = len(read_json(folder.split)["validation"])
    if count < FEW and not settings.data.get("folds"):
        folds = ["retdm", "train", "-m", *words, "data.folds=5", "data.fold=range(5)"]
        steps.append((shlex.join(folds), f"the mean of five validation splits: {count} rows say little"))
    if "schedule=fine_tune" in unnamed(settings):
        steps.append((shlex.join(["retdm", "train", *words, "schedule=best"]), "three times as many passes"))
    return steps


def warn_of_few_steps(method: DeepMethod, data: Data) -> None:
    """Warn before training where the schedule makes fewer than ``FEW_STEPS`` steps on this training split."""
    epochs = sum(stage.max_epochs for stage in method.stages)
    rows = len(data.splits["train"])
    steps = epochs * -(-rows // data.batch_size)
    if steps >= FEW_STEPS:
        return
    last = method.stages[-1]
    smaller = max(8, min(data.batch_size // 4, rows * epochs // FEW_STEPS))
    log.warning(
        "only %d optimizer steps (%d training rows, data.batch_size=%d, %d epochs): expect little. What helps: %s",
        steps,
        rows,
        data.batch_size,
        epochs,
        f"schedule.{last.name}.max_epochs={last.max_epochs * -(-FEW_STEPS // max(steps, 1))}"
        + (f", data.batch_size={smaller}" if smaller < data.batch_size else "")
        + (", or method=emd_svm" if isinstance(data, BagData) else ", or a pretrained backbone and schedule=fine_tune"),
    )


def warn_of_unused(settings: RunSettings, method: DeepMethod, data: Data) -> None:
    """Warn where no gradient step follows the probe, so that settings of the training change nothing."""
    own = "method.loss" if "loss" in settings.method else f"method={settings.choices['method']}"
    unused = [own] * (not method.estimates_probabilities)
    unused += [f"data.repeat_rare={data.repeat_rare}"] * (data.repeat_rare is not None)
    if unused:
        log.warning(
            "the run ends at the probe, a logistic regression of all training rows, so %s changes nothing: "
            "schedule=fine_tune trains on",
            " and ".join(unused),
        )


def warn_of_result(method: Method, data: Data, report: dict[str, Any]) -> None:
    """Warn of labels that are never predicted though test images have them, and of weights that are hardly better than
    chance on the training images."""
    labels = {name: row for name, row in report["per_label"].items() if row["positives"]}
    silent = [name for name, row in labels.items() if not row["predicted"]]
    if silent:
        listed = ", ".join(silent[:NAMED]) + (", …" if len(silent) > NAMED else "")
        what = "no label is" if len(silent) == len(labels) else f"{len(silent)} of {len(labels)} labels are never"
        threshold = report["threshold"]
        log.warning(
            "%s predicted for the test split under decide: %s, though it has them: %s. %s",
            what,
            method.decide,
            listed,
            "method.decide=validation decides at the threshold that is best on validation"
            + (f" ({threshold:.2f})" if threshold is not None else "")
            if rule_of(method.decide).chosen_on != "validation"
            else "train longer, or give these labels more images",
        )
    reached, by_chance = training_map(method, data)
    if reached is not None and by_chance is not None and reached < by_chance + 0.1 * (1 - by_chance):
        log.warning(
            "it has learned next to nothing: mAP %.3f on its own training images, where shuffled scores have %.3f; "
            "see that images and labels belong together, train longer, or try another rate",
            reached,
            by_chance,
        )


def training_map(method: Method, data: Data) -> tuple[float | None, float | None]:
    """mAP of (a sample of) the training split, and the mean mAP of the same scores shuffled over the images."""
    rows = np.sort(data.splits["train"])
    rows = rows[np.unique(np.linspace(0, len(rows) - 1, SAMPLE).round().astype(int))]
    found = [batch for _, batch in infer(method, data.batches_of(rows), method.predictions)]
    _, scores, target, known = (torch.cat(column).float().cpu().numpy() for column in zip(*found, strict=True))
    generator = np.random.default_rng(0)
    shuffled = [
        mean_average_precision(label_average_precision(generator.permutation(scores), target, known.astype(bool)))
        for _ in range(SHUFFLES)
    ]
    values = [value for value in shuffled if value is not None]
    reached = mean_average_precision(label_average_precision(scores, target, known.astype(bool)))
    return reached, float(np.mean(values)) if values else None
