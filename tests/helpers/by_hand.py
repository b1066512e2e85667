"""Predictions computed row by row."""

from typing import Any

import numpy as np
import torch

from retdm.batch import Batch


def scores_by_hand(fit: Any, split: str) -> dict[str, np.ndarray]:
    """Predictions for a split of a fit's images, one image at a time."""
    source, rows = fit.data.source, fit.data.splits[split]
    views = torch.cat([batch.image for batch in fit.data.split_loader(split)])
    fit.method.eval()
    with torch.inference_mode():
        scores = []
        for view in views:
            image = fit.method.normalised(view[None])
            empty = torch.zeros(1, 5)
            scores.append(fit.method.scores(Batch(torch.zeros(1).long(), image, empty, empty.bool()))[0].numpy())
    known = source.known[rows]
    return {"index": rows, "scores": np.array(scores), "target": source.targets[rows] * known, "known": known}
