"""Judge a trained run again: ``python test.py run=<folder>``."""

import hydra

from retdm.runs.errors import guarded
from retdm.runs.settings import CONF, register_resolvers
from retdm.runs.test import main

if __name__ == "__main__":
    register_resolvers()
    guarded(hydra.main(str(CONF), "test", version_base="1.3")(main))
