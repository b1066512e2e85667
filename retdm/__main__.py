"""``python -m retdm <command>``: every command, by its name."""

import sys
from importlib import import_module

COMMANDS = {
    "train": "train a method on data",
    "test": "evaluate a trained run's best checkpoint again",
    "predict": "label image files with a trained run",
    "export": "write a run as files that need no retdm",
    "check": "read every file of a data set once; counts, faults and a picture of it",
    "report": "tables, figures and a page of runs",
    "cache": "what the caches of decoded images, features and distances take; cache clear removes them",
}


def usage() -> str:
    lines = [f"  {name:<9} {does}" for name, does in COMMANDS.items()]
    return "\n".join(["python -m retdm <command> …", "", *lines, "", "python -m retdm <command> --help says more."])


def run(command: str) -> None:
    """One command, its words in ``sys.argv``; ends the process with its exit code."""
    from retdm.stop import listen

    if command in ("train", "test") and {"-h", "--help"} & set(sys.argv[1:]):  # at once: the others import for seconds
        from retdm.commands.help import help_text, test_help

        print(help_text(sys.argv[1:]) if command == "train" else test_help())
        sys.exit()
    listen()  # first, for the imports take seconds too
    from retdm.commands.guard import guarded

    guarded(lambda: _command(command))


def _command(command: str) -> None:
    main = import_module(f"retdm.commands.{command}").main
    if command in ("report", "cache"):
        sys.exit(main(sys.argv[1:]))
    import hydra

    from retdm.registry import CONF
    from retdm.settings.compose import register_resolvers

    register_resolvers()
    if command == "train":
        from retdm.commands.sweep import per_job

        sys.argv[1:] = per_job(sys.argv[1:])
    hydra.main(str(CONF), command, version_base="1.3")(main)()


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        print(usage())
        sys.exit(0 if len(sys.argv) > 1 else 2)
    if sys.argv[1] not in COMMANDS:
        from retdm.registry import nearest

        print(f"error: there is no command {sys.argv[1]!r}\n  {nearest(sys.argv[1], COMMANDS)}", file=sys.stderr)
        sys.exit(2)
    run(sys.argv.pop(1))
