"""``retdm <command>``: every command, by its name."""

import sys
from importlib import import_module
from typing import NoReturn

COMMANDS = (
    "train",
    "test",
    "predict",
    "search",
    "features",
    "decide",
    "export",
    "check",
    "review",
    "report",
    "cache",
)  # files of retdm/commands
OF_NAMES = {"search": ["labels"], "decide": ["rule", "calibrate"]}  # settings that take names with commas between them
OF_WORDS = ("report", "cache")  # read their words themselves; for the others Hydra composes the settings


def run(command: str) -> None:
    """One command, its words in ``sys.argv``; ends the process with its exit code."""
    words = sys.argv[1:]
    if {"-h", "--help"} & set(words):  # at once: the imports below take seconds
        from retdm.commands.help import help_of
        from retdm.errors import UserError

        try:
            _show(help_of(command, words))
        except UserError as error:
            _refuse(error.message, error.hint)
        sys.exit()
    from retdm.stop import listen

    listen()  # first, because the imports take seconds too
    from retdm.commands.guard import guarded

    guarded(lambda: _command(command, words))


def _show(text: str) -> None:
    """Print help, however little of it is read: ``--help | head``."""
    from retdm.commands.output.streams import lasting

    with lasting():
        print(text, flush=True)


def _refuse(message: str, hint: str) -> NoReturn:
    print(f"error: {message}\n  {hint}", file=sys.stderr)
    sys.exit(2)


def _command(command: str, words: list[str]) -> None:
    if command in OF_WORDS:
        import_module(f"retdm.commands.{command}").main(words)
        return
    import hydra

    from retdm.commands.begin import begin
    from retdm.commands.flags import check_flags, with_names_quoted
    from retdm.registry import CONF
    from retdm.settings.first_choice import register_resolvers

    check_flags(command, words)
    register_resolvers()
    if command == "train":
        from retdm.commands.sweep import per_job

        sys.argv[1:] = per_job(words)
    elif command in OF_NAMES:
        for key in OF_NAMES[command]:
            words = with_names_quoted(words, key)
        sys.argv[1:] = words
    hydra.main(str(CONF), command, version_base="1.3")(begin)()


def main() -> None:
    """The command that the first word names."""
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        from retdm.commands.help import usage

        _show(usage(COMMANDS))
        sys.exit(0 if len(sys.argv) > 1 else 2)
    if sys.argv[1] not in COMMANDS:
        from retdm.registry import nearest

        _refuse(f"there is no command {sys.argv[1]!r}", nearest(sys.argv[1], COMMANDS))
    run(sys.argv.pop(1))


if __name__ == "__main__":
    main()
