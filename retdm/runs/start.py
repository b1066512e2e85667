"""The start of a network: at the labels' frequencies; or at a probe, a logistic regression of the backbone's features,
followed by the stages that read these.

The latter takes seconds and ends with ``start.ckpt``; a run that is killed before that file is written begins anew.
"""

import logging
import time
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from retdm.batch import TrainingLabels
from retdm.data.base_module import Data
from retdm.display.screen import track
from retdm.errors import UserError
from retdm.methods.components.labels import log_odds_as_read
from retdm.methods.deep import DeepMethod
from retdm.methods.stage import Stage
from retdm.runs.build import describe, features_of
from retdm.runs.evaluate import main_criteria
from retdm.runs.folder.paths import RunFolder
from retdm.runs.folder.rows import ChosenOn
from retdm.runs.folder.saved import check_same, take
from retdm.runs.trainer import build_trainer
from retdm.settings.devices import device_of
from retdm.settings.run_settings import RunSettings
from retdm.stop import is_leader
from retdm.training.checkpoint_files import read_checkpoint, save, save_fitted
from retdm.training.evaluation import Evaluation
from retdm.training.stages import Stages

log = logging.getLogger("retdm")

FEW = 50  # images of the validation split, below which a threshold chosen on them is mostly chance


class Start(NamedTuple):
    """Where the gradient training of images begins.

    Attributes:
        criteria: of the starting weights, see :func:`retdm.runs.evaluate.main_criteria`.
        stages: history of the probe and of the stages on features.
        out_of_fold: the probe's scores of the training split, each by a fit without its image, as
            :mod:`retdm.runs.folder.rows` has them; None where the validation split is large enough to choose on, or no
            label of these rows is known to be absent.
    """

    criteria: dict[str, Any]
    stages: list[dict[str, Any]]
    out_of_fold: dict[str, Tensor] | None


@torch.no_grad()
def start_at_frequencies(method: DeepMethod, labels: TrainingLabels) -> None:
    """Let a linear head on the backbone's features give every image the labels' frequencies in the training split.

    Random weights over some thousand features give each image random scores, most of which a few hundred images cannot
    take back: with fewer images than features, weights keep what they were in all directions that no image has. And
    losses that believe high scores of unknown labels begin by believing chance. Unknown cells are read as the method's
    loss reads them, see :func:`retdm.methods.components.labels.cells_of_probe`.
    """
    head = method.classifier
    if not isinstance(head, nn.Linear) or len(method.encoder.layers) > 1:  # which weights of 0 would keep from learning
        return
    target, known = labels.target.cpu().numpy(), labels.known.cpu().numpy()
    log_odds = torch.from_numpy(log_odds_as_read(target, known, method.unknown_at_the_probe))
    if method.pos_weight is not None:
        log_odds += method.pos_weight.cpu().log()
    head.weight.zero_()
    head.bias.copy_(log_odds)


def start_at_probe(
    folder: RunFolder,
    settings: RunSettings,
    data: Data,
    method: DeepMethod,
    validation: dict[str, Any] | None,
    chosen_on: ChosenOn | None,
) -> Start:
    """Set a network's weights by a probe, train the stages on features, and write ``start.ckpt``.

    Args:
        folder: of the run.
        settings: of the run.
        data: images, or their features.
        method: with the backbone's weights as they were loaded.
        validation, chosen_on: see :func:`retdm.runs.train_deep.train_deep`.

    Raises:
        UserError: the probe is all there is, and the method's head takes nothing of it.
    """
    trained = {
        id(each) for stage in method.stages for name in stage.train for each in method.components[name].parameters()
    }
    if not method.takes_classifier and trained.isdisjoint(map(id, method.classifier.parameters())):
        raise UserError(
            f"{settings.choices['method']}: no stage trains the head, which takes no classifier from a probe",
            "schedule=fine_tune",
        )
    begun = time.monotonic()
    featured = features_of(settings, data, method)
    method.to("cpu")
    index, features, target, known = _training_features(featured, method)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        probe = method.start_at_probe(
            features, target, known, progress=partial(track, title="probe: strengths of its penalty")
        )
    few = len(data.splits["validation"]) < FEW
    chooses = few and bool((known & (target <= 0)).any())  # of positives alone, the best decision is that all is there
    held_out = {"index": index, "scores": probe.scores, "target": target, "known": known} if chooses else None
    minutes = (time.monotonic() - begun) / 60
    log.info("probe: %d rows of %d features, L2 strength %g by cross-validation", *features.shape, probe.strength)
    history = [{"stage": "probe", "epochs": 0, "minutes": minutes, "strength": probe.strength}]
    if stages := [stage for stage in method.stages if stage.inputs == "features"]:
        history += _train_on_features(settings, featured, method, stages)
    method.to(device_of(settings.trainer))
    start = Start(main_criteria(method, featured, validation, chosen_on), history, held_out)
    if is_leader():
        description = describe(settings, method, data.dim, None) | {"start": start._asdict()}
        save_fitted(method, description, folder.start)
    return start


def read_start(folder: RunFolder, settings: RunSettings) -> Start:
    """What ``start.ckpt`` says of a run that is continued.

    Raises:
        UserError: it is not there, of another run, or does not say it.
    """
    try:
        content = read_checkpoint(folder.start)["retdm"]
        check_same(content["identity"], settings.identity, folder.start)
        begun = content["start"]
        return Start(begun["criteria"], begun["stages"], begun.get("out_of_fold"))
    except (KeyError, TypeError) as error:
        raise UserError(
            f"{folder.start} does not say where training began", "train anew with overwrite=true"
        ) from error


def average_with_start(folder: RunFolder, settings: RunSettings, method: DeepMethod) -> None:
    """Make ``best.ckpt`` the mean of the weights before and after the gradient training of images, by their shares.

    The weights after it stay in ``end.ckpt``, and what a method has measured beside them is that of the end. Nothing is
    done where that was done before.

    Raises:
        UserError: ``start.ckpt`` is damaged, or of another run.
    """
    content = read_checkpoint(folder.best)
    if "averaged" in content["retdm"]:
        return
    save(content, folder.end)
    begun, share = read_checkpoint(folder.start), settings.average
    check_same(begun["retdm"]["identity"], settings.identity, folder.start)
    take(method, begun, folder.start)
    start, end = begun["state_dict"], content["state_dict"]
    backbone = {f"encoder.backbone.{name}" for name, _ in method.encoder.backbone.named_buffers()}  # BatchNorm's
    weights = {name for name, _ in method.named_parameters()} | backbone
    mean = {
        name: (share * start[name].double() + (1 - share) * value.double()).to(value.dtype)
        if name in weights and value.is_floating_point()
        else value
        for name, value in end.items()
    }
    save(content | {"state_dict": mean, "retdm": content["retdm"] | {"averaged": share}}, folder.best)


def _training_features(data: Data, method: DeepMethod) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Index (n,), features (n, F), targets (n, L) and which of these are known (n, L) of the training split."""
    found = [
        (batch.index, method.encoder.pooled(batch.features.float()), batch.target, batch.known)
        for batch in data.batches_of(np.sort(data.splits["train"]))
    ]
    index, features, target, known = (torch.cat(column) for column in zip(*found, strict=True))
    return index, features, target, known


def _train_on_features(
    settings: RunSettings, data: Data, method: DeepMethod, stages: list[Stage]
) -> list[dict[str, Any]]:
    """Train some stages on features, and return their history."""
    on_gpu = device_of(settings.trainer).type == "cuda"
    loader = data.train_loader(on_gpu=on_gpu)
    stages = [stage.lengthened(len(loader)) for stage in stages]
    walk = Stages(stages, lambda: data.split_loader("train", on_gpu=on_gpu))
    epochs = sum(stage.max_epochs for stage in stages)
    trainer = build_trainer(settings, [Evaluation(), walk], epochs, None, {})
    trainer.fit(method, loader, data.split_loader("validation", on_gpu=on_gpu))
    for component in method.components.values():  # several processes share gradients of what can train at a fit's start
        component.requires_grad_(True)
    for record in walk.history:
        log.info(
            "stage %s: %d epochs on features of the probe's backbone, validation loss %.4f",
            record["stage"],
            record["epochs"],
            record["validation_loss"],
        )
    return walk.history
