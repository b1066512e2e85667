"""Judge a trained run's best checkpoint again:

python test.py run=<folder> [data.root=<folder>] [trainer.devices=<n>] [per_label=true] [own_classes=true]
"""

import sys

if __name__ == "__main__":
    if {"-h", "--help"} & set(sys.argv[1:]):
        print((__doc__ or "").strip())  # at once: what follows takes seconds to import
        sys.exit()

    import hydra

    from retdm.runs.errors import guarded
    from retdm.runs.settings import CONF, register_resolvers
    from retdm.runs.test import main

    register_resolvers()
    guarded(hydra.main(str(CONF), "test", version_base="1.3")(main))
