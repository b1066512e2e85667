"""The pictures of the validation split that a run draws at the end of each stage."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from matplotlib.figure import Figure
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.loggers import Logger, TensorBoardLogger

from retdm.criteria.mean_average_precision import label_average_precision
from retdm.data.base_module import Data
from retdm.data.modules import ImageData
from retdm.decisions import decide
from retdm.display.figure_text import undrawn
from retdm.methods.base import Method
from retdm.methods.deep import DeepMethod
from retdm.training.evaluation import Evaluation, thresholds_on
from retdm.training.pictures import png
from retdm.training.pictures.embedding import draw_embedding, embed, write_projector
from retdm.training.pictures.images import draw_heat_maps, draw_predictions
from retdm.training.pictures.labels import draw_bars, draw_curves
from retdm.training.stages import Stages

log = logging.getLogger(__name__)

FITTED = "fitted"  # the one stage of a method that is fitted
MOST_NAMED = 5  # labels whose names no font can draw


class Pictures(Callback):
    """Draws the validation split at the end of every stage, see :func:`draw_pictures`.

    Args:
        folder: of the PNG files.
        data: of the run.
        stages: of the run, before it in the list of callbacks.
        evaluation: before it too; its predictions are drawn.
    """

    def __init__(self, folder: Path, data: Data, stages: Stages, evaluation: Evaluation) -> None:
        self.folder, self.data, self.stages, self.evaluation = folder, data, stages, evaluation

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        stages = self.stages
        if stages.entered or not trainer.is_global_zero:
            return
        draw_pictures(
            self.folder,
            cast(DeepMethod, pl_module),
            self.data,
            self.evaluation.predictions,
            [each.name for each in stages.stages],
            logger=trainer.logger,
            step=trainer.global_step,
            # A label net that no stage has trained yet would show nothing but its initial weights.
            with_sets=any("label_net" in each.train for each in stages.stages[: stages.index]),
        )


def draw_pictures(
    folder: Path,
    method: Method,
    data: Data,
    rows: dict[str, np.ndarray],
    stages: Sequence[str] = (FITTED,),
    *,
    logger: Logger | None,
    step: int = 0,
    with_sets: bool = False,
) -> None:
    """Draw predictions of the validation split, as PNG files and into TensorBoard.

    ``predictions-<stage>.png``: the same validation images each time, with their predicted and true labels.
    ``heat_maps-<stage>.png``: where a method that scores regions finds the labels of some of them.
    ``precision_recall-<stage>.png``: a curve a label. ``labels-<stage>.png``: a bar a label.
    ``embedding-<stage>.png``, and TensorBoard's projector: images, and label sets where a method has a net for them.
    Nothing is drawn from PyTorch's generator, and a picture that fails is a warning, never a stop.

    Args:
        folder: of the PNG files; made when the first is written.
        rows: the predictions, see :func:`retdm.training.inference.gathered`.
        stages: of the run; the method's own is the one that has ended.
        logger: of the run; TensorBoard's gets the pictures too.
        step: of the optimizer, for the logger.
        with_sets: its label net has been trained.
    """
    stage = method.stage.name if isinstance(method, DeepMethod) else FITTED
    after = f"after stage {stage}" if isinstance(method, DeepMethod) else "after fitting"
    split = f"validation split {after}"
    values = label_average_precision(rows["scores"], rows["target"], rows["known"].astype(bool))
    predicted = decide(rows["scores"], method.decide, thresholds_on(rows, method))

    def embedding() -> Figure:
        space = embed(method, data, with_sets=with_sets)
        if isinstance(logger, TensorBoardLogger):
            write_projector(Path(logger.log_dir), stage, stages, space, method.labels)
        what = "images and label sets" if with_sets else "images" if isinstance(data, ImageData) else "bags"
        return draw_embedding(space, method.labels, f"validation {what} {after}")

    drawings: dict[str, Callable[[], Figure]] = {
        "precision_recall": lambda: draw_curves(rows, values, method.labels, split),
        "labels": lambda: draw_bars(rows, values, predicted, method.labels, split),
    }
    if isinstance(data, ImageData):
        images = f"validation images {after}"
        pixels = data.images
        drawings["predictions"] = lambda: draw_predictions(pixels, rows, predicted, method.labels, images)
        if method.scores_instances:
            drawings["heat_maps"] = lambda: draw_heat_maps(method, data, "validation", images)
    if len(data.splits["validation"]) > 1:
        drawings["embedding"] = embedding
    for name, draw in drawings.items():
        try:
            _write(folder, name, stage, png.rendered(draw()), logger, step)
        except Exception as error:
            log.warning("stage %s: the picture of %s failed: %s: %s", stage, name, type(error).__name__, error)
            log.debug("where it failed", exc_info=True)
    if stage == stages[0] and (names := undrawn(method.labels)):
        more = f", and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
        log.warning("no installed font has these names; in pictures %s%s", ", ".join(names[:MOST_NAMED]), more)


def _write(folder: Path, name: str, stage: str, pixels: np.ndarray, logger: Logger | None, step: int) -> None:
    png.write_pixels(folder / f"{name}-{stage}.png", pixels)
    if isinstance(logger, TensorBoardLogger):
        # Not add_figure, which goes through pyplot and so through state that all of the process shares.
        logger.experiment.add_image(f"view/{name}", pixels, step, dataformats="HWC")
