"""Photos of plants, animals and food from repositories on GitHub.

Clone them into the folder HF_EMMS_QUALITY_PHOTOS. This repository contains none of them.
"""

from __future__ import annotations

import io
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from scripts.quality.rows import SPLITS, Split, Table, split_rows

SEED = 51
# target → repository and commit
REPOSITORIES = {
    "flowers": (
        "Ivan-KKH/Image-Classification-on-Oxford-17-Flowers-Dataset-Using-Convolutional-Neural-Network",
        "b010904301e351aa687ff96b45f7108d94b8c6c9",
    ),
    "birds": ("Sparcraps/Gob-Game-of-Bird", "b57177b4f7db9f4ef5df8c13c2a425d49e732610"),
    "monkeys": ("nikhildutta333/Monkey-Species-Classification", "cb62130b182246b59ed74614734320e61eb6aacc"),
    "grocery": ("marcusklasson/GroceryStoreDataset", "fc80ba90f803d79d0383df52c5a4ac5de99ff6fc"),
}
STORED_SIDE = 128  # pixels of the shorter side
SHARES = (0.6, 0.14, 0.26)
FEWEST_SPECIES = 4  # of a group of birds
PER_FLOWER = 80
# Two photos count as one if at most this many of 256 signs differ.
NEAR = 12


def flowers() -> Table:
    """17 kinds of flowers (Oxford, 2006), 80 photos each."""
    root = clone("flowers")
    names = [
        line.split()[-1].partition("_")[2] for line in (root / "flower/class_name.txt").read_text().split("\n") if line
    ]
    files = sorted((root / "raw").glob("image_*.jpg"))
    return _table((path, names[(int(path.stem[-4:]) - 1) // PER_FLOWER]) for path in files)


def birds() -> Table:
    """Birds by the last word of their species, such as "owl", five photos per species."""
    folders = sorted((clone("birds") / "valid").iterdir())
    groups = Counter(folder.name.split()[-1] for folder in folders)
    kept = {name for name, count in groups.items() if count >= FEWEST_SPECIES} - {"BIRD"}
    chosen = [folder for folder in folders if folder.name.split()[-1] in kept]
    return _table((path, folder.name.split()[-1].lower()) for folder in chosen for path in sorted(folder.iterdir()))


def monkeys() -> Table:
    """Ten species of monkeys."""
    root = clone("monkeys")
    lines = (root / "monkey_labels.txt").read_text(encoding="utf-8").splitlines()[1:]
    cells = [[cell.strip() for cell in line.split(",")] for line in lines if line.strip()]
    names = {cell[0]: cell[2].replace("_", " ").strip() for cell in cells}
    return _table((path, names[path.parent.name]) for path in sorted(root.glob("*/n?/*.jpg")))


def grocery() -> Table:
    """Fruit, vegetables and packages in shops (Klasson et al., 2019), by kind, in the splits of its authors."""
    root = clone("grocery") / "dataset"
    rows = {}
    for folder, split in zip(("train", "val", "test"), SPLITS, strict=True):
        lines = (root / f"{folder}.txt").read_text(encoding="utf-8").splitlines()
        files = [root / line.split(",")[0] for line in lines if line.strip()]
        rows[split] = [(path, path.relative_to(root / folder).parts[1]) for path in files]
    names = sorted({name for of_split in rows.values() for _, name in of_split})
    return {split: Split(_columns(rows[split], names), tuple(names)) for split in SPLITS}


def clone(name: str) -> Path:
    """Return the folder of a repository.

    Raises:
        FileNotFoundError: The clone is missing.
    """
    repository, commit = REPOSITORIES[name]
    root = os.environ.get("HF_EMMS_QUALITY_PHOTOS")
    folder = Path(root or ".") / repository.partition("/")[2]
    if root is None or not folder.exists():
        raise FileNotFoundError(f"clone https://github.com/{repository} at {commit} into HF_EMMS_QUALITY_PHOTOS")
    return folder


def _table(photos: Iterable[tuple[Path, str]]) -> Table:
    rows = list(photos)
    names = sorted({name for _, name in rows})
    columns = _columns(rows, names) | {"photo": _same_photos([path for path, _ in rows])}
    return split_rows(columns, classes=names, seed=SEED, shares=SHARES, group="photo", left_out="photo")


def _columns(rows: Sequence[tuple[Path, str]], names: Sequence[str]) -> dict[str, list]:
    numbers = {name: number for number, name in enumerate(names)}
    return {"image": [_small(path) for path, _ in rows], "label": [numbers[name] for _, name in rows]}


def _small(path: Path) -> dict[str, bytes]:
    with Image.open(path) as opened:
        image = opened.convert("RGB")
    scale = STORED_SIDE / min(image.size)
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=95)
    return {"bytes": buffer.getvalue()}


def _same_photos(paths: Sequence[Path]) -> list[int]:
    """Return a number per photo, the same for nearly equal photos."""
    signs = np.array([_signs(path) for path in paths], dtype=np.float32)
    # Number of equal signs minus number of different signs.
    near = signs @ signs.T >= signs.shape[1] - 2 * NEAR
    return [int(np.flatnonzero(row)[0]) for row in near]


def _signs(path: Path) -> np.ndarray:
    """Return the signs of differences between neighboring pixels of a thumbnail, 1 or -1, (256,)."""
    with Image.open(path) as opened:
        pixels = np.asarray(opened.convert("L").resize((17, 16), Image.Resampling.BILINEAR), dtype=np.float32)
    return np.where(np.diff(pixels, axis=1) > 0, 1.0, -1.0).ravel()
