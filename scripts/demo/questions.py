"""Scenes with things of two kinds, and questions that need the picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scripts.demo.scenes import BACKGROUNDS, PLACES, STACKED, Scene, Thing, an

OF_A_KIND = 3  # things per kind in the demo: few, so that each is in many pictures
COUNTS = ("none", "one", "two", "three", "four")
# kind → Unicode names; every drawing is plain at 40 pixels
KINDS: dict[str, tuple[str, ...]] = {
    "animal": ("dog", "elephant", "penguin", "turtle", "butterfly", "rabbit"),
    "fruit": ("banana", "strawberry", "pineapple", "watermelon", "lemon", "red apple"),
    "vehicle": ("bus", "bicycle", "airplane", "sailboat", "tractor", "motorcycle"),
    "tool": ("hammer", "axe", "wrench", "screwdriver", "scissors"),
    "musical instrument": ("trumpet", "guitar", "violin", "drum"),
}
# names of the places of a layout, in the order of its centres
_PLACE_NAMES = {
    "row of 2": ("on the left", "on the right"),
    "row of 3": ("on the left", "in the middle", "on the right"),
    "column": ("at the top", "at the bottom"),
    "grid": ("at the top left", "at the top right", "at the bottom left", "at the bottom right"),
}
_LAYOUTS = {"row of 2": PLACES[2], "row of 3": PLACES[3], "column": STACKED, "grid": PLACES[4]}
_LAYOUT_SHARES = (0.3, 0.35, 0.15, 0.2)


@dataclass(frozen=True)
class Asked:
    """A scene and its questions with their answers."""

    scene: Scene
    questions: tuple[tuple[str, str], ...]


def ask(things: dict[str, list[Thing]], count: int, seed: int) -> list[Asked]:
    """Make scenes with four questions each: what, which kind, how many, is there one; `things` are by their kind."""
    rng = np.random.default_rng(seed)
    return [_ask_once(things, rng) for _ in range(count)]


def _ask_once(things: dict[str, list[Thing]], rng: np.random.Generator) -> Asked:
    layout = list(_LAYOUTS)[rng.choice(len(_LAYOUTS), p=_LAYOUT_SHARES)]
    places, names = _LAYOUTS[layout], _PLACE_NAMES[layout]
    # two kinds per scene, so that counting a kind differs from counting everything
    first, second = (list(things)[i] for i in rng.choice(len(things), 2, replace=False))
    pool = [(thing, kind) for kind in (first, second) for thing in things[kind]]
    shown = [pool[i] for i in rng.choice(len(pool), len(places), replace=False)]
    jitter = rng.integers(-3, 4, size=(len(places), 2))
    moved = tuple((x + int(dx), y + int(dy)) for (x, y), (dx, dy) in zip(places, jitter, strict=True))
    scene = Scene(tuple(thing for thing, _ in shown), moved, "", str(rng.choice(BACKGROUNDS)))
    at = int(rng.integers(len(shown)))
    questions = (
        _what(layout, [thing for thing, _ in shown], names, rng),
        (f"what kind of thing is {names[at]}?", shown[at][1]),
        _how_many(things, [kind for _, kind in shown], rng),
        _is_there(pool, [thing for thing, _ in shown], rng),
    )
    return Asked(scene, questions)


def _what(layout: str, shown: list[Thing], names: tuple[str, ...], rng: np.random.Generator) -> tuple[str, str]:
    at = int(rng.integers(len(shown)))
    if layout == "grid" or rng.random() < 0.5:
        return f"what is {names[at]}?", shown[at].one
    # a neighbour, so that the answer is unique
    other = at + 1 if at == 0 or (at + 1 < len(shown) and rng.random() < 0.5) else at - 1
    sides = ("above", "below") if layout == "column" else ("left of", "right of")
    if len(shown) == 3 and at == 1:
        return f"what is between the {shown[0].one} and the {shown[2].one}?", shown[1].one
    if len(shown) == 3:
        sides = ("directly left of", "directly right of")
    return f"what is {sides[at > other]} the {shown[other].one}?", shown[at].one


def _how_many(things: dict[str, list[Thing]], kinds: list[str], rng: np.random.Generator) -> tuple[str, str]:
    absent = [kind for kind in things if kind not in kinds]
    asked = str(rng.choice(kinds)) if rng.random() < 0.8 else str(rng.choice(absent))
    return f"how many {asked}s are there?", COUNTS[kinds.count(asked)]


def _is_there(pool: list[tuple[Thing, str]], shown: list[Thing], rng: np.random.Generator) -> tuple[str, str]:
    yes = rng.random() < 0.5
    thing = shown[rng.integers(len(shown))]
    while not yes and thing in shown:
        thing = pool[rng.integers(len(pool))][0]
    return f"is there {an(thing)}?", "yes" if yes else "no"
