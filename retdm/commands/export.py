"""``python -m retdm export run=<folder>``: a run as files that need no retdm, each compared with the run."""

import io
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.nn import functional as F

from retdm import __version__
from retdm.backbones.folding import _FoldingConv, fold_batchnorm
from retdm.batch import Batch
from retdm.commands.guard import guarded
from retdm.data.augment import cached_side
from retdm.errors import UserError
from retdm.files import all_or_none
from retdm.methods.base import Method
from retdm.runs import build
from retdm.runs.decisions import threshold_of
from retdm.runs.folder import RunFolder, shown
from retdm.runs.model import Model, load

PROGRAM, ONNX = "model.pt2", "model.onnx"
CARD = "retdm.json"  # the name in both files of what `card` gives
EXTRA = ("onnx", "onnxscript", "onnxruntime")
TOLERANCE = 1e-4  # of a score; another order of the same float32 operations gives some 1e-6


class Exported(NamedTuple):
    """What an export wrote.

    Attributes:
        card: see :func:`card`.
        differences: file -> greatest difference of its scores from the run's.
    """

    card: dict[str, Any]
    differences: dict[Path, float]


def main(config: DictConfig) -> None:
    """Write the files; say where they are, how large, how exact, and how each is loaded."""
    guarded(lambda: _export(config))


def _export(config: DictConfig) -> None:
    asked: Any = OmegaConf.to_container(config, resolve=True)
    if asked["run"] is None:
        raise UserError("which run? run=<folder> is missing", "python -m retdm export run=outputs/<data>/<method>/…")
    flags = {key: asked[key] for key in ("onnx", "overwrite", "user_classes")}
    for key, value in flags.items():
        if not isinstance(value, bool):
            raise UserError(f"{key}={value} is not true or false")
    build.prepare_process()
    folder = RunFolder(str(asked["run"]))
    out = folder.path / "export" if asked["out"] is None else Path(str(asked["out"]))
    exported = export(folder, out, **flags)
    for file, difference in exported.differences.items():
        megabytes = file.stat().st_size / 1e6
        print(f"{shown(file)}: {megabytes:.1f} MB, scores differ from the run's by at most {difference:.1e}")
    loads = {
        PROGRAM: 'torch.export.load("{}").module()(images)',
        ONNX: 'onnxruntime.InferenceSession("{}").run(None, {{"images": images}})[0]',
    }
    for file in exported.differences:
        print("scores =", loads[file.name].format(shown(file)))
    size = exported.card["transform"]["resize"][-1]
    print(f"images: uint8 RGB (n, 3, {size}, {size}), made of photographs as docs/deploying.md tells")


def export(
    run: RunFolder, out: Path, *, onnx: bool = True, overwrite: bool = False, user_classes: bool = False
) -> Exported:
    """Write a run's best checkpoint to ``out``, both files or none, each compared with the run on random images.

    In: uint8 RGB images (B, 3, S, S) of any number, normalised by the network itself. Out: float32 scores (B, L) in
    [0, 1], computed in float32 whatever the run's precision was.

    Args:
        run: folder of the run.
        out: folder of the files.
        onnx: write ``model.onnx`` beside ``model.pt2``.
        overwrite: replace what an earlier export left.
        user_classes: as in :func:`retdm.load`.

    Raises:
        UserError: the extra packages are missing, there is an export already, the run cannot be loaded, its method
            cannot be exported, or a file's scores differ from the run's.
    """
    files = [out / PROGRAM, out / ONNX] if onnx else [out / PROGRAM]
    missing = [name for name in EXTRA if onnx and find_spec(name) is None]
    if missing:
        raise UserError(
            f"model.onnx needs packages that are not installed: {', '.join(missing)}",
            'pip install "retdm[onnx]", or write model.pt2 alone with onnx=false',
        )
    there = [out / name for name in (PROGRAM, ONNX) if (out / name).exists()]
    if there and not overwrite:
        raise UserError(f"{shown(there[0])} is there already", "replace it with overwrite=true, or choose out=<folder>")

    model = load(run.path, user_classes=user_classes)
    if model.dim is not None:
        raise UserError(f"{shown(run.path)} was trained on bags of instances: it cannot be exported")
    if not model.method.exports:
        raise UserError(
            f"{type(model.method).__name__} cannot be exported: its scores are no fixed tensor program",
            'retdm.load("<run>").predict(images) gives them',
        )
    about = card(run, model)
    views = random_views(model.image_size)
    model.method.encoder.autocast = None
    expected = model.scores(views)
    program = trace(model)
    proto = to_onnx(program) if onnx else None
    with _writing_to(files[0].parent), all_or_none(files) as parts:
        content = io.BytesIO()  # written from C++, an error of the disk would end the process
        torch.export.save(program, content, extra_files={CARD: json.dumps(about, indent=1)})
        parts[0].write_bytes(content.getbuffer())
        found = [scores_of_program(parts[0], views)]
        if proto is not None:
            proto.metadata_props.add(key=CARD, value=json.dumps(about, indent=1))
            parts[1].write_bytes(proto.SerializeToString())
            found.append(scores_of_onnx(parts[1], views))
        differences = {file: _difference(scores, expected) for file, scores in zip(files, found, strict=True)}
        for file, difference in differences.items():
            if not difference <= TOLERANCE:
                raise UserError(
                    f"{file.name} would give scores that differ from the run's by {difference:.1e} "
                    f"(expected at most {TOLERANCE:.0e}), so nothing is written",
                    "scores(batch) must compute the same from the same images, by tensor operations alone",
                )
    for stale in set(there) - set(files):  # of another checkpoint than the files that now lie beside it
        stale.unlink()
    return Exported(about, differences)


def card(run: RunFolder, model: Model) -> dict[str, Any]:
    """What a user of the files must know: names, shapes, how an image is prepared, how scores become labels."""
    method, size = model.method, model.image_size
    transform = method.encoder.backbone.transform
    return {
        "labels": model.labels,
        "images": {"type": "uint8", "shape": ["batch", 3, size, size]},
        "scores": {"type": "float32", "shape": ["batch", len(model.labels)], "range": [0, 1]},
        "transform": {
            "steps": "turn the photograph upright as its EXIF tells; convert it to colours; resize it to each side of "
            "resize in turn, both sides alike; the model divides by 255 and applies mean and std itself",
            "colours": "RGB",
            "resize": [cached_side(size), size],
            "interpolation": transform.interpolation,
            "mean": list(transform.mean),
            "std": list(transform.std),
        },
        "decide": {"rule": method.decide, "threshold": threshold_of(run, method.decide, method)},
        "made_by": {
            "retdm": __version__,
            "method": model.settings.choices["method"],
            "backbone": model.settings.network,
        },
    }


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
        rows = images.shape[0]  # not len, which would fix the number of images
        unused = torch.zeros(rows, len(self.method.labels))
        known = torch.zeros_like(unused, dtype=torch.bool)
        batch = Batch(torch.arange(rows), self.method.normalised(images), unused, known)
        return self.method.scores(batch).float()


def trace(model: Model) -> ExportedProgram:
    """The model as a program of plain operators. The model's method is changed on the way and of no more use.

    Raises:
        UserError: its operations cannot be written down once for all images.
    """
    method = model.method
    _make_plain(method)
    example = torch.zeros(2, 3, model.image_size, model.image_size, dtype=torch.uint8)
    try:
        with _quiet(), torch.no_grad():
            program: ExportedProgram = torch.export.export(
                _Deployed(method).eval(), (example,), dynamic_shapes=({0: Dim.DYNAMIC},), strict=False
            )
            # Autocast is an operator of its own, with what it encloses inside: this brings that to the outside.
            program = program.run_decompositions({})
    except Exception as error:  # the exporter passes on whatever the traced code raises
        raise UserError(
            f"{type(method).__name__} cannot be exported: {_first_line(error)}",
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


def to_onnx(program: ExportedProgram) -> Any:
    """The program as an ONNX ``ModelProto`` with input ``images`` and output ``scores``.

    Raises:
        UserError: ONNX has no such operators.
    """
    try:
        with _quiet():
            converted = torch.onnx.export(
                program, dynamo=True, optimize=True, input_names=["images"], output_names=["scores"], verbose=False
            )
            assert converted is not None
            proto = converted.model_proto
    except Exception as error:  # of PyTorch, onnxscript and onnx alike
        raise UserError(
            f"the model cannot be written as ONNX: {_first_line(error)}",
            "write model.pt2 alone with onnx=false, or try newer packages: pip install -U torch onnxscript",
        ) from error
    graph = proto.graph
    for value in (*graph.input, *graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    del graph.value_info[:]  # shapes inside, which every reader infers; they have another name for the batch
    for item in (*graph.node, *graph.input, *graph.output, *graph.initializer):
        item.ClearField("metadata_props")  # notes of the exporter about itself
    return proto


def scores_of_program(file: Path, views: Tensor) -> list[np.ndarray]:
    """Scores by the written program, for one view and for all."""
    with file.open("rb") as opened:
        program = torch.export.load(opened).module()
    return [program(batch).numpy() for batch in (views[:1], views)]


def scores_of_onnx(file: Path, views: Tensor) -> list[np.ndarray]:
    """Scores by the written ONNX file, for one view and for all."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    return [session.run(["scores"], {"images": batch.numpy()})[0] for batch in (views[:1], views)]


def _difference(found: list[np.ndarray], expected: np.ndarray) -> float:
    """The greatest difference; infinite where shape or type is another."""
    pairs = [(scores, expected[: len(scores)]) for scores in found]
    if any(a.shape != b.shape or a.dtype != b.dtype for a, b in pairs):
        return float("inf")
    return float(np.max([np.abs(a - b).max() for a, b in pairs]))


@contextmanager
def _writing_to(folder: Path) -> Iterator[None]:
    """Make the folder; after an error it is gone again if it was new, and an error of the disk says what to do."""
    is_new = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise UserError(
            f"cannot write to {folder}: {error.strerror or error}", "make room, or choose another place: out=<folder>"
        ) from error
    finally:
        if is_new:
            with suppress(OSError):  # it is not empty where all went well
                folder.rmdir()


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep PyTorch's notes about its exporters off the screen: what they give is compared with the run, and what they
    fail at is an error of one line."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.fx")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with redirect_stderr(io.StringIO()):  # where a failure prints all operators so far
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _first_line(error: BaseException) -> str:
    while error.__cause__ is not None:  # the exporters wrap what happened in pages of advice
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
