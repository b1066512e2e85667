"""Train a method on data: ``python train.py --help``."""

import sys

import hydra

from retdm.runs.errors import guarded
from retdm.runs.settings import CONF, register_resolvers
from retdm.runs.sweep import per_job
from retdm.runs.train import main

if __name__ == "__main__":
    register_resolvers()
    sys.argv[1:] = per_job(sys.argv[1:])
    guarded(hydra.main(str(CONF), "train", version_base="1.3")(main))
