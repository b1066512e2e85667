"""The threshold and the risk of ``missed:<α>`` beside those of MAPIE's conformal risk control, on the same scores.

    pip install mapie
    python benchmarks/against_mapie.py <run> [<run> …]

MAPIE's ``MultiLabelClassificationController(risk="recall", method="crc")`` controls the same mean over images. It
chooses among thresholds in steps of .01, or those that it is given; images without a label, which it refuses, are left
out for both.
"""

import sys
import warnings
from pathlib import Path

import numpy as np
from mapie.risk_control import MultiLabelClassificationController
from numpy.typing import NDArray

from retdm.decisions.conformal import conformal_threshold, losses
from retdm.report.read import read_run
from retdm.runs.folder.paths import RunFolder
from retdm.runs.folder.rows import chosen_on_of

Cells = tuple[NDArray[np.float64], NDArray[np.int64]]
FINE = np.linspace(0, 1, 2001)[:-1]


def labelled(scores: NDArray[np.float64], target: NDArray[np.int64]) -> Cells:
    """Scores and targets (n, L) of images with a label."""
    rows = target.any(axis=1)
    return scores[rows].astype(np.float64), target[rows].astype(np.int64)


def by_mapie(cells: Cells, most: float, steps: NDArray[np.float64] | None) -> float:
    """Its threshold: a label is predicted from it on."""
    more = {} if steps is None else {"predict_params": steps}
    controller = MultiLabelClassificationController(
        predict_function=lambda scores: scores, risk="recall", method="crc", target_level=1 - most, **more
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        controller.calibrate(*cells)
    return float(np.ravel(controller.best_predict_param)[0])


def main() -> None:
    """Print a line a run and risk."""
    for name in sys.argv[1:]:
        run = read_run(Path(name))
        assert run is not None
        rows = run.predictions()
        chosen = labelled(*chosen_on_of(RunFolder(run.folder), "this", refit=False).cells[:2])
        tested = labelled(rows["scores"], rows["target"])
        for most in (0.2, 0.1, 0.05):
            known = np.ones(chosen[0].shape, bool)
            found = {
                "retdm": conformal_threshold(*chosen, known, "missed", most),
                "MAPIE": by_mapie(chosen, most, None),
                "MAPIE, 2,000 steps": by_mapie(chosen, most, FINE),
            }
            said = []
            for who, threshold in found.items():
                parts = [
                    float(losses(scores >= threshold, target, np.ones(scores.shape, bool), "missed").mean())
                    for scores, target in (chosen, tested)
                ]
                said.append(f"{who} {threshold:.4f}: {parts[0]:.3f}, test {parts[1]:.3f}")
            print(f"{run.data} split {run.split} missed:{most:g}   {' | '.join(said)}", flush=True)


if __name__ == "__main__":
    main()
