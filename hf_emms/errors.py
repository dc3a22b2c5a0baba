"""The error that users see; it never shows access tokens."""

import re

_TOKEN = re.compile(r"\bhf_[A-Za-z0-9]{16,}")


def redacted(text: str) -> str:
    """The text without access tokens of the Hub."""
    return _TOKEN.sub("hf_…", text)


class EmmsError(ValueError):
    """An error that the user can act on; a ValueError, as other libraries raise.

    Args:
        message: what happened, and which value caused it.
        hint: the command or argument that fixes it.
    """

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(redacted(message))
        self.message = redacted(message)
        self.hint = redacted(hint) if hint else hint

    def __str__(self) -> str:
        return f"{self.message}\n  → {self.hint}" if self.hint else self.message
