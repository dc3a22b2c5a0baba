"""What may go wrong with somebody else's checkpoint, and how a row says it."""

from __future__ import annotations

from hf_emms.errors import EmmsError, redacted


def failures() -> tuple[type[Exception], ...]:
    """What a checkpoint of somebody else may raise while it loads and runs."""
    from safetensors import SafetensorError

    return (
        EmmsError,
        OSError,
        RuntimeError,  # also torch's out-of-memory error and NotImplementedError
        ValueError,  # also JSON, Unicode and linear algebra errors
        TypeError,
        LookupError,
        AttributeError,
        ArithmeticError,
        AssertionError,
        ImportError,
        MemoryError,
        SafetensorError,
    )


def one_line(error: BaseException) -> str:
    """An error as one line: what happened, then the hint; rows are published, so no token may stand in it."""
    if isinstance(error, EmmsError):
        parts = [error.message, error.hint or ""]
    else:
        parts = [f"{type(error).__name__}: {error}" if str(error) else type(error).__name__]
    return redacted(" → ".join(" ".join(part.split()) for part in parts if part))
