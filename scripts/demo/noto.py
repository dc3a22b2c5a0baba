"""Training scenes: questions and boxes as in the demo, but drawn with Noto emoji, and other drawings of shapes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from PIL import Image

from scripts.demo import expressions, questions, scenes, shapes, sources
from scripts.demo.data import things
from scripts.demo.scenes import CANVAS, Thing

ASKED, SHAPED, REFERRED = 5_000, 1_500, 5_000
SEED = 25
TEXTS = 4  # questions per scene
NOTHING = 0  # class of an empty cell; things count from 1


@dataclass(frozen=True)
class Pictures:
    """Pictures of different sizes with their things and texts: TEXTS questions with answers, or expressions."""

    images: tuple[Image.Image, ...]
    texts: tuple[tuple[tuple[str, ...], ...], ...]
    placements: tuple[Placement, ...]


@dataclass(frozen=True)
class Placement:
    """The number and the box (left, top, width, height, as shares of the picture) of each thing."""

    numbers: tuple[int, ...]
    boxes: tuple[tuple[float, ...], ...]


@cache
def shown() -> tuple[Thing, ...]:
    """Return the things of the training scenes; the number of the i-th is i + 1."""
    by_name = {thing.emoji_name: thing for thing in things()}
    return tuple(by_name[name] for name in expressions.NAMES)


@cache
def _pictures() -> dict[Thing, Image.Image]:
    items, pictures = sources.noto_pictures()
    by_name = dict(zip((item.name for item in items), pictures, strict=True))
    return {thing: by_name[thing.emoji_name] for thing in shown()}


@cache
def asked() -> Pictures:
    """Make scenes of Noto emoji and drawn shapes with questions."""
    by_name = {thing.emoji_name: thing for thing in shown()}
    kinds = {kind: [by_name[name] for name in names] for kind, names in questions.KINDS.items()}
    images, texts, placements = [], [], []
    for i, made in enumerate(questions.ask(kinds, ASKED, SEED)):
        images.append(scenes.draw(made.scene, _pictures().__getitem__, SEED + i))
        texts.append(made.questions)
        half = scenes.CELL / 2
        boxes = [(x - half, y - half, 2 * half, 2 * half) for x, y in made.scene.places]
        placements.append(_placement(made.scene.things, boxes))
    for image, pairs in shapes.draw_all(SHAPED, TEXTS, SEED):
        images.append(image)
        texts.append(pairs)
        placements.append(Placement((), ()))
    return Pictures(tuple(images), tuple(texts), tuple(placements))


@cache
def referred() -> Pictures:
    """Make scenes of Noto emoji that contain a thing twice, with expressions and boxes."""
    images, phrases, placements = [], [], []
    for made in expressions.refer(list(shown()), REFERRED, SEED):
        image, boxes = expressions.draw(made, _pictures().__getitem__)
        images.append(image)
        phrases.append(made.expressions)
        placements.append(_placement([placed.thing for placed in made.placed], boxes))
    return Pictures(tuple(images), tuple(phrases), tuple(placements))


def _placement(present: list[Thing] | tuple[Thing, ...], boxes: list[expressions.Box]) -> Placement:
    numbers = tuple(shown().index(thing) + 1 for thing in present)
    width, height = CANVAS
    return Placement(numbers, tuple((x / width, y / height, w / width, h / height) for x, y, w, h in boxes))
