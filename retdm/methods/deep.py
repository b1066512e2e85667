"""The base of methods that are trained by gradient descent: encoder, head, weighted losses, stages."""

from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor, nn

from retdm.backbones.base import Backbone
from retdm.batch import BagBatch, Batch, TrainingLabels
from retdm.errors import UserError
from retdm.methods.base import Method, draw_seed
from retdm.methods.components.encoder import BackboneEncoder
from retdm.methods.components.heads import Head, head_of
from retdm.methods.stage import Stage, parse_stages
from retdm.ranges import AtLeast


class DeepMethod(Method):
    """A network trained by gradient descent on named losses.

    A method writes ``terms`` (the names of its losses), ``components`` (what a stage may train), :meth:`losses` and
    :meth:`scores`; the rest is done here and in the callbacks of ``retdm.training``.

    Args:
        backbone: image network.
        labels: names of the L labels, in the order of targets and scores.
        stages: list of mappings, see :class:`retdm.methods.stage.Stage`.
        weights: weight of each loss in the total; a loss without one has weight 1.
        clip: part -> greatest norm of its gradient.
        embedding_dim: width of a linear layer between the backbone and what follows; None has none.
        head: how an image's places become the labels' logits: ``average`` and ``max`` pool them before a linear layer;
            ``csra`` and ``ml_decoder``, see ``retdm.methods.components.heads``. ``average`` is the backbone's own
            embedding.
        lr_factor: component, or a layer of one by its dotted name (``encoder.backbone``), -> what the stage's rate is
            multiplied by for it; 1 where none is named. A new layer on trained ones may learn faster than they.
        decide: rule that turns scores into label sets: ``half``, ``top3`` or ``validation``.
        optimizer: builds the optimizer from :meth:`parameter_groups` and a rate.
        seed: of dropout and of what the losses draw.
    """

    loss_names: ClassVar[tuple[str, ...]]
    encoder: BackboneEncoder

    def __init__(
        self,
        backbone: Backbone,
        labels: list[str],
        *,
        stages: list[Mapping[str, Any]],
        weights: Mapping[str, float] | None = None,
        clip: Mapping[str, float] | None = None,
        lr_factor: Mapping[str, float] | None = None,
        head: Head = "average",
        decide: str = "half",
        optimizer: Callable[[list[dict[str, Any]], float], torch.optim.Optimizer] = torch.optim.SGD,
        seed: int = 0,
        embedding_dim: Annotated[int, AtLeast(1)] | None = None,
    ) -> None:
        super().__init__(backbone, labels, decide=decide, seed=seed)
        self.head = head
        self.encoder = BackboneEncoder(
            backbone,
            embedding_dim,
            view="embedding" if head == "average" else "cells",
            pool="max" if head == "max" else "average",
        )
        self.classifier = head_of(head, self.encoder.width, len(labels))
        self.stages = parse_stages(stages)
        self.weights = dict.fromkeys(self.loss_names, 1.0) | dict(weights or {})
        for term, weight in self.weights.items():
            if term not in self.loss_names:
                names = ", ".join(self.loss_names)
                raise UserError(f"method.weights.{term}: there is no such loss", f"losses: {names}")
            if not isinstance(weight, int | float) or not 0 <= weight < float("inf"):
                raise UserError(f"method.weights.{term}={weight} is out of range", "it is a number from 0 up")
        self.clip, self.lr_factor = dict(clip or {}), dict(lr_factor or {})
        self.build_optimizer = optimizer
        self.stage = self.stages[-1]
        self.stage_step = 0
        self.diagnostics: dict[str, Tensor] = {}

    # What a method writes

    @property
    def components(self) -> dict[str, nn.Module]:
        """Named modules that a stage may train; together they are the whole network."""
        return {"encoder": self.encoder, "classifier": self.classifier}

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Unweighted losses by name, at least those of :attr:`active`."""
        raise NotImplementedError

    def scores(self, batch: Batch) -> Tensor:
        """Probabilities (B, L) in [0, 1]."""
        _, logits = self.embed_and_classify(batch)
        return logits.sigmoid()

    def embed_and_classify(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Embeddings (B, D) of images and what the classifier says of them, logits (B, L)."""
        if self.head in ("average", "max"):
            embedding: Tensor = self.encoder(batch)
            return embedding, self.classifier(embedding)
        instances, mask = self.encoder.instances(batch)
        return instances.mean(1), self.classifier(instances, mask)

    @property
    def scores_instances(self) -> bool:
        return hasattr(getattr(self, "classifier", None), "instance_logits")

    def instance_scores(self, batch: Batch | BagBatch) -> Tensor:
        """What the head says of each instance by itself (B, N, L), in [0, 1]; 0 in empty places of bags.

        Raises:
            UserError: this head looks at whole images alone.
        """
        head: Any = self.classifier
        if not self.scores_instances:
            raise UserError(f"method.head={self.head} gives no scores of regions", "method.head=csra does")
        instances, mask = self.encoder.instances(batch)
        scores: Tensor = head.instance_logits(instances).sigmoid() * mask[..., None]
        return scores

    def use_training_labels(self, labels: TrainingLabels) -> None:
        """Called before training, resumed or not, with the label sets that the method is trained on."""

    def measure(self, stage: Stage, images: Iterable[Batch]) -> None:
        """Called when a stage starts, with test views of (a sample of) the training images, to measure what the stage
        needs to know. ``images`` is lazy: left alone it costs nothing."""

    @property
    def loss_seed(self) -> int:
        """Of what the losses draw: another one at each step, alike on all processes. In validation always the same: its
        loss is a function of weights and data alone, or rules that watch it would act on the draw."""
        return draw_seed(self.seed, self.global_step) if self.training else self.seed

    # What the callbacks of retdm.training call

    def check_stages(self) -> None:
        """Every name in the stages is one of this method's.

        Raises:
            UserError: naming the stage, the name and those there are.
        """
        for key, names in (("train", tuple(self.components)), ("losses", self.loss_names)):
            for stage in self.stages:
                for name in getattr(stage, key):
                    if name not in names:
                        raise UserError(f"stage {stage.name}: {key} names {name}", f"there are: {', '.join(names)}")
        for key, named in (("clip", self.clip), ("lr_factor", self.lr_factor)):
            for part, value in named.items():
                if part not in self.components and not (key == "lr_factor" and self._is_layer(part)):
                    raise UserError(f"method.{key} names {part}", f"there are: {', '.join(self.components)}")
                if not 0 < value < float("inf"):
                    raise UserError(f"method.{key}.{part}={value} is out of range", "it is a number above 0")

    @property
    def active(self) -> list[str]:
        """Losses of this stage whose weight is not 0."""
        return [term for term in self.stage.losses if self.weights[term] > 0]

    def set_stage(self, stage: Stage, lr: float) -> None:
        """Let the stage's parts learn at ``lr`` and hold the others still."""
        self.stage, self.diagnostics = stage, {}
        for name, part in self.components.items():
            part.requires_grad_(name in stage.train)
        self.set_lr(lr)
        self.train(self.training)

    def set_lr(self, lr: float) -> None:
        for group in self.optimizers(use_pl_optimizer=False).param_groups:  # type: ignore[union-attr]
            group["lr"] = lr * group["lr_factor"]

    def train(self, mode: bool = True) -> "DeepMethod":
        super().train(mode)
        if mode:
            for name, part in self.components.items():
                if name not in self.stage.train:
                    part.eval()
        return self

    # Lightning's hooks

    def total(self, terms: Mapping[str, Tensor]) -> Tensor:
        return torch.stack([self.weights[name] * terms[name] for name in self.active]).sum()

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        torch.manual_seed(draw_seed(self.seed, self.global_step, self.global_rank))
        terms = self.losses(batch)
        if not self.active or not (total := self.total(terms)).requires_grad:
            raise UserError(
                f"stage {self.stage.name} has nothing to learn: no loss whose weight is above 0 depends on its parts",
                f"leave it out with schedule.{self.stage.name}.max_epochs=0",
            )
        self.stage_step += 1
        terms = {name: terms[name].detach() for name in self.active}
        return {"loss": total, "terms": terms}

    def validation_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        terms = self.losses(batch)
        terms = {name: terms[name] for name in self.active}
        return {"loss": self.total(terms), "terms": terms, "predictions": self.predictions(batch)}

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        for name, norm in self.clip.items():
            if name in self.stage.train:
                nn.utils.clip_grad_norm_(self.components[name].parameters(), norm)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.build_optimizer(self.parameter_groups(), self.stages[0].lr)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """A group a component, and one a layer that ``lr_factor`` names, with ``name``, ``params`` and ``lr_factor``.

        All components from the start, so that a resumed run finds the groups it saved, whatever its stage.
        """
        groups: dict[str, list[nn.Parameter]] = {name: [] for name in {**self.components, **self.lr_factor}}
        for component, module in self.components.items():
            for name, parameter in module.named_parameters(prefix=component):
                owners = [group for group in groups if name == group or name.startswith(f"{group}.")]
                groups[max(owners, key=len)].append(parameter)
        return [
            {"params": params, "name": name, "lr_factor": self.lr_factor.get(name, 1.0)}
            for name, params in groups.items()
        ]

    def _is_layer(self, name: str) -> bool:
        """A module inside a component has this dotted name."""
        component, _, layer = name.partition(".")
        return component in self.components and layer in dict(self.components[component].named_modules())
