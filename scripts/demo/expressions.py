"""Scenes that contain a thing twice, and referring expressions for each thing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

from scripts.demo.questions import KINDS
from scripts.demo.scenes import BACKGROUNDS, CANVAS, Thing

OTHERS = (
    *("telescope", "umbrella", "alarm clock", "key", "teapot", "mushroom", "cactus", "hamburger", "rocket"),
    *("bell", "crown", "top hat", "necktie"),
)
NAMES = (*(name for names in KINDS.values() for name in names), *OTHERS)

_SIZES = (26, 44)  # pixels
_GAP = 4  # pixels between two boxes
_APART = (24, 20)  # smallest distance in pixels between left and right, and between upper and lower
_LARGER = 1.4  # smallest ratio of sides for "larger"
_NEARER = 0.55  # largest ratio of distances for "next to"
_OPAQUE = 40  # smallest alpha of a visible pixel

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Placed:
    """A thing and its square: centre and side in pixels."""

    thing: Thing
    x: int
    y: int
    side: int


@dataclass(frozen=True)
class Referred:
    """A scene: things in drawing order, background, and the expressions of each thing."""

    placed: tuple[Placed, ...]
    background: str
    expressions: tuple[tuple[str, ...], ...]


def refer(things: list[Thing], count: int, seed: int) -> list[Referred]:
    """Make scenes with a thing twice and one or two other things. Each thing appears about equally often."""
    rng = np.random.default_rng(seed)
    deck: list[Thing] = []
    scenes = []
    while len(scenes) < count:
        if len(deck) < 3:
            deck = [things[i] for i in rng.permutation(len(things))] + deck
        shown = [deck[-1], *deck[-1 : -2 - int(rng.integers(1, 3)) : -1]]
        placed = _place(shown, rng)
        if placed is None:
            continue
        phrases = tuple(_expressions(at, placed, rng) for at in range(len(placed)))
        if min(map(len, phrases)) >= 2:
            del deck[1 - len(shown) :]
            scenes.append(Referred(placed, str(rng.choice(BACKGROUNDS)), phrases))
    return scenes


def _place(shown: list[Thing], rng: np.random.Generator) -> tuple[Placed, ...] | None:
    """Place things without overlap; return None if the first attempts fail."""
    placed: list[Placed] = []
    for thing in shown:
        for _ in range(20):
            side = int(rng.integers(_SIZES[0], _SIZES[1] + 1))
            x, y = (int(rng.integers(side // 2 + 1, edge - side // 2)) for edge in CANVAS)
            one = Placed(thing, x, y, side)
            if all(_clear(one, other) for other in placed):
                placed.append(one)
                break
        else:
            return None
    return tuple(placed)


def _clear(a: Placed, b: Placed) -> bool:
    return max(abs(a.x - b.x), abs(a.y - b.y)) >= (a.side + b.side) / 2 + _GAP


def _expressions(at: int, placed: tuple[Placed, ...], rng: np.random.Generator) -> tuple[str, ...]:
    """Return two or three unambiguous expressions of a thing, or fewer if there are fewer."""
    one, name = placed[at], placed[at].thing.one
    twin = next((other for i, other in enumerate(placed) if i != at and other.thing == one.thing), None)
    others = [other for other in placed if other.thing != one.thing]
    phrases = [f"the {name}", *_where(one)] if twin is None else _against(one, twin, others)
    return tuple(phrases[i] for i in rng.permutation(len(phrases))[:3])


def _where(one: Placed) -> list[str]:
    """Describe the position of a thing that is in the scene once."""
    name = one.thing.one
    phrases = []
    if abs(one.x - CANVAS[0] / 2) >= _APART[0]:
        phrases.append(f"the {name} on the {'left' if one.x < CANVAS[0] / 2 else 'right'}")
    if abs(one.y - CANVAS[1] / 2) >= _APART[1]:
        phrases.append(f"the {name} at the {'top' if one.y < CANVAS[1] / 2 else 'bottom'}")
    return phrases or [f"the {name} in the middle"]


def _against(one: Placed, twin: Placed, others: list[Placed]) -> list[str]:
    """Describe differences between a thing and its twin."""
    name = one.thing.one
    phrases = []
    if abs(one.x - twin.x) >= _APART[0]:
        phrases.append(f"the {'left' if one.x < twin.x else 'right'} {name}")
    if abs(one.y - twin.y) >= _APART[1]:
        phrases.append(f"the {'upper' if one.y < twin.y else 'lower'} {name}")
    if max(one.side, twin.side) >= _LARGER * min(one.side, twin.side):
        phrases.append(f"the {'larger' if one.side > twin.side else 'smaller'} {name}")
    phrases += [f"the {name} next to the {o.thing.one}" for o in others if _far(one, o) < _NEARER * _far(twin, o)]
    return phrases


def _far(a: Placed, b: Placed) -> float:
    return float(np.hypot(a.x - b.x, a.y - b.y))


def draw(scene: Referred, picture_of: Callable[[Thing], Image.Image]) -> tuple[Image.Image, list[Box]]:
    """Draw a scene, RGB, CANVAS pixels, and return the box of each placed thing: left, top, width, height in pixels."""
    canvas = Image.new("RGB", CANVAS, scene.background)
    boxes = []
    for one in scene.placed:
        picture = picture_of(one.thing).resize((one.side, one.side), Image.Resampling.LANCZOS)
        left, top = one.x - one.side // 2, one.y - one.side // 2
        canvas.paste(picture, (left, top), picture)
        x0, y0, x1, y1 = picture.getchannel("A").point(lambda alpha: 255 * (alpha >= _OPAQUE)).getbbox()
        boxes.append((float(left + x0), float(top + y0), float(x1 - x0), float(y1 - y0)))
    return canvas, boxes
