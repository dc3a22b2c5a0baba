"""Targets of pictures with texts: easy-VQA, questions on emoji scenes, and referring expressions in them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image

from ranking_quality.places import use_demo_scripts
from ranking_quality.protocol import TEST_ROWS, TRAIN_ROWS, VALIDATION_ROWS
from ranking_quality.rows import Table, png, split_rows

use_demo_scripts()

import data  # noqa: E402
import expressions  # noqa: E402
import questions  # noqa: E402
import scenes  # noqa: E402
import sources  # noqa: E402

SEED = 43
ROWS = TRAIN_ROWS + VALIDATION_ROWS + TEST_ROWS
PER_PICTURE = 3  # questions of one easy-VQA picture


def easy_vqa() -> Table:
    """Questions on single shapes; those that yes or no answers are fewer than in the source, where they are most."""
    asked: dict[int, list[tuple[str, str]]] = {}
    for question, answer, number in sources.easy_vqa_questions("train"):
        asked.setdefault(number, []).append((question, answer))
    rng = np.random.default_rng(SEED)
    rows: dict[str, list] = {"image": [], "question": [], "answer": [], "picture": []}
    for number in rng.permutation(sorted(asked))[: ROWS // PER_PICTURE + 1]:
        plain = [pair for pair in asked[number] if pair[1] in ("yes", "no")]
        whats = [pair for pair in asked[number] if pair not in plain]
        chosen = [plain[rng.integers(len(plain))], *(whats[i] for i in rng.permutation(len(whats))[: PER_PICTURE - 1])]
        with Image.open(sources.easy_vqa_picture("train", int(number))) as opened:
            cell = png(opened.convert("RGB"))
        _add(rows, cell, number, chosen)
    return _split(rows)


def emoji_vqa() -> Table:
    """Four questions on each scene of Fluent emoji: what, of which kind, how many, is there one."""
    by_name, picture_of = _fluent()
    kinds = {kind: [by_name[name] for name in names] for kind, names in questions.KINDS.items()}
    rows: dict[str, list] = {"image": [], "question": [], "answer": [], "picture": []}
    for number, asked in enumerate(questions.ask(kinds, ROWS // 4 + 1, SEED)):
        cell = png(scenes.draw(asked.scene, picture_of, SEED + number))
        _add(rows, cell, number, list(asked.questions))
    return _split(rows)


def emoji_boxes() -> Table:
    """One expression and the box of every thing in scenes of Fluent emoji that hold one thing twice."""
    by_name, picture_of = _fluent()
    rng = np.random.default_rng(SEED)
    rows: dict[str, list] = {"image": [], "expression": [], "box": [], "picture": []}
    shown = [by_name[name] for name in expressions.NAMES]
    for number, scene in enumerate(expressions.refer(shown, ROWS // 3, SEED)):
        picture, boxes = expressions.draw(scene, picture_of)
        cell = png(picture)
        for said, box in zip(scene.expressions, boxes, strict=True):
            rows["image"].append(cell)
            rows["expression"].append(said[rng.integers(len(said))])
            rows["box"].append(list(box))
            rows["picture"].append(number)
    return _split(rows)


def _add(rows: dict[str, list], cell: dict[str, bytes], number: int, pairs: list[tuple[str, str]]) -> None:
    for question, answer in pairs:
        rows["image"].append(cell)
        rows["question"].append(question)
        rows["answer"].append(answer)
        rows["picture"].append(int(number))


def _split(rows: dict[str, list]) -> Table:
    table = split_rows(rows, seed=SEED, group="picture")
    for split in table.values():
        del split.columns["picture"]
    return table


def _fluent() -> tuple[dict[str, scenes.Thing], Callable[[scenes.Thing], Image.Image]]:
    by_name = {item.name: item for item in sources.emoji()}
    things = {thing.emoji_name: thing for thing in data.things()}
    return things, lambda thing: sources.fluent_picture(by_name[thing.emoji_name])


PAIR_TARGETS: dict[str, Callable[[], Table]] = {
    "easy-vqa": easy_vqa,
    "emoji-vqa": emoji_vqa,
    "emoji-boxes": emoji_boxes,
}
