"""The words of a command before Hydra reads them: its flags, and what it would take for several runs."""

from collections.abc import Sequence
from typing import NoReturn

from hydra._internal.utils import get_args_parser

from retdm.errors import UserError
from retdm.settings.hydra_messages import quoted


def check_flags(command: str, words: Sequence[str]) -> None:
    """Every flag is one of Hydra's that does something here.

    Hydra would print a list of all of its own where a flag is unknown, and a sweep of another command than ``train``
    would leave records of its jobs where the user stands.

    Raises:
        UserError: a flag is unknown, or has no use.
    """

    def refuse(message: str) -> NoReturn:
        raise UserError(message, "a setting is written <key>=<value>, without dashes; --help lists what there is")

    parser = get_args_parser()
    parser.error = refuse  # type: ignore[method-assign]
    given = parser.parse_args(list(words))
    if given.multirun and command != "train":
        raise UserError(f"{command} works on one run at a time: it has no -m", "one command a run")
    if given.resolve and given.cfg is None:
        raise UserError("--resolve alone shows nothing", "--cfg job --resolve")


def with_names_quoted(words: Sequence[str], key: str) -> list[str]:
    """The words of a command, ``<key>=sea,sunset`` as one text: Hydra would take it for two runs."""
    start = f"{key}="
    names = [word.removeprefix(start) if word.startswith(start) else "" for word in words]
    pairs = zip(words, names, strict=True)
    return [word if name[:1] in ("", "[", "'", '"') else start + quoted(name) for word, name in pairs]
