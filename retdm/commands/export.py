"""Write a trained run as model.pt2 (PyTorch) and model.onnx, which need no retdm, and compare them with the run.

  retdm export run=<folder> [<key>=<value>] …

docs/howto/deploying.md shows how to use the files; model.onnx needs pip install "retdm[onnx]".
"""

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf

from retdm.commands.guard import guarded
from retdm.errors import UserError
from retdm.files import all_or_none
from retdm.runs.folder.paths import RunFolder, shown
from retdm.runs.process import prepare_process
from retdm.runs.trained.model import load
from retdm.runs.trained.model_card import card
from retdm.runs.trained.onnx_file import scores_of_onnx, to_onnx
from retdm.runs.trained.program import random_views, scores_of_program, trace
from retdm.settings.checks import check_command

PROGRAM, ONNX = "model.pt2", "model.onnx"
CARD = "retdm.json"  # the card's name in both files
EXTRA = ("onnx", "onnxscript", "onnxruntime")
TOLERANCE = 1e-4  # of a score; another order of the same float32 operations gives some 1e-6


class Exported(NamedTuple):
    """A finished export.

    Attributes:
        card: see :func:`retdm.runs.trained.model_card.card`.
        differences: file -> greatest difference of its scores from the run's.
    """

    card: dict[str, Any]
    differences: dict[Path, float]


def main(config: DictConfig) -> None:
    """Write the files; print where they are, their sizes, the greatest difference of a score, and how to load each."""
    guarded(lambda: _export(config))


def _export(config: DictConfig) -> None:
    asked: Any = OmegaConf.to_container(config, resolve=True)
    check_command("export", asked)
    flags = {key: asked[key] for key in ("decide", "onnx", "overwrite", "user_classes")}
    prepare_process()
    folder = RunFolder(asked["run"])
    out = folder.path / "export" if asked["out"] is None else Path(asked["out"])
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
    print(f"decides: {exported.card['decide']['words']}")
    print(f"images: uint8 RGB (n, 3, {size}, {size}), made of photographs as docs/howto/deploying.md describes")


def export(
    run: RunFolder,
    out: Path,
    *,
    decide: str | None = None,
    onnx: bool = True,
    overwrite: bool = False,
    user_classes: bool = False,
) -> Exported:
    """Write a run's best checkpoint to ``out``, both files or none, each compared with the run on random images.

    In: uint8 RGB images (B, 3, S, S) of any number, normalised by the network itself. Out: float32 scores (B, L) in
    [0, 1], computed in float32 whatever the run's precision was.

    Args:
        run: folder of the run.
        out: folder of the files.
        decide: name of the decision rule for the card; None is the run's own.
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
    about = card(model, model.decision(decide))
    views = random_views(model.image_size)
    model.method.encoder.autocast = None
    expected = model.raw_scores(views)
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
