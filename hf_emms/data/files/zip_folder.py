"""Unpack zip archives of images and sounds, which are then read like folders."""

from __future__ import annotations

import zipfile
from pathlib import Path

from hf_emms.cache.files import atomic_folder
from hf_emms.data.files.limits import UNPACK_IT, check_files
from hf_emms.data.files.local import MEDIA, reader_of
from hf_emms.errors import EmmsError

MAX_MEMBERS = 200_000


def is_zip(path: Path) -> bool:
    return path.suffix.lower() == ".zip" and path.is_file()


def unpacked(archive: Path, revision: str) -> Path:
    """Unpack an archive with this revision into the cache of ``datasets`` once, and return the folder.

    `zipfile` removes ".." and drives from the names of members, and writes links as files: nothing leaves the folder.

    Raises:
        EmmsError: The archive contains neither images nor sounds, or exceeds a limit.
        Exception: The archive is damaged or encrypted; `zipfile` raises errors of several types.
    """
    import datasets

    folder = Path(datasets.config.EXTRACTED_DATASETS_PATH) / f"hf_emms-{revision}"
    if not folder.is_dir():
        with zipfile.ZipFile(archive) as content:
            names = content.namelist()
            if len(names) > MAX_MEMBERS:
                problem = f"{archive.name} contains {len(names):,} files, more than {MAX_MEMBERS:,}"
                raise EmmsError("too-many-files", problem, UNPACK_IT)
            if not any(reader_of(Path(name)) in MEDIA for name in names):
                raise EmmsError("no-media", f"{archive.name} contains neither images nor sounds", UNPACK_IT)
            with atomic_folder(folder) as unfinished:
                content.extractall(unfinished)
                check_files(unfinished)
    return folder
