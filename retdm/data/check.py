"""Look at a data set: ``python -m retdm.data.check data=<name>``."""

import hydra

from retdm.runs.check import main
from retdm.runs.errors import guarded
from retdm.runs.settings import CONF, register_resolvers

if __name__ == "__main__":
    register_resolvers()
    guarded(hydra.main(str(CONF), "check", version_base="1.3")(main))
