"""RETDM: reconstruction regularised two-way deep distance metric (Li et al., TNNLS 31(7), 2020)."""

import logging
from collections.abc import Callable, Iterable
from typing import Annotated, Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from retdm.backbones.base import Backbone
from retdm.batch import AnyBatch, TrainingLabels
from retdm.errors import UserError
from retdm.losses import (
    TwoWay,
    gather_rows,
    nearest_label_sets,
    squared_error,
    two_way_terms,
)
from retdm.methods.components.heads import InstanceHead
from retdm.methods.components.label_set_scores import best_mixture, label_set_scores
from retdm.methods.stage import Stage
from retdm.methods.weighted import WeightedMethod
from retdm.ranges import Above, AtLeast, Between

log = logging.getLogger(__name__)

LARGEST_RATIO = 5.0  # of the metric's gradient to the classification's at the embedding; beyond it, runs collapsed
VANISHED = 0.01  # share of the classification's gradient at probabilities of 1/2 below which a ratio to it says nothing
ALIKE = 1e-5  # share of the embeddings' length below which their spread is rounding


class RETDM(WeightedMethod):
    """An encoder of images and a network of label sets (``label_net``) that embed both in one space.

    The total loss is classification + metric + reconstruction, each times its weight (eq. 13); the metric is
    way 1 + ``mu`` * way 2 (eq. 8), so that ``mu: 0`` is the paper's one-way variant.

    Args:
        embedding_dim: D, width of both embeddings (512 in the paper).
        k: neighbouring label sets, the rivals of an image's own one (10 in the paper).
        unit: divides the distances: a number, 1 in a literal reading of the paper; or ``spread``, the mean distance of
            training embeddings from their mean when the first stage with the metric starts.
        temperature: divides the distances too.
        violation: weight of the hinge on rivals nearer than the own partner (eq. 6).
        mu: weight of way 2 (eq. 8; 1 in the paper).
        pool: rivals of way 1 are label sets of the ``batch``, or of the whole ``train`` split.
        min_known: share of its labels that must be known for an image to have a label set; one without is neither
            anchor nor rival. Below 1, sets are what is known of them: rivals contradict each other in a known label,
            and the nearest are those of the least expected distance (:func:`retdm.losses.nearest_label_sets`); an
            unknown label is fed to the label net, and counts in ``score``, as its share of the training images in
            which it is known. At 1 it is fed as absent.
        rival_image: the image of a neighbouring set in way 2: a ``random`` one of the batch, or the ``first``.
        reduction: ``mean`` or ``sum`` of the classification loss over labels.
        score: what labels are scored by: the ``classifier``; the ``label_sets`` of the training split, of which the
            ``k`` nearest to the image are counted (:func:`retdm.methods.components.label_set_scores.label_set_scores`);
            or ``both``: mixture * classifier + (1 - mixture) * label sets. Until a stage trains the label net, sets lie
            where its initial weights put them.
        mixture: the classifier's share in ``both``; None: that of the lowest log-loss on the validation split, with the
            weights that are tested, or ½ where fewer than 50 images validate.
        training: see :class:`retdm.methods.weighted.WeightedMethod`.
    """

    loss_names = ("classification", "metric", "reconstruction")
    unit: Tensor
    train_sets: Tensor  # (S, L), the distinct label sets of the training split, with ``filling`` where unknown
    train_counts: Tensor  # int64 (S,), how many rows have each
    frequency: Tensor
    filling: Tensor  # (L,), what stands in a label set for an unknown label
    share: Tensor  # (), the classifier's in ``both``
    rows_of_checkpoint = ("train_sets", "train_counts")  # a search finds them there

    def __init__(
        self,
        backbone: Backbone,
        labels: list[str],
        *,
        embedding_dim: Annotated[int, AtLeast(1)] = 512,
        k: Annotated[int, AtLeast(1)] = 10,
        unit: Literal["spread"] | Annotated[float, Above(0)] = "spread",
        temperature: Annotated[float, Above(0)] = 0.2,
        violation: Annotated[float, AtLeast(0)] = 1.0,
        mu: Annotated[float, AtLeast(0)] = 1.0,
        pool: Literal["batch", "train"] = "batch",
        min_known: Annotated[float, Between(0, 1, with_low=False)] = 1.0,
        rival_image: Literal["random", "first"] = "random",
        reduction: Literal["mean", "sum"] = "mean",
        score: Literal["classifier", "label_sets", "both"] = "classifier",
        mixture: Annotated[float, Between(0, 1)] | None = None,
        **training: Any,
    ) -> None:
        super().__init__(backbone, labels, embedding_dim=embedding_dim, **training)
        self.label_net = nn.Sequential(
            nn.Linear(len(labels), embedding_dim), nn.ReLU(), nn.Linear(embedding_dim, embedding_dim)
        )
        self.reconstruction = nn.Linear(embedding_dim, len(labels))
        self.k, self.temperature, self.violation, self.mu = k, temperature, violation, mu
        self.pool, self.rival_image, self.reduction, self.min_known = pool, rival_image, reduction, min_known
        self.measures_unit = unit == "spread"
        self.register_buffer("unit", torch.tensor(1.0 if unit == "spread" else float(unit)))
        if mixture is not None and score != "both":
            raise UserError(f"method.mixture={mixture:g} has no use with method.score={score}", "method.score=both")
        self.score, self.chooses_on_validation = score, score == "both" and mixture is None
        self.register_buffer("share", torch.tensor(0.5 if mixture is None else float(mixture)))
        self.register_buffer("train_sets", torch.zeros(0, len(labels)))
        self.register_buffer("train_counts", torch.zeros(0, dtype=torch.int64))

    @property
    def components(self) -> dict[str, nn.Module]:
        return super().components | {"label_net": self.label_net, "reconstruction": self.reconstruction}

    def use_training_labels(self, labels: TrainingLabels) -> None:
        super().use_training_labels(labels)
        positive, negative = labels.counts
        share = (positive + 0.5) / (positive + negative + 1)  # never 0 or 1, which are known
        self.register_buffer("filling", share if self.min_known < 1 else torch.zeros_like(share), persistent=False)
        sets = self._label_sets(labels.target.float(), labels.known)[self._has_set(labels.known)]
        self.train_sets, self.train_counts = sets.unique(dim=0, return_counts=True)
        if self.score != "classifier" and len(sets) == 0:
            enough = "all its labels" if self.min_known == 1 else f"{self.min_known:g} of its labels"
            raise UserError(
                f"method.score={self.score}: no training image has {enough} known, so there is no label set",
                "method.score=classifier, or a lower method.min_known",
            )
        rows = len(labels.target)
        if len(sets) < rows and self.weights["metric"] > 0:
            log.log(
                logging.WARNING if len(sets) < rows / 2 else logging.INFO,
                "%d of %d training images have enough known labels to take part in the metric (method.min_known=%g)",
                len(sets),
                rows,
                self.min_known,
            )
        self.register_buffer("frequency", labels.frequency, persistent=False)  # of the data's rows

    def _label_sets(self, target: Tensor, known: Tensor) -> Tensor:
        """Label sets (B, L) as losses take them; what stands in an unknown cell of ``target`` is not read."""
        return torch.where(known, target, self.filling)

    def _has_set(self, known: Tensor) -> Tensor:
        """(B, L) -> bool (B,): enough of a row is known."""
        return known.float().mean(dim=1) >= self.min_known - 1e-6  # a share may be rounded

    def embed_label_sets(self, sets: Tensor) -> Tensor:
        """Label sets (S, L) in the space of the images' embeddings, (S, D)."""
        embedding: Tensor = self.label_net(sets.float())
        return embedding

    def scores_from(self, embedding: Tensor, logits: Tensor) -> Tensor:
        if self.score == "classifier":
            return super().scores_from(embedding, logits)
        near = label_set_scores(
            embedding,
            self.embed_label_sets(self.train_sets),
            self.train_sets,
            self.train_counts,
            k=self.k,
            scale=self.unit * self.temperature,
        )
        return near if self.score == "label_sets" else self.share * logits.sigmoid() + (1 - self.share) * near

    def choose_on_validation(self, predict: Callable[[], dict[str, np.ndarray]]) -> None:
        parts = []
        for share in (1.0, 0.0):
            self.share.fill_(share)
            parts.append(predict())
        classifier, near = parts
        share = best_mixture(classifier["scores"], near["scores"], near["target"], near["known"])
        self.share.fill_(share)
        log.info("scores: %.1f classifier + %.1f label sets, as chosen on validation", share, 1 - share)

    def on_stage_start(self, stage: Stage, batches: Iterable[AnyBatch]) -> None:
        """Measure the unit of the metric where its first stage starts."""
        if not (self.measures_unit and "metric" in self.active):
            return
        if self.unit != 1.0:  # measured before an earlier stage: another unit would make another loss of it
            return
        with torch.inference_mode():
            local = torch.cat([self.encoder(batch) for batch in batches])
            embeddings = gather_rows(local)
            spread = (embeddings - embeddings.mean(0)).norm(dim=1).mean()
            if spread <= ALIKE * embeddings.norm(dim=1).mean():
                log.info("unit of the metric: 1, because %d training embeddings are all alike", len(embeddings))
                return
            self.unit.fill_(spread)
        log.info("unit of the metric: %.3f, the spread of %d training embeddings", self.unit, len(embeddings))

    def losses(self, batch: AnyBatch) -> dict[str, Tensor]:
        image, logits = self.embed_and_classify(batch)
        pooled = not isinstance(self.classifier, InstanceHead)  # else the logits are no function of the embedding
        first = pooled and self.training and self.stage_step == 0 and {"metric", "classification"} <= set(self.active)
        if first and not image.requires_grad:
            image = image.detach().requires_grad_()
            logits = self.classifier(image)
        losses = {"classification": self.classification_loss(logits, batch, self.reduction)}
        if {"metric", "reconstruction"} & set(self.active):
            sets = self._label_sets(batch.target, batch.known)
            label = self.label_net(sets)
            losses["reconstruction"] = squared_error(self.reconstruction(label), batch.target, batch.known)
            if "metric" in self.active:
                ways = self._ways(image, label, sets, batch)
                losses["metric"] = ways.way1 + self.mu * ways.way2
                self.diagnostics = {
                    "own_distance": ways.own_distance,
                    "way1_over_chance": ways.nll1 / ways.chance1.clamp(min=1e-12),
                    "way2_over_chance": ways.nll2 / ways.chance2.clamp(min=1e-12),
                }
        if first:
            at_half = self.classification_loss(logits - logits.detach(), batch, self.reduction)
            self._log_gradient_ratio(image, losses, at_half)
        return losses

    def _ways(self, image: Tensor, label: Tensor, target: Tensor, batch: AnyBatch) -> TwoWay:
        """Both ways over the global batch: every row of it can be a rival."""
        total = batch.total
        target, valid = gather_rows(target, total), gather_rows(self._has_set(batch.known), total)
        pool: dict[str, Tensor] = {}
        if self.pool == "train":
            sets, counts = self.train_sets, self.train_counts
            if len(sets) > len(target) * self.k:  # else the label net takes all at less cost
                near = nearest_label_sets(target, self.k, candidates=sets, frequency=counts)
                rows = near.clamp(min=0).flatten()  # some twice: to drop those, the host would wait for a GPU
                sets, counts = sets[rows], counts[rows]
            pool = {"sets": sets, "set_embedding": self.embed_label_sets(sets), "set_frequency": counts}
        return two_way_terms(
            gather_rows(image, total),
            gather_rows(label, total),
            target,
            k=self.k,
            unit=self.unit,
            temperature=self.temperature,
            violation=self.violation,
            rival_image=self.rival_image,
            seed=self.loss_seed,
            valid=valid,
            frequency=self.frequency[gather_rows(batch.index, total)],
            **pool,
        )

    def _log_gradient_ratio(self, image: Tensor, losses: dict[str, Tensor], at_half: Tensor) -> None:
        """Log the ratio of the metric's gradient to the classification's at the embedding; warn where it is too large.

        ``at_half`` is the classification loss if all probabilities were 1/2. Where the loss's own gradient has vanished
        beside its gradient, because every label is fitted, the ratio warns of nothing.
        """

        def size(name: str, loss: Tensor) -> float:
            (gradient,) = torch.autograd.grad(self.weights[name] * loss, image, retain_graph=True)
            return float(gradient.norm())

        metric, classification = (size(name, losses[name]) for name in ("metric", "classification"))
        ratio = metric / max(classification, 1e-12)
        if self.logger is not None:
            self.logger.log_metrics({f"work/{self.stage.name}_gradient_ratio": ratio}, step=self.global_step)
        log.info("stage %s starts: metric's gradient ÷ classification's at the embedding: %.2f", self.stage.name, ratio)
        vanished = classification < VANISHED * size("classification", at_half)
        by_sgd = isinstance(self.optimizers(use_pl_optimizer=False), torch.optim.SGD)  # AdamW divides by the size
        if by_sgd and ratio > LARGEST_RATIO and not vanished and "encoder" in self.stage.train:
            log.warning(
                "the metric's gradient is %.1f times the classification's: lower method.weights.metric (now %g) "
                "or schedule.%s.lr, or the stage may collapse",
                ratio,
                self.weights["metric"],
                self.stage.name,
            )
