"""A model as a program of plain operators, ``model.pt2``."""

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.nn import functional as F

from retdm.backbones.folding import _FoldingConv, fold_batchnorm
from retdm.batch import unlabelled
from retdm.display.screen import muted
from retdm.errors import UserError
from retdm.methods.base import Method
from retdm.runs.trained.model import Model


def random_views(size: int) -> Tensor:
    """Five random images, uint8 (5, 3, size, size): noise of ever larger grain, for noise of one grain looks alike."""
    generator = torch.Generator().manual_seed(0)
    sides = [max(1, size >> power) for power in range(5)]
    grains = [torch.randint(0, 256, (1, 3, side, side), generator=generator).float() for side in sides]
    return torch.cat([F.interpolate(grain, size=(size, size)) for grain in grains]).byte()


class _Deployed(nn.Module):
    """uint8 images to scores: what a method does, without what only training needs."""

    def __init__(self, method: Method) -> None:
        super().__init__()
        self.method = method

    def forward(self, images: Tensor) -> Tensor:
        return self.method.scores(unlabelled(self.method.normalised(images), len(self.method.labels))).float()


def trace(model: Model) -> ExportedProgram:
    """The model as a program of plain operators. The model's method is changed by this and cannot be used afterwards.

    Raises:
        UserError: its operations cannot be written down once for all images.
    """
    method = model.method
    _make_plain(method)
    example = torch.zeros(2, 3, model.image_size, model.image_size, dtype=torch.uint8)
    try:
        with quiet(), torch.no_grad():
            program: ExportedProgram = torch.export.export(
                _Deployed(method).eval(), (example,), dynamic_shapes=({0: Dim.DYNAMIC},), strict=False
            )
            # Autocast is an operator of its own, with what it encloses inside: this brings that to the outside.
            program = program.run_decompositions({})
    except Exception as error:  # the exporter passes on whatever the traced code raises
        raise UserError(
            f"{type(method).__name__} cannot be exported: {first_line(error)}",
            "its scores(batch) may not choose by values of tensors, nor by the number of images (len(batch.image))",
        ) from error
    program.graph.eliminate_dead_code()  # the batch's targets
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # paths of this machine
    return program


@torch.no_grad()
def _make_plain(method: Method) -> None:
    """Take out, in place, what serves training alone and would be in the program as operators or files' ballast."""
    fold_batchnorm(method.encoder.backbone.net)  # those that were trained: they are at rest now
    for module in list(method.modules()):
        if isinstance(module, _FoldingConv):  # it computes folded weights at each step; here they are computed once
            norm = module.norm[0]
            del module.norm
            module.__class__, norm.__class__ = nn.Conv2d, nn.BatchNorm2d  # type: ignore[assignment]
            folded = nn.utils.fuse_conv_bn_eval(module, norm)
            module.weight, module.bias = folded.weight, folded.bias
            norm.__class__ = nn.Identity  # type: ignore[assignment]
            norm._parameters.clear()
            norm._buffers.clear()
        if getattr(module, "inplace", False):  # saves memory, and takes the exporters five times as long
            module.inplace = False  # type: ignore[assignment]
    # The images' layout sets that of the computation; that of the weights is the one which PyTorch writes silently.
    method.to(memory_format=torch.contiguous_format)
    method.requires_grad_(False)


def scores_of_program(file: Path, views: Tensor) -> list[np.ndarray]:
    """Scores by the written program, for one view and for all."""
    with file.open("rb") as opened:
        program = torch.export.load(opened).module()
    return [program(batch).numpy() for batch in (views[:1], views)]


@contextmanager
def quiet() -> Iterator[None]:
    """Keep PyTorch's notes about its exporters off the screen: the files are compared with the run, and a failure is an
    error of one line."""
    with (
        muted("torch.onnx", "torch.fx", below=logging.ERROR),
        redirect_stderr(io.StringIO()),  # where a failure prints all operators so far
    ):
        yield


def first_line(error: BaseException) -> str:
    """Type and first line of the error that began a chain of them."""
    while error.__cause__ is not None:  # the exporters wrap what happened in pages of advice
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
