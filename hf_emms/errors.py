"""The error that users see, without access tokens and control characters, and how a stopped command ends."""

import re

_TOKEN = re.compile(r"\bhf_[A-Za-z0-9]{16,}")
# User and password, or a token in their place, in an address: https://TOKEN@github.com/…
_LOGIN = re.compile(r"(?<=://)[^\s/@]+(?=@)")


def redacted(text: str) -> str:
    """The text without access tokens of the Hub, and without the logins of addresses."""
    return _LOGIN.sub("…", _TOKEN.sub("hf_…", text))


def printable(text: str) -> str:
    """The text; what could steer a terminal, or cannot be encoded, is shown escaped. Lines and tabs stay."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char in "\n\t" else repr(char)[1:-1] for char in text)


def _shown(text: str) -> str:
    return printable(redacted(text))


class EmmsError(ValueError):
    """An error that the user can act on; a ValueError, as other libraries raise.

    Args:
        message: what happened, and which value caused it.
        hint: the command or argument that fixes it.
    """

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(_shown(message))
        self.message = _shown(message)
        self.hint = _shown(hint) if hint else hint

    def __str__(self) -> str:
        return f"{self.message}\n  → {self.hint}" if self.hint else self.message


# Exit codes of a command that Ctrl-C or SIGTERM stops, and what it prints.
INTERRUPTED, TERMINATED = 130, 143
STOPPED = "Stopped. Finished checkpoints are cached; run the same command again to continue."
# Those that reached this command: within an import, one can become another error.
interruptions: list[KeyboardInterrupt] = []


def exit_code(stop: BaseException | None) -> int:
    """Of a command that this or an earlier interruption stopped: SIGTERM is a ``KeyboardInterrupt(TERMINATED)``."""
    stop = interruptions[0] if interruptions else stop
    return TERMINATED if isinstance(stop, KeyboardInterrupt) and TERMINATED in stop.args else INTERRUPTED
