"""Check the codes of errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from hf_emms.errors import EmmsError


@contextmanager
def raises_code(code: str, *values: str) -> Iterator[pytest.ExceptionInfo[EmmsError]]:
    """Check that the block raises an error with this code, whose text contains these values."""
    with pytest.raises(EmmsError) as raised:
        yield raised
    assert raised.value.code == code, raised.value
    assert [value for value in values if value not in str(raised.value)] == [], raised.value
