"""What a column holds, in a word, and how a column or a field of one is read from a row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_SEVERAL = {"string": "strings", "class": "classes", "integer": "integers", "float": "floats", "image": "images"}


def kinds_of(features: Mapping[str, Any]) -> dict[str, str]:
    """What each column holds.

    Returns:
        column → "image", "class", "string", "integer", "float", their plurals (a list a row), "struct", "list" or the
        type's own name. The fields of structs, and of lists of them, stand behind their column as "answers.text".
    """
    kinds = {}
    for name, feature in features.items():
        kinds[name] = _kind(feature)
        for field, inner, listed in _fields(feature):
            kind = _kind(inner)
            kinds[f"{name}.{field}"] = _SEVERAL.get(kind, "list") if listed else kind
    return kinds


def describe(kinds: Mapping[str, str]) -> str:
    """Columns and their kinds, for messages."""
    return ", ".join(f"{name} ({kind})" for name, kind in kinds.items())


def column_of(name: str) -> str:
    """The column that a name is of: "answers" for "answers.text"."""
    return name.partition(".")[0]


def feature_of(features: Mapping[str, Any], name: str) -> Any:
    """The type of one element of a column or field, whether rows hold one or a list."""
    column, _, field = name.partition(".")
    feature = _element(features[column])
    return _element(feature[field]) if field else feature


def value_of(row: Mapping[str, Any], name: str) -> Any:
    """The value of a column or field: of a list of structs, the list of that field."""
    column, _, field = name.partition(".")
    value = row[column]
    if not field or value is None:
        return value
    return value.get(field) if isinstance(value, Mapping) else [one and one.get(field) for one in value]


def undecoded(feature: Any) -> Any:
    """The same type with its pictures as they are encoded."""
    import datasets

    if isinstance(feature, datasets.Image):
        return datasets.Image(decode=False)
    if isinstance(feature, Mapping):
        return {name: undecoded(one) for name, one in feature.items()}
    inner = undecoded(feature.feature) if _is_list(feature) else None
    return feature if inner is None or inner == feature.feature else datasets.List(inner)


def _fields(feature: Any) -> list[tuple[str, Any, bool]]:
    inner = _element(feature)
    if not isinstance(inner, Mapping) or _kind(inner) == "image":
        return []
    return [(name, one, inner is not feature) for name, one in inner.items()]


def _element(feature: Any) -> Any:
    return feature.feature if _is_list(feature) else feature


def _is_list(feature: Any) -> bool:
    return type(feature).__name__ in ("List", "LargeList", "Sequence")


def _kind(feature: Any) -> str:
    name = type(feature).__name__
    if name == "Image":
        return "image"
    if name == "ClassLabel":
        return "class"
    if isinstance(feature, Mapping):
        return "image" if set(feature) == {"bytes", "path"} else "struct"
    if _is_list(feature):
        return _SEVERAL.get(_kind(feature.feature), "list")
    dtype = str(getattr(feature, "dtype", name))
    if dtype in ("string", "large_string", "string_view"):
        return "string"
    if dtype in ("binary", "large_binary"):
        return "image"
    if dtype == "bool" or dtype.startswith(("int", "uint")):
        return "integer"
    return "float" if dtype.startswith("float") else dtype
