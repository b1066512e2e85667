"""Train a method on data: ``python train.py --help``."""

import sys

from retdm.runs.help import help_text
from retdm.stop import listen

if __name__ == "__main__":
    if {"-h", "--help"} & set(sys.argv[1:]):
        print(help_text(sys.argv[1:]))  # at once: what follows takes seconds to import
        sys.exit()

    listen()  # first, for the imports take seconds too
    from retdm.runs.errors import guarded

    def command() -> None:
        import hydra

        from retdm.runs.settings import CONF, register_resolvers
        from retdm.runs.sweep import per_job
        from retdm.runs.train import main

        register_resolvers()
        sys.argv[1:] = per_job(sys.argv[1:])
        hydra.main(str(CONF), "train", version_base="1.3")(main)()

    guarded(command)
