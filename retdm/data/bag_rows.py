"""Rows of a set of bags as batches."""

from torch.utils.data import Dataset

from retdm.batch import BagBatch
from retdm.data.source import BagSource


class BagRows(Dataset[BagBatch]):
    def __init__(self, source: BagSource) -> None:
        self.source = source
