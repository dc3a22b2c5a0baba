"""Image targets: two classic datasets, emoji by group, handwritten digits, and captioned scenes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from ranking_quality.places import use_demo_scripts
from ranking_quality.rows import Split, Table, hub_rows, png, split_rows

use_demo_scripts()

import data  # noqa: E402
import sources  # noqa: E402
from scenes import CELL, Thing, compose, draw, read_things  # noqa: E402

EMOJI_GROUPS = sources.NOTO_GROUPS
EMOJI_SIDE = 72
SCENE_OBJECTS = 24  # each in about a hundred scenes of the training rows
SCENES = {"train": 1_500, "validation": 400, "test": 1_000}
SEED = 40


def fashion() -> Table:
    """FashionMNIST rows of its test split, which no candidate has seen."""
    images, labels = sources.fashion_mnist("t10k")
    rows = {"image": [png(Image.fromarray(image)) for image in images], "label": labels.tolist()}
    return split_rows(rows, classes=data.FASHION_CLASSES, seed=SEED)


def cifar10() -> Table:
    """CIFAR-10 rows."""
    train, test = (hub_rows("uoft-cs/cifar10", "plain_text", split) for split in ("train", "test"))
    names = train.features["label"].names
    rows = {"image": [], "label": []}
    for part in (train, test):
        rows["image"] += [png(image.convert("RGB")) for image in part["img"]]
        rows["label"] += list(part["label"])
    return split_rows(rows, classes=names, seed=SEED)


def emoji_groups() -> Table:
    """Fluent emoji on light grounds and their Unicode group; the candidates saw another drawing style (Noto)."""
    rng = np.random.default_rng(SEED)
    rows: dict[str, list] = {"image": [], "label": []}
    for item in sources.emoji():
        if item.group not in EMOJI_GROUPS or not _drawn(item):
            continue
        ground = Image.new("RGB", (EMOJI_SIDE, EMOJI_SIDE), tuple(int(c) for c in rng.integers(200, 256, 3)))
        picture = sources.fluent_picture(item).resize((EMOJI_SIDE - 8, EMOJI_SIDE - 8), Image.Resampling.LANCZOS)
        ground.paste(picture, (4, 4), picture)
        rows["image"].append(png(ground))
        rows["label"].append(EMOJI_GROUPS.index(item.group))
    return split_rows(rows, classes=EMOJI_GROUPS, seed=SEED, shares=(0.58, 0.14, 0.28))


def digits() -> Table:
    """Handwritten digits, 8 × 8, that come with scikit-learn (UCI, 1998)."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    grey = (images.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    rows = {"image": [png(Image.fromarray(image)) for image in grey], "label": labels.tolist()}
    return split_rows(rows, classes=[str(digit) for digit in range(10)], seed=SEED, shares=(0.55, 0.15, 0.30))


def emoji_scenes() -> Table:
    """Scenes of Fluent emoji with one caption each, as the demo draws them, of other objects' mixture."""
    by_name = {item.name: item for item in sources.emoji()}
    things = read_things(Path(data.__file__).with_name("objects.txt"))
    chosen = sorted(np.random.default_rng(SEED).choice(len(things), SCENE_OBJECTS, replace=False))
    shown = [things[i] for i in chosen]
    return _scenes(shown, lambda thing, part: sources.fluent_picture(by_name[thing.emoji_name]))


def garment_scenes() -> Table:
    """Scenes of FashionMNIST garments with one caption each; splits share no garment."""
    images, labels = sources.fashion_mnist("t10k")
    names = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")
    things = [Thing(name, name, "dresses" if name == "dress" else name + "s") for name in names]
    rng = np.random.default_rng(SEED + 1)
    part_of = rng.choice(3, len(labels), p=(0.5, 0.15, 0.35))
    pools = {
        (name, split): np.flatnonzero((labels == i) & (part_of == s))
        for i, name in enumerate(names)
        for s, split in enumerate(SCENES)
    }

    def picture(thing: Thing, split: str) -> Image.Image:
        image = images[rng.choice(pools[thing.emoji_name, split])]
        return Image.fromarray(image).resize((CELL, CELL)).convert("RGBA")

    return _scenes(things, picture)


def _scenes(things: list[Thing], picture: Callable[[Thing, str], Image.Image]) -> Table:
    table: Table = {}
    for number, (split, count) in enumerate(SCENES.items()):
        seed = SEED + 1_000_000 * (number + 1)
        scenes = compose(things, count, seed, weights=data.LAYOUTS)
        drawn = [
            draw(scene, lambda thing, split=split: picture(thing, split), seed + i) for i, scene in enumerate(scenes)
        ]
        table[split] = Split({"image": [png(image) for image in drawn], "caption": [s.caption for s in scenes]})
    return table


def _drawn(item: sources.Emoji) -> bool:
    points = "-".join(f"{ord(character):04x}" for character in item.text)
    return any((sources.FLUENT_SVG / f"{name}.svg").exists() for name in (points, points.replace("-fe0f", "")))


IMAGE_TARGETS: dict[str, Callable[[], Table]] = {
    "fashion": fashion,
    "cifar10": cifar10,
    "emoji-groups": emoji_groups,
    "digits": digits,
    "emoji-scenes": emoji_scenes,
    "garment-scenes": garment_scenes,
}
