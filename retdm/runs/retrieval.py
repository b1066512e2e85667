"""Criteria of retrieval by a method's embeddings of the test split."""

import numpy as np
import torch

from retdm.criteria.retrieval import Retrieval, evaluate_retrieval
from retdm.data.base_module import Data
from retdm.display.screen import track
from retdm.methods.deep import DeepMethod
from retdm.methods.networks.retdm import RETDM
from retdm.training.inference import infer

QUERIES = 5_000  # images that search among all others; a table of more distances takes minutes


def evaluate_retrieval_of(method: DeepMethod, data: Data) -> dict[str, Retrieval]:
    """How near the test images of one label set lie to each other, and to it.

    ``by_image``: queries are test images, at most ``QUERIES`` spread evenly over the split, each among all others.
    ``by_label_set``, where the method embeds label sets: queries are the distinct label sets of the test split. Images
    with an unknown label have no label set and are left out.
    """
    rows = data.rows_of("test")
    rows = rows[data.source.known[rows].all(axis=1)]
    sets = data.source.targets[rows]
    batches = track(data.batches_of(rows), "embedding test", -(-len(rows) // data.batch_size))
    found = [vectors.float().cpu() for _, vectors in infer(method, batches, method.encoder)]
    images = torch.cat(found).numpy() if found else np.zeros((0, 1), np.float32)
    own = np.unique(np.linspace(0, len(rows) - 1, min(QUERIES, len(rows))).round().astype(int))
    report = {"by_image": evaluate_retrieval(images[own], sets[own], images, sets, own)}
    if isinstance(method, RETDM):
        distinct = np.unique(sets, axis=0)
        with torch.inference_mode():
            queries = method.embed_label_sets(torch.from_numpy(distinct).to(method.device)).float().cpu().numpy()
        report["by_label_set"] = evaluate_retrieval(queries, distinct, images, sets)
    return report
