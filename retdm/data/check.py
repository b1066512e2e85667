"""Look at a data set: ``python -m retdm.data.check data=<name>``."""

if __name__ == "__main__":
    from retdm.stop import listen

    listen()  # first, for the imports take seconds too
    from retdm.runs.errors import guarded

    def command() -> None:
        import hydra

        from retdm.runs.check import main
        from retdm.runs.settings import CONF, register_resolvers

        register_resolvers()
        hydra.main(str(CONF), "check", version_base="1.3")(main)()

    guarded(command)
