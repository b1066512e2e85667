"""Differences between the scores of an exported run and of ``retdm.load(run).predict`` on real photographs.

    python benchmarks/deployed.py <folder of photographs> <run> [<run> …]

Each run is exported to a temporary folder. The photographs are prepared for its files as docs/howto/deploying.md says,
by Pillow alone, and label sets are decided by the code there; the largest difference of any score is printed, and how
many label sets differ, a line a run and file.
"""

import re
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps

from retdm.commands.export import EXTRA, export
from retdm.runs.folder.paths import RunFolder
from retdm.runs.trained.inputs import find_images
from retdm.runs.trained.model import load
from retdm.runs.trained.onnx_file import scores_of_onnx
from retdm.runs.trained.program import scores_of_program

DOCS = Path(__file__).resolve().parents[1] / "docs" / "howto" / "deploying.md"


def decided(scores: np.ndarray, how: dict[str, Any]) -> np.ndarray:
    """Label sets as docs/howto/deploying.md decides them, bool (n, L)."""
    found: np.ndarray = of_the_page("decided")(scores, how)
    return found


def calibrated(scores: np.ndarray, how: dict[str, Any] | None) -> np.ndarray:
    """Probabilities as docs/howto/deploying.md calibrates them, (n, L)."""
    found: np.ndarray = of_the_page("calibrated")(scores, how)
    return found


def of_the_page(name: str) -> Any:
    """A function of this name that stands in docs/howto/deploying.md."""
    blocks = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
    names: dict[str, Any] = {}
    exec(next(block for block in blocks if f"def {name}(" in block), names)
    return names[name]


def prepared(file: Path, transform: dict[str, Any]) -> torch.Tensor:
    """A photograph as docs/howto/deploying.md prepares it, uint8 (3, S, S)."""
    image = ImageOps.exif_transpose(Image.open(file)).convert("RGB")
    left, top = (round(side * (1 - transform["crop"]) / 2) for side in image.size)
    image = image.crop((left, top, image.width - left, image.height - top))
    for side in transform["resize"]:
        image = image.resize((side, side), Image.Resampling[transform["interpolation"].upper()])
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def main() -> None:
    files = find_images(sys.argv[1:2])
    has_onnx = all(find_spec(name) for name in EXTRA)
    for run in sys.argv[2:]:
        model = load(run)
        expected = model.predict(files)
        sets = model.decision().sets(expected)
        with tempfile.TemporaryDirectory() as folder:
            exported = export(RunFolder(run), Path(folder), onnx=has_onnx)
            views = torch.stack([prepared(file, exported.card["transform"]) for file in files])
            made_by = exported.card["made_by"]
            for file in exported.differences:
                scores = (scores_of_program if file.suffix == ".pt2" else scores_of_onnx)(file, views)[1]
                scores = calibrated(scores, exported.card["calibration"])
                difference = np.abs(scores - expected).max()
                others = int((decided(scores, exported.card["decide"]) != sets).any(axis=1).sum())
                line = f"{made_by['method']:<16}{file.name:<12}{len(files):,} images: {difference:.1e}"
                print(f"{line}, {others} label sets differ", flush=True)


if __name__ == "__main__":
    main()
