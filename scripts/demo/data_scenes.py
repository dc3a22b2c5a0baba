"""Make the demo's datasets of pictures with questions and with boxes."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
from datasets import Image as ImageFeature
from datasets import List, Value
from PIL import Image

from scripts.demo import expressions, questions, scenes, sources
from scripts.demo.data import things
from scripts.demo.tables import PALETTE, png, write_dataset

SEED = 23
ASKED_SCENES = 125  # with four questions each
REFERRED_SCENES = 165  # with three boxes each
EASY_PICTURES = 110

_QUESTIONS = {"image": ImageFeature(), "question": Value("string"), "answer": Value("string")}
_BOXES = {"image": ImageFeature(), "answer": List(Value("string")), "bbox": List(Value("float32"))}
_SHARED: dict[str, Any] = {"license": "mit", "pictures_repeat": True}
_FLUENT = (
    "Drawn by a script from Microsoft's Fluent emoji (flat style, MIT licence, npm package "
    "`@lobehub/fluent-emoji-flat`)"
)


def easy_vqa() -> None:
    """Write pictures of the test split of easy-VQA with all what-questions and some yes/no questions."""
    asked = sources.easy_vqa_questions("test")
    rng = np.random.default_rng(SEED)
    pictures = sorted({number for _, _, number in asked})
    rows = []
    for number in rng.choice(pictures, EASY_PICTURES, replace=False):
        mine = [(question, answer) for question, answer, owner in asked if owner == number]
        whats = [pair for pair in mine if pair[1] not in ("yes", "no")]
        plain = [pair for pair in mine if pair not in whats and not {"no", "not"} & set(pair[0].split())]
        plain = [plain[i] for i in rng.permutation(len(plain))]
        # one of each, because the source answers six of seven questions without a negation by "no"
        chosen = [pair for word in ("yes", "no") for pair in [pair for pair in plain if pair[1] == word][:1]]
        with Image.open(sources.easy_vqa_picture("test", int(number))) as opened:
            cell = png(opened.convert("RGB"), PALETTE)
        rows += [(cell, *pair) for pair in dict.fromkeys(whats + chosen)]
    write_dataset(
        "easy-vqa",
        _QUESTIONS,
        rows,
        **_SHARED,
        title=f"Easy-VQA, {len(rows)} rows",
        task="visual-question-answering",
        origin="extended|other-easy-vqa",
        text=(
            f"{len(rows)} questions on {EASY_PICTURES} pictures of easy-VQA's test part (Victor Zhou, MIT "
            "licence, PyPI package `easy-vqa` 1.0): one coloured shape on a light ground, 64 × 64. All questions for "
            f"its shape and colour, and of those that yes or no answers at most one each a "
            "picture, none with a negation. The rows of a picture stand together."
        ),
    )


def emoji_vqa() -> None:
    """Write scenes of two to four Fluent emoji with four questions each."""
    by_name = {thing.emoji_name: thing for thing in things()}
    kinds = {kind: [by_name[name] for name in names[: questions.OF_A_KIND]] for kind, names in questions.KINDS.items()}
    picture_of = _fluent()
    rows = []
    for i, asked in enumerate(questions.ask(kinds, ASKED_SCENES, SEED)):
        cell = png(scenes.draw(asked.scene, picture_of, SEED + i), PALETTE)
        rows += [(cell, *pair) for pair in asked.questions]
    write_dataset(
        "emoji-vqa",
        _QUESTIONS,
        rows,
        **_SHARED,
        title="Emoji questions",
        task="visual-question-answering",
        origin="original",
        text=(
            f"{len(rows)} questions on {ASKED_SCENES} scenes of two to four emoji on a 128 × 96 canvas: what "
            "stands where, of which kind it is, how many of a kind there are, whether there is one. "
            f"{_FLUENT}: {sum(map(len, kinds.values()))} things of {len(kinds)} kinds ({', '.join(kinds)}). "
            "The rows of a picture stand together."
        ),
    )


def emoji_boxes() -> None:
    """Write scenes that contain an emoji twice, with expressions and boxes of three emoji each."""
    by_name = {thing.emoji_name: thing for thing in things()}
    picture_of = _fluent()
    rows = []
    for scene in expressions.refer([by_name[name] for name in expressions.NAMES], REFERRED_SCENES, SEED):
        picture, boxes = expressions.draw(scene, picture_of)
        cell = png(picture, PALETTE)
        referred = itertools.islice(zip(scene.expressions, boxes, strict=True), 3)
        rows += [(cell, list(phrases), list(box)) for phrases, box in referred]
    write_dataset(
        "emoji-boxes",
        _BOXES,
        rows,
        **_SHARED,
        title="Emoji referring expressions",
        task="zero-shot-object-detection",
        origin="original",
        text=(
            f"{len(rows)} objects in {REFERRED_SCENES} scenes of three or four emoji on a 128 × 96 canvas, in "
            "the columns of RefCOCO on the Hub: `answer` holds two or three expressions of the object, `bbox` its "
            f"left, top, width and height in pixels. {_FLUENT}. Every scene holds one of its "
            f"{len(expressions.NAMES)} things twice, so that the expression has to say which one. "
            "The rows of a picture stand together."
        ),
    )


def _fluent() -> Callable[[scenes.Thing], Image.Image]:
    by_name = {item.name: item for item in sources.emoji()}
    return lambda thing: sources.fluent_picture(by_name[thing.emoji_name])
