"""Unpack archives of a table or of folders into the cache of ``datasets``."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hf_emms.data.files.local import is_webdataset, reader_of, walk
from hf_emms.errors import EmmsError

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")


def archive_in(path: Path) -> Path | None:
    """Return the archive that a path is, or that is all the data of a folder; None for other paths.

    Raises:
        EmmsError: A folder contains several archives that are not shards in the WebDataset format.
    """
    files = [path] if path.is_file() else walk(path)
    archives = [file for file in files if file.name.lower().endswith(ARCHIVES)]
    if not archives or any(map(reader_of, files)) or is_webdataset(archives[0]):
        return None
    if len(archives) > 1:
        names = ", ".join(file.name for file in archives[:3])
        raise EmmsError(f"{path.name!r} contains {len(archives)} archives: {names}.", "Unpack them into that folder.")
    return archives[0]


def unpacked(archive: Path, revision: str) -> Path:
    """Return the folder or the only file in an archive, which is unpacked once per `revision` of its content.

    Raises:
        EmmsError: The archive is broken, empty, or requires a password.
    """
    from datasets import config

    place = Path(config.EXTRACTED_DATASETS_PATH) / f"hf-emms-{revision}"
    if not place.is_dir():
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place.parent) as folder:
            content = Path(folder) / "content"
            safely = {} if archive.suffix.lower() == ".zip" else {"filter": "data"}
            try:
                shutil.unpack_archive(archive, content, **safely)  # type: ignore[arg-type]
            except (shutil.ReadError, RuntimeError, ValueError, EOFError) as error:  # RuntimeError: a password
                raise EmmsError(
                    f"{archive.name} cannot be unpacked: {error}", "Unpack it, and name the folder."
                ) from error
            content.mkdir(exist_ok=True)
            if not place.is_dir():  # another process may have been faster
                content.replace(place)
    entries = _entries(place)
    while len(entries) == 1 and entries[0].is_dir():
        entries = _entries(place := entries[0])
    if not entries:
        raise EmmsError(f"{archive.name} contains no file.", "Choose a folder, a file or another archive.")
    return entries[0] if len(entries) == 1 else place


def _entries(folder: Path) -> list[Path]:
    return [entry for entry in folder.iterdir() if not entry.name.startswith((".", "__"))]
