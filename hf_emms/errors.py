"""The one error type that users meet, and what no text for users may hold."""

import re

_TOKEN = re.compile(r"\bhf_[A-Za-z0-9]{16,}")


def redacted(text: str) -> str:
    """The text without access tokens of the Hub."""
    return _TOKEN.sub("hf_…", text)


class EmmsError(ValueError):
    """Something the user can act on; a ValueError, which is what users of other libraries catch.

    Args:
        message: What happened and which value caused it.
        hint: The command or argument that fixes it.
    """

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(redacted(message))
        self.message = redacted(message)
        self.hint = redacted(hint) if hint else hint

    def __str__(self) -> str:
        return f"{self.message}\n  → {self.hint}" if self.hint else self.message
