"""Label image files with a trained run: ``python -m retdm.predict run=<folder> images=<folder>``."""

if __name__ == "__main__":
    from retdm.stop import listen

    listen()  # first, for the imports take seconds too
    from retdm.runs.errors import guarded

    def command() -> None:
        import hydra

        from retdm.runs.help import CONF
        from retdm.runs.predict import main

        hydra.main(str(CONF), "predict", version_base="1.3")(main)()

    guarded(command)
