"""The one error that is the user's to mend."""


class UserError(Exception):
    """Something in the command, the configuration or the data is wrong, and the user can put it right.

    Args:
        message: what is wrong and where, one sentence.
        hint: what to do about it.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message
