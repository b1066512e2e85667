"""The card of an exported model: labels, shapes, how an image is prepared, how scores become labels."""

from typing import Any

from retdm import __version__
from retdm.data.images import cached_side
from retdm.runs.trained.decisions import Decision
from retdm.runs.trained.model import Model


def card(model: Model, decision: Decision) -> dict[str, Any]:
    """The card as plain values, which both files hold as JSON."""
    method, size = model.method, model.image_size
    transform = method.encoder.backbone.transform
    return {
        "labels": model.labels,
        "images": {"type": "uint8", "shape": ["batch", 3, size, size]},
        "scores": {"type": "float32", "shape": ["batch", len(model.labels)], "range": [0, 1]},
        "transform": {
            "steps": "turn the photograph upright by its EXIF orientation; convert it to colours; keep the share crop "
            "of each side around the centre; resize it to each side of resize in turn, both sides alike; the model "
            "divides by 255 and applies mean and std itself",
            "colours": "RGB",
            "crop": transform.crop,
            "resize": [cached_side(size), size],
            "interpolation": transform.interpolation,
            "mean": list(transform.mean),
            "std": list(transform.std),
        },
        "calibration": model.calibration,
        "decide": {"rule": decision.rule.name, "threshold": decision.threshold, "words": decision.words},
        "made_by": {
            "retdm": __version__,
            "method": model.settings.choices["method"],
            "backbone": model.settings.network,
        },
    }
