"""The base of methods that are trained by gradient descent: encoder, head, weighted losses, stages."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from retdm.backbones.base import Backbone
from retdm.batch import AnyBatch, TrainingLabels
from retdm.errors import UserError
from retdm.methods.base import Calibrate, Method, draw_seed
from retdm.methods.components.encoder import BackboneEncoder, mean_instance
from retdm.methods.components.heads import Head, InstanceHead, head_of
from retdm.methods.components.instance_scores import instance_scores, scores_instances
from retdm.methods.components.labels import UnknownAtProbe, cells_of_probe
from retdm.methods.components.linear_probe import Probe, Progress, fit_probe
from retdm.methods.parameter_groups import parameter_groups
from retdm.methods.stage import UNTRAINED, Stage, parse_stages
from retdm.ranges import Above, AtLeast, Between


class DeepMethod(Method):
    """A network trained by gradient descent on named losses: an encoder, and a head that classifies what it gives.

    A method writes :attr:`loss_names` and :meth:`losses`. Where its network is another, it writes :meth:`make_encoder`,
    :meth:`make_head` and :attr:`components`; settings that these need are set before ``super().__init__()``. The rest
    is done here and in the callbacks of ``retdm.training``.

    Args:
        backbone, labels: see :class:`retdm.methods.base.Method`.
        stages: list of mappings, see :class:`retdm.methods.stage.Stage`.
        weights: weight of each loss in the total; a loss without one has weight 1.
        clip: component -> greatest norm of its gradient.
        embedding_dim: width of a linear layer between the backbone and the head; None adds none.
        head: how an image's regions become the labels' logits: ``average`` and ``max`` pool the regions before a linear
            layer, ``average`` as the backbone itself does; for ``csra`` and ``ml_decoder`` see
            ``retdm.methods.components.heads``.
        lr_factor: component, or a layer of one by its dotted name (``encoder.backbone``), -> what the stage's rate is
            multiplied by for it; 1 where none is named. A new layer may be trained faster than pretrained ones.
        layer_decay: what the rate is multiplied by from each stage of the backbone to the one before it, so that the
            first ones, which are the most general, move the least; see :meth:`retdm.backbones.base.Backbone.depths`.
        decide, calibrate: see :class:`retdm.methods.base.Method`.
        optimizer: builds the optimizer from :func:`retdm.methods.parameter_groups.parameter_groups` and a rate.
        seed: of dropout and of what the losses draw.

    Attributes:
        chooses_on_validation: :meth:`choose_on_validation` has something to choose.
        estimates_probabilities: a score is how probable its label is, so that a probe's threshold suits the scores too.
        unknown_at_the_probe: see :func:`retdm.methods.components.labels.cells_of_probe`.
        pos_weight: (L,), the weight of each label's positive cells in the classification loss and in the probe, which
            :class:`retdm.methods.weighted.WeightedMethod` sets; None weighs them 1.
    """

    loss_names: ClassVar[tuple[str, ...]]
    chooses_on_validation = False
    estimates_probabilities = True
    unknown_at_the_probe: UnknownAtProbe = "left_out"
    encoder: BackboneEncoder
    classifier: nn.Module
    pos_weight: Tensor | None

    def __init__(
        self,
        backbone: Backbone,
        labels: list[str],
        *,
        stages: list[Mapping[str, Any]],
        weights: Mapping[str, Annotated[float, AtLeast(0)]] | None = None,
        clip: Mapping[str, Annotated[float, Above(0)]] | None = None,
        lr_factor: Mapping[str, Annotated[float, Above(0)]] | None = None,
        layer_decay: Annotated[float, Between(0, 1, with_low=False)] = 1.0,
        head: Head = "average",
        decide: str = "half",
        calibrate: Calibrate = "none",
        optimizer: Callable[[list[dict[str, Any]], float], torch.optim.Optimizer] = torch.optim.SGD,
        seed: int = 0,
        embedding_dim: Annotated[int, AtLeast(1)] | None = None,
    ) -> None:
        super().__init__(backbone, labels, decide=decide, calibrate=calibrate, seed=seed)
        self.register_buffer("pos_weight", None, persistent=False)
        self.head = head
        self.encoder = self.make_encoder(backbone, embedding_dim)
        self.classifier = self.make_head()
        self.stages = parse_stages(stages)
        self.weights = dict.fromkeys(self.loss_names, 1.0) | dict(weights or {})
        for name in self.weights:
            if name not in self.loss_names:
                raise UserError(
                    f"method.weights.{name}: there is no such loss", f"losses: {', '.join(self.loss_names)}"
                )
        self.clip, self.lr_factor, self.layer_decay = dict(clip or {}), dict(lr_factor or {}), layer_decay
        self.build_optimizer = optimizer
        self.stage = self.stages[-1] if self.stages else UNTRAINED
        self.stage_step = self.stage_epoch = 0  # steps and passes over the training split done in the stage
        self.diagnostics: dict[str, Tensor] = {}

    # What a method writes

    def make_encoder(self, backbone: Backbone, width: int | None) -> BackboneEncoder:
        """The encoder, built once; ``width`` is ``embedding_dim``."""
        return BackboneEncoder(
            backbone,
            width,
            view="embedding" if self.head == "average" else "cells",
            pool="max" if self.head == "max" else "average",
        )

    def make_head(self) -> nn.Module:
        """The head on the encoder's vectors, built once and kept as ``classifier``.

        A :class:`retdm.methods.components.heads.InstanceHead` classifies regions or instances, every other module the
        embedding.
        """
        return head_of(self.head, self.encoder.width, len(self.labels))

    @property
    def components(self) -> dict[str, nn.Module]:
        """The modules that a stage may train, by name; together they are the whole network."""
        return {"encoder": self.encoder, "classifier": self.classifier}

    def losses(self, batch: AnyBatch) -> dict[str, Tensor]:
        """Unweighted losses by name, at least those of :attr:`active`."""
        raise NotImplementedError

    def scores(self, batch: AnyBatch) -> Tensor:
        """Probabilities (B, L) in [0, 1]."""
        return self.scores_from(*self.embed_and_classify(batch))

    def scores_from(self, embedding: Tensor, logits: Tensor) -> Tensor:
        """Scores (B, L) in [0, 1] of embeddings (B, D) and the labels' logits (B, L), of images or of their regions."""
        return logits.sigmoid()

    def embed_and_classify(self, batch: AnyBatch) -> tuple[Tensor, Tensor]:
        """Embeddings (B, D) and the labels' logits (B, L).

        Of a head on instances the embedding is the mean of a row's instances; the logits are no function of it.
        """
        if isinstance(self.classifier, InstanceHead):
            instances, mask = self.encoder.instances(batch)
            return mean_instance(instances, mask), self.classifier(instances, mask)
        embedding: Tensor = self.encoder(batch)
        return embedding, self.classifier(embedding)

    @property
    def scores_instances(self) -> bool:
        return scores_instances(self.encoder, self.classifier)

    def instance_scores(self, batch: AnyBatch) -> Tensor:
        """See :func:`retdm.methods.components.instance_scores.instance_scores`."""
        return instance_scores(self.encoder, self.classifier, batch, self.scores_from)

    def use_training_labels(self, labels: TrainingLabels) -> None:
        """Read the label sets of the training split, before training starts or resumes."""

    @property
    def takes_classifier(self) -> bool:
        """The head can begin as a linear classifier of the embedding."""
        head = self.classifier
        return head.begins_linear if isinstance(head, InstanceHead) else isinstance(head, nn.Linear)

    @torch.no_grad()
    def start_at_probe(self, features: Tensor, target: Tensor, known: Tensor, *, progress: Progress = iter) -> Probe:
        """Begin where a logistic regression of the backbone's features ends, instead of at random.

        The encoder standardises features, its layer becomes an orthogonal map of them, and the head takes over the
        classifier, as far as it is a linear one.

        Args:
            features: (n, F) of the training split, float32, see :meth:`BackboneEncoder.pooled`.
            target: (n, L).
            known: (n, L), bool.
            progress: of the fit, see :func:`retdm.methods.components.linear_probe.fit_probe`.

        Returns:
            The logistic regression that the head took over: of the features or, where two layers with a ReLU between
            them stand behind a frozen backbone, of what these give.
        """
        known = torch.from_numpy(cells_of_probe(target.numpy(), known.numpy(), self.unknown_at_the_probe))
        fit = partial(
            fit_probe, target=target, known=known, pos_weight=self.pos_weight, seed=self.seed, progress=progress
        )
        probe = fit(features)
        self.encoder.set_moments(probe.mean, probe.deviation)
        weight = self.encoder.start_orthogonal((features - probe.mean) / probe.deviation, probe.weight)
        bias = probe.bias
        if weight is None:
            probe = fit(self.encoder.layers(features))
            weight = probe.weight / probe.deviation
            bias = probe.bias - weight @ probe.mean
        if isinstance(self.classifier, nn.Linear):
            self.classifier.weight.copy_(weight)
            self.classifier.bias.copy_(bias)
        elif isinstance(self.classifier, InstanceHead):
            self.classifier.start_at(weight, bias, probe.log_odds)
        return probe

    def on_stage_start(self, stage: Stage, batches: Iterable[AnyBatch]) -> None:
        """Prepare for a stage, in evaluation mode, from (a sample of) the training split as test views.

        ``batches`` is lazy: unused it costs nothing.
        """

    def choose_on_validation(self, predict: Callable[[], dict[str, np.ndarray]]) -> None:
        """Choose what training leaves open, with the weights that will be tested; into buffers, for the checkpoint.

        Called once training is over, where :attr:`chooses_on_validation` and the split is no handful of images.

        Args:
            predict: gives index (n,), scores, target and known (n, L) of the validation split as the method now stands,
                alike in all processes.
        """

    @property
    def loss_seed(self) -> int:
        """The seed of what the losses draw: another one at each step, alike on all processes. In validation it never
        changes, so that the loss is a function of weights and data alone: stage rules act on it."""
        return draw_seed(self.seed, self.global_step) if self.training else self.seed

    # What the callbacks of retdm.training call

    def check_stages(self) -> None:
        """Check that every name in ``stages``, ``clip`` and ``lr_factor`` is one of this method's.

        Raises:
            UserError: one is not.
        """
        for key, names in (("train", tuple(self.components)), ("losses", self.loss_names)):
            for stage in self.stages:
                for name in getattr(stage, key):
                    if name not in names:
                        raise UserError(f"stage {stage.name}: {key} names {name}", f"there are: {', '.join(names)}")
        for key, named in (("clip", self.clip), ("lr_factor", self.lr_factor)):
            for name in named:
                if name not in self.components and not (key == "lr_factor" and self._is_layer(name)):
                    raise UserError(f"method.{key} names {name}", f"there are: {', '.join(self.components)}")

    @property
    def active(self) -> list[str]:
        """Losses of this stage whose weight is not 0."""
        return [name for name in self.stage.losses if self.weights[name] > 0]

    def set_stage(self, stage: Stage, lr: float) -> None:
        """Train the stage's components at ``lr`` and hold the others still."""
        self.stage, self.diagnostics = stage, {}
        for name, component in self.components.items():
            component.requires_grad_(name in stage.train)
        self.set_lr(lr)
        self.train(self.training)

    def set_lr(self, lr: float) -> None:
        for group in self.optimizers(use_pl_optimizer=False).param_groups:  # type: ignore[union-attr]
            group["lr"] = lr * group["lr_factor"]

    def train(self, mode: bool = True) -> "DeepMethod":
        super().train(mode)
        if mode:
            for name, component in self.components.items():
                if name not in self.stage.train:
                    component.eval()
        return self

    # Lightning's hooks

    def total(self, losses: Mapping[str, Tensor]) -> Tensor:
        """The weighted sum of the active losses."""
        return torch.stack([self.weights[name] * losses[name] for name in self.active]).sum()

    def training_step(self, batch: AnyBatch, batch_idx: int) -> dict[str, Any]:
        torch.manual_seed(draw_seed(self.seed, self.global_step, self.global_rank))
        losses = self.losses(batch)
        if not self.active or not (total := self.total(losses)).requires_grad:
            raise UserError(
                f"stage {self.stage.name} has nothing to train: no loss whose weight is above 0 depends on its "
                "components",
                f"leave it out with schedule.{self.stage.name}.max_epochs=0",
            )
        self.stage_step += 1
        return {"loss": total, "losses": {name: losses[name].detach() for name in self.active}}

    def validation_step(self, batch: AnyBatch, batch_idx: int) -> dict[str, Any]:
        losses = self.losses(batch)
        losses = {name: losses[name] for name in self.active}
        return {"loss": self.total(losses), "losses": losses, "predictions": self.predictions(batch)}

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        for name, norm in self.clip.items():
            if name in self.stage.train:
                nn.utils.clip_grad_norm_(self.components[name].parameters(), norm)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        groups = parameter_groups(self.components, self.lr_factor, self.layer_decay, self.encoder.backbone)
        return self.build_optimizer(groups, self.stages[0].lr)

    def _is_layer(self, name: str) -> bool:
        """True where a module inside a component has this dotted name."""
        component, _, layer = name.partition(".")
        return component in self.components and layer in dict(self.components[component].named_modules())
