"""The 14 targets of the micro pool: their rows, drawn from the demo's sources and from the Hub, in three splits."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
from PIL import Image

from scripts.demo import data, data_spans, expressions, questions, scenes, sources
from scripts.demo.scenes import CELL, Thing
from scripts.quality.protocol import TEST_ROWS, TRAIN_ROWS, VALIDATION_ROWS
from scripts.quality.rows import Split, Table, hub_rows, png, split_rows

IMAGE_SEED, TEXT_SEED, ANSWER_SEED, PAIR_SEED = 40, 41, 42, 43
EMOJI_GROUPS = sources.NOTO_GROUPS
EMOJI_SIDE = 72
SCENE_OBJECTS = 24  # each in about a hundred scenes of the training rows
SCENES = {"train": TRAIN_ROWS, "validation": VALIDATION_ROWS, "test": TEST_ROWS}
TREC_CLASSES = ("abbreviation", "entity", "description", "human", "location", "number")
PER_FILE, PER_ANSWER = 1_000, 20  # definitions of one lexicographer file and with one answer
SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z\"“])")
ROWS = TRAIN_ROWS + VALIDATION_ROWS + TEST_ROWS
PER_PICTURE = 3  # questions of one easy-VQA picture


def fashion() -> Table:
    """FashionMNIST rows of its test split, which no candidate has seen."""
    return split_rows(fashion_rows(), classes=data.FASHION_CLASSES, seed=IMAGE_SEED)


def fashion_rows() -> dict[str, list]:
    """The test split of FashionMNIST."""
    images, labels = sources.fashion_mnist("t10k")
    return {"image": [png(Image.fromarray(image)) for image in images], "label": labels.tolist()}


def cifar10() -> Table:
    """CIFAR-10 rows."""
    rows, names = cifar10_rows()
    return split_rows(rows, classes=names, seed=IMAGE_SEED)


def cifar10_rows() -> tuple[dict[str, list], list[str]]:
    """Both splits of CIFAR-10, and the names of its classes."""
    train, test = (hub_rows("uoft-cs/cifar10", "plain_text", split) for split in ("train", "test"))
    names = train.features["label"].names
    rows = {"image": [], "label": []}
    for part in (train, test):
        rows["image"] += [png(image.convert("RGB")) for image in part["img"]]
        rows["label"] += list(part["label"])
    return rows, names


def emoji_groups() -> Table:
    """Fluent emoji on light grounds and their Unicode group; the micro checkpoints saw another drawing style (Noto)."""
    rng = np.random.default_rng(IMAGE_SEED)
    rows: dict[str, list] = {"image": [], "label": []}
    for item in sources.emoji():
        if item.group not in EMOJI_GROUPS or not _drawn(item):
            continue
        ground = Image.new("RGB", (EMOJI_SIDE, EMOJI_SIDE), tuple(int(c) for c in rng.integers(200, 256, 3)))
        picture = sources.fluent_picture(item).resize((EMOJI_SIDE - 8, EMOJI_SIDE - 8), Image.Resampling.LANCZOS)
        ground.paste(picture, (4, 4), picture)
        rows["image"].append(png(ground))
        rows["label"].append(EMOJI_GROUPS.index(item.group))
    return split_rows(rows, classes=EMOJI_GROUPS, seed=IMAGE_SEED, shares=(0.58, 0.14, 0.28))


def digits() -> Table:
    """Handwritten digits, 8 × 8, that come with scikit-learn (UCI, 1998)."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    grey = (images.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    rows = {"image": [png(Image.fromarray(image)) for image in grey], "label": labels.tolist()}
    return split_rows(rows, classes=[str(digit) for digit in range(10)], seed=IMAGE_SEED, shares=(0.55, 0.15, 0.30))


def emoji_scenes() -> Table:
    """Scenes of Fluent emoji with one caption each, as the demo draws them, of other objects' mixture."""
    by_name = {item.name: item for item in sources.emoji()}
    things = data.things()
    chosen = sorted(np.random.default_rng(IMAGE_SEED).choice(len(things), SCENE_OBJECTS, replace=False))
    shown = [things[i] for i in chosen]
    return _scenes(shown, lambda thing, part: sources.fluent_picture(by_name[thing.emoji_name]))


def garment_scenes() -> Table:
    """Scenes of FashionMNIST garments with one caption each; splits share no garment."""
    images, labels = sources.fashion_mnist("t10k")
    names = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")
    things = [Thing(name, name, "dresses" if name == "dress" else name + "s") for name in names]
    rng = np.random.default_rng(IMAGE_SEED + 1)
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
        seed = IMAGE_SEED + 1_000_000 * (number + 1)
        composed = scenes.compose(things, count, seed, weights=data.LAYOUTS)
        drawn = [
            scenes.draw(scene, lambda thing, split=split: picture(thing, split), seed + i)
            for i, scene in enumerate(composed)
        ]
        table[split] = Split({"image": [png(image) for image in drawn], "caption": [s.caption for s in composed]})
    return table


def _drawn(item: sources.Emoji) -> bool:
    points = "-".join(f"{ord(character):04x}" for character in item.text)
    return any((sources.FLUENT_SVG / f"{name}.svg").exists() for name in (points, points.replace("-fe0f", "")))


def glosses() -> Table:
    """The demo's 2,000 glosses: the only ones that no candidate was distilled on."""
    names = list(data.GLOSS_CLASSES.values())
    synsets = data.target_synsets()
    rows = {
        "text": [synset.gloss for synset in synsets],
        "label": [names.index(data.GLOSS_CLASSES[synset.lexicographer]) for synset in synsets],
    }
    return split_rows(rows, classes=names, seed=TEXT_SEED, shares=(0.60, 0.15, 0.25))


def trec() -> Table:
    """TREC questions and the coarse type of their answer."""
    return split_rows(trec_rows(), classes=TREC_CLASSES, seed=TEXT_SEED)


def trec_rows() -> dict[str, list]:
    """Both splits of TREC."""
    parts = [hub_rows("CogComp/trec", "default", split) for split in ("train", "test")]
    return {
        "text": [text for part in parts for text in part["text"]],
        "label": [label for part in parts for label in part["coarse_label"]],
    }


def sst2() -> Table:
    """SST-2 sentences and their sentiment."""
    return split_rows(sst2_rows(), classes=("negative", "positive"), seed=TEXT_SEED)


def sst2_rows() -> dict[str, list]:
    """The splits of SST-2 that have labels."""
    parts = [hub_rows("nyu-mll/glue", "sst2", split) for split in ("train", "validation")]
    return {
        "text": [text for part in parts for text in part["sentence"]],
        "label": [label for part in parts for label in part["label"]],
    }


def wordnet_spans() -> Table:
    """What kind of thing a noun names, answered in its definition, which no candidate was trained on."""
    chosen = data_spans.definitions(PER_FILE, PER_ANSWER)
    rows = {
        "context": [one.context for one in chosen],
        "question": [one.ask() for one in chosen],
        "answers": [{"text": [one.answer], "answer_start": [one.start]} for one in chosen],
    }
    return split_rows(rows, seed=ANSWER_SEED)


def xquad() -> Table:
    """XQuAD's English questions, each on the sentence that holds its answer: small candidates read 64 tokens."""
    rows: dict[str, list] = {"context": [], "question": [], "answers": []}
    paragraphs: list[str] = []
    for row in hub_rows("google/xquad", "xquad.en", "validation"):
        answer, start = row["answers"]["text"][0], row["answers"]["answer_start"][0]
        sentence, begin = sentence_around(row["context"], start, start + len(answer))
        paragraphs.append(row["context"])
        rows["context"].append(sentence)
        rows["question"].append(row["question"])
        rows["answers"].append({"text": [answer], "answer_start": [start - begin]})
    table = split_rows(rows | {"paragraph": paragraphs}, seed=ANSWER_SEED, shares=(0.6, 0.12, 0.28), group="paragraph")
    for split in table.values():
        del split.columns["paragraph"]
    return table


def sentence_around(context: str, start: int, end: int) -> tuple[str, int]:
    """The sentences that hold a span, and where they begin."""
    breaks = [found.end() for found in SENTENCE_END.finditer(context)]
    begin = max((at for at in breaks if at <= start), default=0)
    stop = min((at for at in breaks if at >= end), default=len(context))
    return context[begin:stop].rstrip(), begin


def easy_vqa() -> Table:
    """Questions on single shapes; those that yes or no answers are fewer than in the source, where they are most."""
    asked: dict[int, list[tuple[str, str]]] = {}
    for question, answer, number in sources.easy_vqa_questions("train"):
        asked.setdefault(number, []).append((question, answer))
    rng = np.random.default_rng(PAIR_SEED)
    rows: dict[str, list] = {"image": [], "question": [], "answer": [], "picture": []}
    for number in rng.permutation(sorted(asked))[: ROWS // PER_PICTURE + 1]:
        plain = [pair for pair in asked[number] if pair[1] in ("yes", "no")]
        whats = [pair for pair in asked[number] if pair not in plain]
        chosen = [plain[rng.integers(len(plain))], *(whats[i] for i in rng.permutation(len(whats))[: PER_PICTURE - 1])]
        with Image.open(sources.easy_vqa_picture("train", int(number))) as opened:
            cell = png(opened.convert("RGB"))
        _add(rows, cell, number, chosen)
    return _split_by_picture(rows)


def emoji_vqa() -> Table:
    """Four questions on each scene of Fluent emoji: what, of which kind, how many, is there one."""
    by_name, picture_of = _fluent()
    kinds = {kind: [by_name[name] for name in names] for kind, names in questions.KINDS.items()}
    rows: dict[str, list] = {"image": [], "question": [], "answer": [], "picture": []}
    for number, asked in enumerate(questions.ask(kinds, ROWS // 4 + 1, PAIR_SEED)):
        cell = png(scenes.draw(asked.scene, picture_of, PAIR_SEED + number))
        _add(rows, cell, number, list(asked.questions))
    return _split_by_picture(rows)


def emoji_boxes() -> Table:
    """One expression and the box of every thing in scenes of Fluent emoji that hold one thing twice."""
    by_name, picture_of = _fluent()
    rng = np.random.default_rng(PAIR_SEED)
    rows: dict[str, list] = {"image": [], "expression": [], "box": [], "picture": []}
    shown = [by_name[name] for name in expressions.NAMES]
    for number, scene in enumerate(expressions.refer(shown, ROWS // 3, PAIR_SEED)):
        picture, boxes = expressions.draw(scene, picture_of)
        cell = png(picture)
        for phrases, box in zip(scene.expressions, boxes, strict=True):
            rows["image"].append(cell)
            rows["expression"].append(phrases[rng.integers(len(phrases))])
            rows["box"].append(list(box))
            rows["picture"].append(number)
    return _split_by_picture(rows)


def _add(rows: dict[str, list], cell: dict[str, bytes], number: int, pairs: list[tuple[str, str]]) -> None:
    for question, answer in pairs:
        rows["image"].append(cell)
        rows["question"].append(question)
        rows["answer"].append(answer)
        rows["picture"].append(int(number))


def _split_by_picture(rows: dict[str, list]) -> Table:
    table = split_rows(rows, seed=PAIR_SEED, group="picture")
    for split in table.values():
        del split.columns["picture"]
    return table


def _fluent() -> tuple[dict[str, Thing], Callable[[Thing], Image.Image]]:
    by_name = {item.name: item for item in sources.emoji()}
    things = {thing.emoji_name: thing for thing in data.things()}
    return things, lambda thing: sources.fluent_picture(by_name[thing.emoji_name])


MAKERS: dict[str, Callable[[], Table]] = {
    "fashion": fashion,
    "cifar10": cifar10,
    "emoji-groups": emoji_groups,
    "digits": digits,
    "emoji-scenes": emoji_scenes,
    "garment-scenes": garment_scenes,
    "glosses": glosses,
    "trec": trec,
    "sst2": sst2,
    "wordnet-spans": wordnet_spans,
    "xquad": xquad,
    "easy-vqa": easy_vqa,
    "emoji-vqa": emoji_vqa,
    "emoji-boxes": emoji_boxes,
}
