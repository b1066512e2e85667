"""Losses that say something of unknown cells too, where BCE and its kin leave them out: pure functions of tensors.

Each is used by its name, as ``method=bce method.loss=assume_negative``. Their means are over all cells of the global
batch, unless they say otherwise.
"""
