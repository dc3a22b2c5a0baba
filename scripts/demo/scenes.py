"""Draw scenes of two to four emoji, and write their captions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

CANVAS = (128, 96)  # pixels
CELL = 42  # pixels: the largest emoji of which three fit side by side
BACKGROUNDS = ("#ffffff", "#eef3fb", "#f8f1e4", "#eaf6ea", "#f4ecf7", "#d9e4ee", "#fdf6c9", "#f9dfe0")
NUMBERS = {2: "two", 3: "three", 4: "four"}
PLACES: dict[int, tuple[tuple[int, int], ...]] = {  # centres, by number of emoji in a row or grid
    2: ((36, 48), (92, 48)),
    3: ((22, 48), (64, 48), (106, 48)),
    4: ((38, 25), (90, 25), (38, 71), (90, 71)),
}
STACKED = ((64, 24), (64, 72))


@dataclass(frozen=True)
class Thing:
    """An object of scenes: its Unicode name, and its singular and plural in captions."""

    emoji_name: str
    one: str
    many: str


@dataclass(frozen=True)
class Scene:
    """Things, their centres (x, y) in pixels, the caption, and the background colour."""

    things: tuple[Thing, ...]
    places: tuple[tuple[int, int], ...]
    caption: str
    background: str


def read_things(path: Path) -> list[Thing]:
    """Read objects.txt."""
    things = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            name, *forms = line.split("|")
            one = forms[0] if forms else name
            things.append(Thing(name, one, forms[1] if len(forms) > 1 else _plural(one)))
    return things


def _plural(noun: str) -> str:
    if noun.endswith(("s", "x", "ch", "sh")):
        return noun + "es"
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return noun[:-1] + "ies"
    return noun + "s"


def an(thing: Thing) -> str:
    """Return the thing with its indefinite article."""
    return ("an " if thing.one[0] in "aeiouAEIOU" else "a ") + thing.one


def compose(
    things: list[Thing],
    count: int,
    seed: int,
    *,
    theme_of: Callable[[Thing], str] = lambda thing: "",
    weights: tuple[float, ...] = (0.3, 0.2, 0.1, 0.15, 0.15, 0.1),
) -> list[Scene]:
    """Make scenes in which all things appear about equally often, each with things of one theme.

    `weights` are the shares of scenes with two things side by side, one above the other, a row of the same, two of one
    and one of another, three things, two pairs.
    """
    rng = np.random.default_rng(seed)
    pools: dict[str, list[Thing]] = {}
    for thing in things:
        pools.setdefault(theme_of(thing), []).append(thing)
    share = np.array([len(pool) for pool in pools.values()]) / len(things)
    decks: dict[str, list[Thing]] = {theme: [] for theme in pools}
    kinds = (_beside, _stacked, _row_of_same, _pair_and_one, _three, _two_pairs)
    scenes = []
    for _ in range(count):
        kind = kinds[rng.choice(len(kinds), p=weights)]
        theme = list(pools)[rng.choice(len(pools), p=share)] if len(pools) > 1 else next(iter(pools))
        deck, pool = decks[theme], pools[theme]
        while len(deck) < 3:
            deck.extend(pool[i] for i in rng.permutation(len(pool)))
        drawn, places, caption = kind(deck, rng)
        jitter = rng.integers(-3, 4, size=(len(places), 2))
        moved = tuple((x + int(dx), y + int(dy)) for (x, y), (dx, dy) in zip(places, jitter, strict=True))
        scenes.append(Scene(drawn, moved, caption, str(rng.choice(BACKGROUNDS))))
    return scenes


Drawn = tuple[tuple[Thing, ...], tuple[tuple[int, int], ...], str]


def _beside(deck: list[Thing], rng: np.random.Generator) -> Drawn:
    a, b = deck.pop(), deck.pop()
    captions = (f"{an(a)} left of {an(b)}", f"{an(b)} right of {an(a)}", f"{an(a)} next to {an(b)}")
    return (a, b), PLACES[2], str(rng.choice(captions))


def _stacked(deck: list[Thing], rng: np.random.Generator) -> Drawn:
    a, b = deck.pop(), deck.pop()
    return (a, b), STACKED, str(rng.choice((f"{an(a)} above {an(b)}", f"{an(b)} below {an(a)}")))


def _row_of_same(deck: list[Thing], rng: np.random.Generator) -> Drawn:
    a, count = deck.pop(), int(rng.integers(2, 5))
    return (a,) * count, PLACES[count], f"{NUMBERS[count]} {a.many}"


def _pair_and_one(deck: list[Thing], rng: np.random.Generator) -> Drawn:
    a, b = deck.pop(), deck.pop()
    if rng.random() < 0.5:
        return (a, a, b), PLACES[3], f"two {a.many} left of {an(b)}"
    return (b, a, a), PLACES[3], f"{an(b)} left of two {a.many}"


def _three(deck: list[Thing], rng: np.random.Generator) -> Drawn:
    a, b, c = deck.pop(), deck.pop(), deck.pop()
    captions = (f"{an(a)}, {an(b)} and {an(c)}", f"{an(b)} between {an(a)} and {an(c)}")
    return (a, b, c), PLACES[3], str(rng.choice(captions))


def _two_pairs(deck: list[Thing], rng: np.random.Generator) -> Drawn:
    a, b = deck.pop(), deck.pop()
    return (a, a, b, b), PLACES[4], f"two {a.many} above two {b.many}"


def draw(scene: Scene, picture_of: Callable[[Thing], Image.Image], seed: int) -> Image.Image:
    """Draw a scene, RGB, CANVAS pixels. `picture_of` returns the RGBA picture of a thing; its size is random."""
    rng = np.random.default_rng(seed)
    canvas = Image.new("RGB", CANVAS, scene.background)
    for thing, (x, y) in zip(scene.things, scene.places, strict=True):
        size = int(rng.integers(CELL - 6, CELL + 1))
        emoji = picture_of(thing).resize((size, size), Image.Resampling.LANCZOS)
        canvas.paste(emoji, (x - size // 2, y - size // 2), emoji)
    return canvas
