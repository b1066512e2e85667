"""Write a trained run as files that need no retdm: ``python -m retdm.export run=<folder>``."""

if __name__ == "__main__":
    from retdm.stop import listen

    listen()  # first, for the imports take seconds too
    from retdm.runs.errors import guarded

    def command() -> None:
        import hydra

        from retdm.runs.export import main
        from retdm.runs.help import CONF

        hydra.main(str(CONF), "export", version_base="1.3")(main)()

    guarded(command)
