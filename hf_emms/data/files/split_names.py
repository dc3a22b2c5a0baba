"""Names of files, folders, sheets and keys that mean a split."""

from __future__ import annotations

import re

# Words in such names → the split that they mean.
SPLIT_WORDS = {
    **dict.fromkeys(("train", "training", "publictrain"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev", "development"), "validation"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation", "publictest", "privatetest"), "test"),
}
_WORDS = re.compile(r"[^\W_]+")


def split_of(name: str) -> str | None:
    """Return the split that a name means in any case, such as "Testing" or "my_Train-2"; None for other names."""
    splits = {SPLIT_WORDS[word] for word in _WORDS.findall(name.lower()) if word in SPLIT_WORDS}
    return splits.pop() if len(splits) == 1 else None
