"""Write a trained run as files that need no retdm: ``python -m retdm.export run=<folder>``."""

import hydra

from retdm.runs.errors import guarded
from retdm.runs.export import main
from retdm.runs.help import CONF

if __name__ == "__main__":
    guarded(hydra.main(str(CONF), "export", version_base="1.3")(main))
