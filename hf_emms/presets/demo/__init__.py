"""The embedded demo: small real datasets, checkpoints and label encoders that ship with the package.

They have ids like Hub repositories (`emms-demo/resnet-distilled`) and are read from this folder.
scripts/demo/ makes them; NOTICE lists their sources.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Literal

from hf_emms.errors import EmmsError

DEMO_PREFIX = "emms-demo/"

Kind = Literal["datasets", "checkpoints", "encoders"]

_HERE = Path(__file__).resolve().parent
_KINDS: tuple[Kind, ...] = ("checkpoints", "encoders", "datasets")


def folder_of(repo_id: str) -> Path | None:
    """The folder of an embedded repository.

    Args:
        repo_id: e.g. "emms-demo/resnet-distilled".

    Returns:
        Its folder; None where the id does not start with DEMO_PREFIX.

    Raises:
        EmmsError: it does, but there is none of that name.
    """
    if not repo_id.startswith(DEMO_PREFIX):
        return None
    name = repo_id.removeprefix(DEMO_PREFIX)
    for kind in _KINDS:
        if repo_id in names(kind):
            return _HERE / kind / name
    shipped = {id.removeprefix(DEMO_PREFIX): id for kind in _KINDS for id in names(kind)}
    close = [shipped[match] for match in difflib.get_close_matches(name.lower(), shipped, n=3)]
    meant = f"did you mean {' or '.join(close)}? " if close else ""
    raise EmmsError(f"{repo_id} is not part of the embedded demo", f"{meant}hf-emms presets lists what is")


def names(kind: Kind) -> tuple[str, ...]:
    """Ids of the embedded repositories of one kind, sorted, DEMO_PREFIX included."""
    folders = (path for path in (_HERE / kind).iterdir() if (path / "README.md").is_file())
    return tuple(sorted(DEMO_PREFIX + path.name for path in folders))
