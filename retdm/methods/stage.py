"""One stage of a training schedule, as a method's YAML writes it."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Annotated, Any, Literal

from retdm.errors import UserError
from retdm.ranges import Above, AtLeast, Between

RuleName = Literal["plateau", "one_cycle", "constant"]  # see retdm.training.schedule_rules


@dataclass(frozen=True)
class Stage:
    """One stage: the components that are trained, on which losses, how fast and for how long.

    Attributes:
        name: under which ``conf/schedule`` has the stage's rate, rule and length.
        train: components of the method that are trained; the others stand still, in evaluation mode.
        losses: names of the losses that are minimised; their weights stand in ``method.weights``.
        lr: the highest rate of the stage, above 0.
        max_epochs: the most epochs of the stage; 0 leaves it out.
        rule: ``plateau``: a tenth of the rate when the stage's validation loss has not fallen for ``patience`` epochs,
            and the end when it has not again (RETDM section III: 0.1 down to 0.01). ``one_cycle``: up and down once
            over ``max_epochs``. ``constant``: one rate for ``max_epochs``.
        min_steps: optimizer steps that the stage makes at least, on small sets by more epochs than ``max_epochs``.
        inputs: ``images``, augmented; ``features``: those of the backbone as it started, which a stage can read that
            trains nothing of the encoder. Such stages come first.
        patience: epochs without a lower validation loss for which the plateau rule waits, at least 1.
        warmup: share of the steps of ``max_epochs`` over which the rate climbs; None is the rule's default: .3 of
            one_cycle, 0 of the others.
    """

    name: str
    train: tuple[str, ...]
    losses: tuple[str, ...]
    lr: Annotated[float, Above(0)]
    max_epochs: Annotated[int, AtLeast(0)]
    rule: RuleName = "plateau"
    patience: Annotated[int, AtLeast(1)] = 2
    warmup: Annotated[float, Between(0, 1)] | None = None
    min_steps: Annotated[int, AtLeast(0)] = 0
    inputs: Literal["images", "features"] = "images"

    def lengthened(self, steps: int) -> "Stage":
        """The stage with as many epochs of ``steps`` steps as ``min_steps`` needs."""
        return replace(self, max_epochs=max(self.max_epochs, -(-self.min_steps // steps)))


UNTRAINED = Stage("none", train=(), losses=(), lr=1.0, max_epochs=0)  # of a method that no stage trains

# What a schedule says beside its stages; see retdm/runs/start.py and retdm/training/averaging.py.
START: dict[str, Any] = {
    "start": Literal["random", "frequencies", "probe"],
    "average": Annotated[float, Between(0, 1, with_high=False)],
    "ema": Annotated[float, Between(0, 1, with_high=False)],
}


def parse_stages(stages: list[Mapping[str, Any]]) -> list[Stage]:
    """The stages of a method, without those that have no epochs.

    Raises:
        UserError: a setting is missing; two stages have one name; a stage cannot read features.
    """
    names = [field.name for field in fields(Stage)]
    parsed: list[Stage] = []
    for settings in stages:
        name = settings.get("name", "?")
        if missing := [key for key in names[:5] if settings.get(key) is None]:
            raise UserError(f"stage {name}: {missing[0]} is not set", f"set schedule.{name}.{missing[0]}")
        stage = Stage(**{**settings, "train": tuple(settings["train"]), "losses": tuple(settings["losses"])})
        if any(stage.name == earlier.name for earlier in parsed):  # settings and checkpoints go by the name
            raise UserError(f"two stages are called {stage.name}", "give each a name of its own in method.stages")
        if stage.max_epochs == 0:
            continue
        if stage.inputs == "features" and ("encoder" in stage.train or any(each.inputs == "images" for each in parsed)):
            raise UserError(
                f"stage {stage.name}: inputs=features are those of the backbone at the start, which "
                + ("the stage would train" if "encoder" in stage.train else "an earlier stage has changed"),
                f"schedule.{stage.name}.inputs=images",
            )
        parsed.append(stage)
    return parsed
