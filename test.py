"""Judge a trained run's best checkpoint again:

python test.py run=<folder> [data.root=<folder>] [trainer.devices=<n>] [per_label=true] [own_classes=true]
"""

import sys

from retdm.stop import listen

if __name__ == "__main__":
    if {"-h", "--help"} & set(sys.argv[1:]):
        print((__doc__ or "").strip())  # at once: what follows takes seconds to import
        sys.exit()

    listen()  # first, for the imports take seconds too
    from retdm.runs.errors import guarded

    def command() -> None:
        import hydra

        from retdm.runs.settings import CONF, register_resolvers
        from retdm.runs.test import main

        register_resolvers()
        hydra.main(str(CONF), "test", version_base="1.3")(main)()

    guarded(command)
