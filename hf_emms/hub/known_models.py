"""What searches and rankings on this machine have learned about checkpoints of the Hub; lists show it next time."""

from __future__ import annotations

import functools
from dataclasses import asdict, dataclass

import msgspec

from hf_emms.cache import Cache, default_cache

_KIND = "models"


@dataclass(frozen=True)
class KnownModel:
    """What is known of a checkpoint; None where it is not."""

    parameters: int | None = None  # of what was loaded, or of the whole checkpoint by the Hub
    bytes: int | None = None  # of the weights that are downloaded
    licence: str | None = None  # as its card names it


def remember(id: str, learned: KnownModel, cache: Cache | None = None) -> None:
    """Adds to what is known of a checkpoint ("ORG/NAME[@REVISION]"); what is None stays as it was."""
    cache = cache or default_cache(True)
    before = asdict(recall(id, cache))
    after = before | {name: value for name, value in asdict(learned).items() if value is not None}
    if after != before:
        cache.put_json(_KIND, _key(id), after)


def recall(id: str, cache: Cache | None = None) -> KnownModel:
    """What is known of a checkpoint ("ORG/NAME[@REVISION]")."""
    return (cache or default_cache(True)).get_json(_KIND, _key(id), _read) or KnownModel()


_read = functools.partial(msgspec.convert, type=KnownModel)


def _key(id: str) -> dict[str, str]:
    return {"id": id.partition("@")[0]}
