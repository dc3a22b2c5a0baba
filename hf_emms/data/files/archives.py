"""Archives of a table or of folders, unpacked into the cache of ``datasets``."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hf_emms.data.files.local import format_of, media_suffixes, walk
from hf_emms.errors import EmmsError

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")


def archive_in(path: Path) -> Path | None:
    """Return the archive that a path is, or that is all the data of a folder; None for other paths.

    Raises:
        EmmsError: a folder holds nothing but several archives.
    """
    if path.is_file():
        return path if _is_archive(path) else None
    files = [file for file in walk(path) if file.is_file()]
    archives = [file for file in files if _is_archive(file)]
    if not archives or any(format_of(file) or file.suffix.lower() in media_suffixes() for file in files):
        return None
    if len(archives) > 1:
        names = ", ".join(file.name for file in archives[:3])
        raise EmmsError(f"{path.name!r} holds {len(archives)} archives: {names}", "unpack them into that folder")
    return archives[0]


def _is_archive(file: Path) -> bool:
    return file.name.lower().endswith(ARCHIVES)


def unpacked(archive: Path, revision: str) -> Path:
    """Return the folder or the only file in an archive, which is unpacked once for each `revision` of its content.

    Raises:
        EmmsError: it is no archive, holds nothing, or is closed by a password.
    """
    from datasets import config

    place = Path(config.EXTRACTED_DATASETS_PATH) / f"hf-emms-{revision}"
    if not place.is_dir():
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place.parent) as folder:
            (Path(folder) / "content").mkdir()
            _unpack(archive, Path(folder) / "content")
            try:
                (Path(folder) / "content").replace(place)
            except OSError:  # another process was faster
                if not place.is_dir():
                    raise
    entries = _entries(place)
    while len(entries) == 1 and entries[0].is_dir():
        entries = _entries(place := entries[0])
    if not entries:
        raise EmmsError(f"{archive.name} holds no file", "name a folder, a file or another archive")
    return entries[0] if len(entries) == 1 else place


def _entries(folder: Path) -> list[Path]:
    return [entry for entry in walk(folder) if entry.parent == folder and not entry.name.startswith("__")]


def _unpack(archive: Path, folder: Path) -> None:
    safely = {} if archive.suffix.lower() == ".zip" else {"filter": "data"}
    try:
        shutil.unpack_archive(archive, folder, **safely)  # type: ignore[arg-type]
    except (shutil.ReadError, RuntimeError, ValueError, EOFError) as error:  # RuntimeError: a password
        raise EmmsError(f"{archive.name} cannot be unpacked: {error}", "unpack it, and name the folder") from error
