"""Label image files with a trained run: ``python -m retdm.predict run=<folder> images=<folder>``."""

import hydra

from retdm.runs.errors import guarded
from retdm.runs.help import CONF
from retdm.runs.predict import main

if __name__ == "__main__":
    guarded(hydra.main(str(CONF), "predict", version_base="1.3")(main))
