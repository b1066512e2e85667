"""The one error that a user can mend."""


class UserError(Exception):
    """A mistake in the command, the configuration or the data, which the user can correct.

    Args:
        message: what is wrong and where, one sentence.
        hint: how to correct it.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message
