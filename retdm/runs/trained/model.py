"""A trained run as an object that predicts."""

from collections.abc import Callable, Iterable
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from retdm.backbones.folding import fold_batchnorm
from retdm.batch import BagBatch, Batch, FeatureBatch, unlabelled
from retdm.data.images import Picture, Range, checked_range
from retdm.decisions.calibration import Calibration, calibrated
from retdm.display.text import printable
from retdm.errors import UserError
from retdm.methods.components.encoder import BackboneEncoder
from retdm.methods.networks.retdm import RETDM
from retdm.registry import nearest
from retdm.runs import build
from retdm.runs.folder.paths import RunFolder, check_checkpoint, read_config
from retdm.runs.folder.saved import check_same, description_of, settings_of_run, take
from retdm.runs.trained.decisions import Decision, calibration_of_run, decision_of_run
from retdm.runs.trained.inputs import bags
from retdm.runs.trained.views import seen, view_of
from retdm.training.checkpoint_files import read_checkpoint
from retdm.training.inference import infer
from retdm.training.regions import region_maps

SHOWN = 6  # labels that ``repr`` names


class Model:
    """A trained run, see :func:`load`.

    Attributes:
        labels: names of the L labels, in the order of the scores.
        dim: D of the bags (N, D) that it was trained on; None of images.
        image_size: side of the network's images in pixels; 0 where it was trained on bags.
        value_range: the values that are black and white in images of more than 8 bits
            (``data.value_range`` of the run), or None; may be set.
        preparation: how an image becomes the network's square.
    """

    def __init__(self, folder: Path | str, device: str = "cpu", user_classes: bool = False) -> None:
        run = RunFolder(folder)
        check_checkpoint(run)
        content = read_checkpoint(run.best)
        description = description_of(content, run.best)
        self.settings = settings_of_run(
            description["settings"],
            description["identity"],
            run.best,
            user_classes=user_classes,
            groups=("method", "backbone"),
        )
        if run.config.exists():
            check_same(description["identity"], read_config(run)["identity"], run.best)
        self._description = description
        self.labels: list[str] = description["labels"]
        self.dim: int | None = description.get("dim")
        self.image_size: int = description["image_size"] or 0
        self.run = run
        self.value_range: Range | None = checked_range(self.settings.data.get("value_range"))
        self.method = build.build_method(self.settings, self.labels, dim=self.dim, load=False)
        self.preparation = build.preparation_of(self.settings)
        take(self.method, content, run.best)
        fold_batchnorm(self.method.encoder.backbone.net)  # trained statistics are constant now
        self.method.to(device).eval()

    def __repr__(self) -> str:
        choices, more = self.settings.choices, len(self.labels) - SHOWN
        method = choices["method"] + (f" on {choices['backbone']}" if self.dim is None else "")
        named = ", ".join(map(printable, self.labels[:SHOWN])) + (f" and {more} more" if more > 0 else "")
        sees = f"images of {self.image_size}²" if self.dim is None else f"bags of (instances, {self.dim})"
        return f"<retdm {method}, {sees}, {len(self.labels)} labels: {named}; {printable(self.run.path)}>"

    @overload
    def predict(
        self, images: Picture | Iterable[Picture], batch_size: int = ..., *, decide: Literal[False] = ...
    ) -> np.ndarray: ...

    @overload
    def predict(
        self, images: Picture | Iterable[Picture], batch_size: int = ..., *, decide: Literal[True] | str
    ) -> list[list[str]]: ...

    def predict(
        self, images: Picture | Iterable[Picture], batch_size: int = 32, *, decide: bool | str = False
    ) -> np.ndarray | list[list[str]]:
        """Scores of images, or of bags, in their order; or their labels.

        Args:
            images: one image or several, see :func:`retdm.runs.trained.inputs.pictures` and
                :func:`retdm.data.images.as_rgb`. Of a run on bags: arrays (N, D), or one.
            batch_size: images that are scored at once.
            decide: return labels instead: True by the run's rule and threshold, or by the rule of this name
                (:mod:`retdm.decisions.rules`), such as ``"precision:.9"``.

        Returns:
            float32 (n, L) in [0, 1], also of one image; with ``decide`` the names of each image's labels.

        Raises:
            UserError: an image cannot be read, a bag does not fit, there is no such rule, or the run has nothing to
                choose its threshold on.
        """
        decision = self.decision(None if decide is True else decide) if decide else None
        found = [self._computed(batch, self.method.scores) for batch in self._batches(images, batch_size)]
        scores = np.concatenate(found) if found else np.zeros((0, len(self.labels)), np.float32)
        scores = calibrated(self.calibration, scores)
        if decision is None:
            return scores
        return [[self.labels[j] for j in np.flatnonzero(row)] for row in decision.sets(scores)]

    def decision(self, rule: str | None = None) -> Decision:
        """How scores become labels, by a rule or, where none is named, by the run's own.

        Raises:
            UserError: there is no such rule, or the run has nothing to choose its threshold on.
        """
        name, refit = rule or self.method.decide, self.settings.refit
        return decision_of_run(self.run, name, self.method, self._description, refit=refit)

    def embed(self, images: Picture | Iterable[Picture], batch_size: int = 32) -> np.ndarray:
        """Embeddings of images, or of bags, in their order: the vectors that the network's head classifies.

        Images that look alike to the network are near to each other by Euclidean distance.

        Args:
            images, batch_size: as of :meth:`predict`.

        Returns:
            float32 (n, D).

        Raises:
            UserError: an image cannot be read, a bag does not fit.
        """
        found = [self._computed(batch, self.method.encoder) for batch in self._batches(images, batch_size)]
        return np.concatenate(found) if found else np.zeros((0, self.method.encoder.width), np.float32)

    def heat_maps(self, images: Picture | Iterable[Picture], batch_size: int = 32) -> np.ndarray:
        """Where each label is in images, by a method that scores an image's regions.

        Args:
            images, batch_size: as of :meth:`predict`.

        Returns:
            float32 (n, L, h, h) in [0, 1]: scores of h x h regions, row by row, which together are the whole image.

        Raises:
            UserError: an image cannot be read, or the run's method scores no regions of images.
        """
        if self.dim is not None or not self.method.scores_instances:
            raise UserError(
                f"{printable(self.run.path)} scores no regions of images, which heat maps show",
                "networks that do: method=bce, method=retdm, method=mil",
            )
        batches = self._batches(images, batch_size)
        found = [self.scores_and_maps(batch.image)[1] for batch in batches if isinstance(batch, Batch)]
        return np.concatenate(found) if found else np.zeros((0, len(self.labels), 0, 0), np.float32)

    def embed_labels(self, sets: Iterable[Iterable[str]]) -> np.ndarray:
        """Label sets in the space of the images' embeddings, near to the images that have them; RETDM alone does this.

        Args:
            sets: names of the labels of each; ``[]`` is the set without any label.

        Returns:
            float32 (sets, D).

        Raises:
            UserError: the run's method embeds no label sets, or has no such label.
        """
        rows = [self._label_set(names) for names in sets]
        return self.set_embeddings(np.array(rows, bool).reshape(len(rows), len(self.labels)))

    def set_embeddings(self, sets: np.ndarray) -> np.ndarray:
        """Embeddings float32 (S, D) of label sets (S, L) of 0 and 1; see :meth:`embed_labels`."""
        if not isinstance(self.method, RETDM):
            raise UserError(
                f"{self.settings.choices['method']} embeds no label sets", "retdm and retdm_oneway do; others images"
            )
        with torch.inference_mode():
            found = self.method.embed_label_sets(torch.from_numpy(sets).to(self.method.device))
        return np.asarray(found.float().cpu().numpy())

    def _label_set(self, names: Iterable[str]) -> np.ndarray:
        asked = set(names)
        if unknown := sorted(asked - set(self.labels)):
            raise UserError(f"there is no label {printable(unknown[0])!r}", printable(nearest(unknown[0], self.labels)))
        return np.array([label in asked for label in self.labels])

    def training_sets(self) -> tuple[np.ndarray, np.ndarray]:
        """The distinct label sets of the training split, bool (S, L), and how many images had each, int64 (S,).

        Sets with an unknown label are not among them. Where the method embeds no label sets there are none.
        """
        if not isinstance(self.method, RETDM):
            return np.zeros((0, len(self.labels)), bool), np.zeros(0, np.int64)
        sets, counts = self.method.train_sets.cpu().numpy(), self.method.train_counts.cpu().numpy()
        complete = ((sets == 0) | (sets == 1)).all(axis=1)
        return sets[complete] == 1, counts[complete]

    def _batches(self, given: Any, batch_size: int) -> Iterable[Batch | BagBatch]:
        if batch_size < 1:
            raise UserError(f"batch_size={batch_size} is out of range", "it is 1 or more")
        if self.dim is not None:
            yield from (self._bag(np.asarray(bag), self.dim) for bag in bags(given))
            return
        how = "set value_range of the model to (lowest, highest)"
        views = seen(self, given, 2 * batch_size, how_to_scale=how)
        while batch := list(islice(views, batch_size)):
            yield unlabelled(torch.stack([view for _, view in batch]), len(self.labels))

    def view(self, image: Image.Image) -> Tensor:
        """An RGB image as the network takes it: uint8 (3, S, S), S = ``image_size``. Several threads may call it."""
        return view_of(image, self.image_size, self.preparation)

    @cached_property
    def calibration(self) -> Calibration | None:
        """The calibration of the scores; None where the run has none."""
        return calibration_of_run(self.run, self.method, self._description)

    def scores(self, views: Tensor) -> np.ndarray:
        """Scores float32 (B, L) in [0, 1] of images uint8 (B, 3, S, S) as ``view`` gives them."""
        return calibrated(self.calibration, self.raw_scores(views))

    def raw_scores(self, views: Tensor) -> np.ndarray:
        """The same as the network itself gives them, not calibrated."""
        return self._computed(unlabelled(views, len(self.labels)), self.method.scores)

    def scores_and_maps(self, views: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """:meth:`scores`, and scores float32 (B, L, h, h) of h x h regions, which together are the whole image.

        Of methods with ``scores_instances``. The backbone runs once.
        """

        encoder = self.method.encoder
        assert isinstance(encoder, BackboneEncoder)  # as of every method that scores instances

        def both(batch: Batch) -> tuple[Tensor, Tensor]:
            image, regions = (
                FeatureBatch(batch.index, found, batch.target, batch.known)
                for found in encoder.extract_with_regions(batch.image)
            )
            return self.method.scores(image), region_maps(self.method, regions)

        ((_, (scores, maps)),) = infer(self.method, [unlabelled(views, len(self.labels))], both)
        return calibrated(self.calibration, scores.float().cpu().numpy()), maps.float().cpu().numpy()

    def embeddings(self, views: Tensor) -> np.ndarray:
        """Embeddings float32 (B, D) of images as :meth:`scores` takes them."""
        return self._computed(unlabelled(views, len(self.labels)), self.method.encoder)

    def _bag(self, bag: np.ndarray, dim: int) -> BagBatch:
        if bag.ndim != 2 or bag.shape[1] != dim or len(bag) == 0:
            raise UserError(f"a bag has shape {bag.shape}", f"expected (instances, {dim}) with at least one instance")
        rows = torch.from_numpy(bag.astype(np.float32))[None]
        unknown = torch.zeros(1, len(self.labels))
        mask = torch.ones(1, len(bag), dtype=torch.bool)
        return BagBatch(torch.full((1,), -1), rows, mask, unknown, unknown.bool())

    def _computed(self, batch: Batch | BagBatch, compute: Callable[[Any], Tensor]) -> np.ndarray:
        ((_, found),) = infer(self.method, [batch], compute)
        return found.float().cpu().numpy()


def load(folder: Path | str, device: str = "cpu", *, user_classes: bool = False) -> Model:
    """The best checkpoint of a run, ready to predict; its data set need not be there.

    Args:
        folder: of the run.
        device: where to compute, as PyTorch writes it.
        user_classes: let the checkpoint name methods and backbones outside this package, which imports their modules:
            only for checkpoints of your own.

    Raises:
        UserError: there is no readable checkpoint in the folder, or it names a class that is not accepted.
    """
    return Model(folder, device, user_classes)
