"""What names of folders and files say: splits, classes, or pictures with their masks."""

from __future__ import annotations

import glob
import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from hf_emms.data.files.local import card_names_files, format_of
from hf_emms.errors import EmmsError, setting_ref

# Words by which names tell their split → the split.
SPLIT_WORDS = {
    **dict.fromkeys(("train", "training", "publictrain"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev", "development"), "validation"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation", "publictest", "privatetest"), "test"),
}
_WORDS = re.compile(r"[^\W_]+")
# Folders of pictures, and of pictures that belong to those: masks, labels, or what a network should make of them.
_SOURCES = {
    "image",
    "images",
    "img",
    "imgs",
    "jpegimages",
    "pictures",
    "photos",
    "input",
    "inputs",
    "source",
    "lr",
    "rgb",
}
_TARGETS = {
    *("mask", "masks", "label", "labels", "annotation", "annotations", "gt", "groundtruth", "ground_truth", "hr"),
    *("segmentation", "segmentations", "segmentationclass", "segmentationobject", "target", "targets", "output"),
    *("outputs", "depth"),
}
# The two domains of a translation of images.
_DOMAIN = re.compile(r"(train|test|val|valid|validation)[ _-]?([ab])")
_MAX_NAMED = 4
# Names that a browser or a file manager gives to a copy.
_COPY = re.compile(r"(.+?)(?: ?\(\d+\)| - copy(?: \(\d+\))?| copy(?: \d+)?)", re.IGNORECASE)


def split_of(name: str) -> str | None:
    """Return the split that a name tells in any case, as "Testing" or "my_Train-2"; None for other names."""
    splits = {SPLIT_WORDS[word] for word in _WORDS.findall(name.lower()) if word in SPLIT_WORDS}
    return splits.pop() if len(splits) == 1 else None


def patterns_of_splits(folder: Path) -> dict[str, list[str]] | None:
    """Return the patterns of the files of each split, where the names tell two or more splits with capital letters.

    ``datasets`` reads names such as Training and Testing as folders of the same split. None for other folders, whose
    names it understands.
    """
    if card_names_files(folder):
        return None
    entries = [entry for entry in sorted(folder.iterdir()) if not entry.name.startswith((".", "__"))]
    entries = [entry for entry in entries if entry.is_dir() or format_of(entry)]
    if all(SPLIT_WORDS.keys() & _WORDS.findall(entry.name) for entry in entries):
        return None
    patterns = defaultdict[str, list[str]](list)
    for entry in entries:
        split = split_of(entry.name if entry.is_dir() else entry.name.partition(".")[0])
        if split is None:
            return None
        patterns[split].append(glob.escape(entry.name) + ("/**" if entry.is_dir() else ""))
    return dict(patterns) if len(patterns) > 1 else None


def check_class_folders(paths: Iterable[str], classes: Iterable[str]) -> list[str]:
    """Return notes on the folders above those of classes; refuse folders of media that are no classes.

    Args:
        paths: of the files.
        classes: the names that would be classes.

    Raises:
        EmmsError: they are pictures and their masks, two domains of images, or splits.
    """
    beside = defaultdict[PurePosixPath, set[str]](set)
    for folder in {PurePosixPath(path.replace("\\", "/")).parent for path in paths}:
        for place in (folder, *folder.parents):
            beside[place.parent].add(place.name)
    hint = "put pictures in one folder per class, or describe them in a metadata.csv with file_name and label"
    for names in beside.values():
        lower = {name.lower(): name for name in sorted(names)}
        sources, targets = _SOURCES & set(lower), _TARGETS & set(lower)
        if sources and targets:
            pair = f"{lower[min(sources)]!r} and {lower[min(targets)]!r}"
            raise EmmsError(
                f"the folders {pair} are no classes: they look like pictures and what belongs to each", hint
            )
        domains = {match[2]: name for text, name in lower.items() if (match := _DOMAIN.fullmatch(text))}
        if len(domains) > 1:
            pair = " and ".join(map(repr, sorted(domains.values())))
            raise EmmsError(f"the folders {pair} are no classes: they look like two domains of images", hint)
    classes = sorted(classes)
    if len(classes) > 1 and all(split_of(name) and _WORDS.fullmatch(name) for name in classes):
        raise EmmsError(
            f"the folders {' and '.join(map(repr, classes))} are splits, and hold no folders of classes",
            "in each of them, " + hint + ", or name one of them that does: " + setting_ref("dataset", "./FOLDER"),
        )
    above = sorted({place.name for place, names in beside.items() if names & set(classes)})
    more = ", …" * (len(above) > _MAX_NAMED)
    note = (
        f"classes are the innermost folders; those above them are read together: {', '.join(above[:_MAX_NAMED])}{more}"
    )
    return [note] if len(above) > 1 else []


def check_copies(files: Iterable[Path]) -> None:
    """Refuse tables that look like copies of others: both would be read, and rows count twice."""
    names = {(file.parent, file.name.lower()): file for file in files if format_of(file)}
    for file in names.values():
        stem, dot, suffix = file.name.lower().partition(".")
        match = _COPY.fullmatch(stem)
        original = names.get((file.parent, f"{match[1].rstrip()}{dot}{suffix}")) if match else None
        if original is not None:
            raise EmmsError(
                f"{file.name!r} looks like a copy of {original.name!r}, and the rows of both would be read",
                "take one of them out of the folder, or name the file: " + setting_ref("dataset", str(original)),
            )
