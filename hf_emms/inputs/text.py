"""Texts."""

from __future__ import annotations

from typing import Any

from hf_emms.inputs.kind import InputKind, UnusableError


class _Text(InputKind):
    def holds(self, feature: Any) -> bool:
        return str(getattr(feature, "dtype", "")) in ("string", "large_string", "string_view")

    def read(self, value: Any, column: str) -> str:
        if not isinstance(value, str) or not value.strip():
            raise UnusableError(f"the {column} is empty")
        return value


TEXT = _Text(
    name="text",
    singular="text",
    plural="texts",
    column_types=("string", "strings"),
    fallback_pooling="text_fallback",
    fallback_summary="text features if the model has them, else the mean of the last layer's tokens",
    cpu_seconds=1.3e-9,
)
