"""Shapes with the questions of easy-VQA, but rotated, outlined, and on patterned grounds."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageDraw

SIDE = 96  # pixels
COLOURS = {
    "red": (200, 40, 50),
    "green": (60, 170, 70),
    "blue": (50, 70, 200),
    "yellow": (235, 205, 60),
    "teal": (30, 145, 150),
    "brown": (130, 75, 45),
    "gray": (125, 125, 130),
    "black": (25, 25, 30),
}
NAMES = ("circle", "rectangle", "triangle")
_SHAPE_QUESTIONS = (
    "what shape is in the image?",
    "what shape is present?",
    "what shape does the image contain?",
    "what is the {colour} shape?",
)
_COLOUR_QUESTIONS = (
    "what color is the shape?",
    "what is the color of the shape?",
    "what color is the {shape}?",
    "what is the color of the {shape}?",
)
_YES_NO = (
    "is there a {what}?",
    "is there a {what} in the image?",
    "does the image contain a {what}?",
    "is a {what} present?",
)


def draw_all(count: int, texts: int, seed: int) -> Iterator[tuple[Image.Image, tuple[tuple[str, str], ...]]]:
    """Yield pictures of one shape, RGB, SIDE square, each with `texts` questions and their answers."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        colour, name = str(rng.choice(list(COLOURS))), str(rng.choice(NAMES))
        yield _draw(colour, name, rng), tuple(_ask(colour, name, rng) for _ in range(texts))


def _draw(colour: str, name: str, rng: np.random.Generator) -> Image.Image:
    ground = rng.integers(200, 256, 3) + rng.integers(-12, 13, (SIDE // 8, SIDE // 8, 1))
    canvas = Image.fromarray(ground.clip(0, 255).astype(np.uint8)).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    width = float(rng.uniform(12, 30))
    height = width if name == "circle" else float(rng.uniform(12, 30))
    corners = {
        "rectangle": [(-1, -1), (1, -1), (1, 1), (-1, 1)],
        "triangle": [(-1, 1), (1, 1), (0, -1)],
        "circle": [(np.cos(angle), np.sin(angle)) for angle in np.linspace(0, 2 * np.pi, 40, endpoint=False)],
    }[name]
    turn = rng.uniform(-0.35, 0.35)
    x, y = rng.uniform(32, SIDE - 32, 2)
    points = [
        (
            x + width * a * np.cos(turn) - height * b * np.sin(turn),
            y + width * a * np.sin(turn) + height * b * np.cos(turn),
        )
        for a, b in corners
    ]
    shade = tuple(int(v) for v in np.clip(np.array(COLOURS[colour]) + rng.integers(-15, 16, 3), 0, 255))
    ImageDraw.Draw(canvas).polygon(points, fill=shade, outline=tuple(v // 2 for v in shade), width=2)
    return canvas


def _ask(colour: str, name: str, rng: np.random.Generator) -> tuple[str, str]:
    kind = rng.random()
    if kind < 0.35:
        return str(rng.choice(_SHAPE_QUESTIONS)).format(colour=colour), name
    if kind < 0.7:
        return str(rng.choice(_COLOUR_QUESTIONS)).format(shape=name), colour
    of_colour, yes = rng.random() < 0.6, rng.random() < 0.5
    own, all_of_them = (colour, list(COLOURS)) if of_colour else (name, list(NAMES))
    what = own if yes else str(rng.choice([other for other in all_of_them if other != own]))
    return str(rng.choice(_YES_NO)).format(what=what + " shape" if of_colour else what), "yes" if yes else "no"
