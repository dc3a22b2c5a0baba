"""The one error type that users meet."""


class EmmsError(ValueError):
    """Something the user can act on; a ValueError, which is what users of other libraries catch.

    Args:
        message: What happened and which value caused it.
        hint: The command or argument that fixes it.
    """

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  → {self.hint}" if self.hint else self.message
