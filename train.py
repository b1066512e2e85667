"""Train a method on data: ``python train.py --help``."""

import hydra

from retdm.runs.errors import guarded
from retdm.runs.settings import CONF, register_resolvers
from retdm.runs.train import main

if __name__ == "__main__":
    register_resolvers()
    guarded(hydra.main(str(CONF), "train", version_base="1.3")(main))
