"""Make the rows of every target in three splits, from the demo's sources and from the Hub."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Audio, concatenate_datasets
from PIL import Image

from scripts.demo import data, data_wordnet, expressions, questions, scenes, sounds, sources
from scripts.demo.scenes import CELL, Thing
from scripts.demo.tables import png
from scripts.quality import photos
from scripts.quality.pools import POOLS, TEST_ROWS, TRAIN_ROWS, VALIDATION_ROWS
from scripts.quality.rows import Split, Table, hub_columns, hub_rows, rows_folder, split_rows

# Of the draws of pictures, texts, answers, pairs; of words; of sounds and responses.
IMAGE_SEED, TEXT_SEED, ANSWER_SEED, PAIR_SEED, WORDS_SEED, SOUND_SEED = 40, 41, 42, 43, 60, 70
PAIR_ROWS = (1_500, 300, 800)  # to train on, to choose rates by, and to report
ROWS = TRAIN_ROWS + VALIDATION_ROWS + TEST_ROWS
SCENES = {"train": TRAIN_ROWS, "validation": VALIDATION_ROWS, "test": TEST_ROWS}
EMOJI_SIDE = 72
SCENE_OBJECTS = 24  # each in about a hundred scenes of the training rows
PER_FILE, PER_ANSWER = 1_000, 20  # definitions of one lexicographer file and with one answer
PER_PICTURE = 3  # questions of one easy-VQA picture
LANGUAGES = ("de", "fr", "es", "it", "pl", "sv")
NUMBERS = 84  # of each language, of two digits
# Of a query or document: about 128 tokens, or about 32 for large corpora.
SEARCH_WORDS, FEW_SEARCH_WORDS = 96, 24
SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z\"“])")
Make = Callable[[], Table]


# ---- rows of Hub datasets --------------------------------------------------------------------------------------------


def hub(
    columns: Mapping[str, str],
    repo: str,
    config: str,
    splits: Sequence[str],
    classes: Sequence[str] = (),
    longest: int | None = None,
    **drawn: Any,
) -> Table:
    """Draw from a Hub dataset.

    Args:
        columns: Name of a column → the Hub's name for it.
        repo: As `hub_rows` takes it, as is `config`.
        config: The configuration.
        splits: Their rows together.
        classes: Names of the classes; by default those of the column "label", if there is one.
        longest: Maximum length of all columns together in characters; leaves out rows with empty texts.
        drawn: Arguments of `split_rows`.
    """
    rows = hub_columns(repo, config, splits, columns)
    if "image" in rows:
        rows["image"] = [png(image.convert("RGB")) for image in rows["image"]]
    if "label" in rows and not classes:
        classes = hub_rows(repo, config, splits[-1]).features[columns["label"]].names
    if longest is not None:
        rows = _short([row for row in zip(*rows.values(), strict=True) if all(row)], [*rows], longest)
    return split_rows(rows, classes=classes, **drawn)


# ---- pictures of classes ---------------------------------------------------------------------------------------------


def fashion() -> Table:
    """FashionMNIST's test split, which no candidate was trained on."""
    images, labels = sources.fashion_mnist("t10k")
    rows = {"image": [png(Image.fromarray(image)) for image in images], "label": labels.tolist()}
    return split_rows(rows, classes=data.FASHION_CLASSES, seed=IMAGE_SEED)


def emoji_groups() -> Table:
    """Fluent emoji on light grounds and their Unicode group; micro checkpoints were trained on Noto emoji."""
    rng = np.random.default_rng(IMAGE_SEED)
    rows: dict[str, list] = {"image": [], "label": []}
    for item in sources.emoji():
        if item.group not in sources.NOTO_GROUPS or not _is_drawn(item):
            continue
        ground = Image.new("RGB", (EMOJI_SIDE, EMOJI_SIDE), tuple(int(c) for c in rng.integers(200, 256, 3)))
        picture = sources.fluent_picture(item).resize((EMOJI_SIDE - 8, EMOJI_SIDE - 8), Image.Resampling.LANCZOS)
        ground.paste(picture, (4, 4), picture)
        rows["image"].append(png(ground))
        rows["label"].append(sources.NOTO_GROUPS.index(item.group))
    return split_rows(rows, classes=sources.NOTO_GROUPS, seed=IMAGE_SEED, shares=(0.58, 0.14, 0.28))


def _is_drawn(item: sources.Emoji) -> bool:
    points = "-".join(f"{ord(character):04x}" for character in item.text)
    return any((sources.FLUENT_SVG / f"{name}.svg").exists() for name in (points, points.replace("-fe0f", "")))


def digits() -> Table:
    """Handwritten digits of scikit-learn, 8 × 8 (UCI, 1998)."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    grey = (images.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    rows = {"image": [png(Image.fromarray(image)) for image in grey], "label": labels.tolist()}
    return split_rows(rows, classes=[str(digit) for digit in range(10)], seed=IMAGE_SEED, shares=(0.55, 0.15, 0.30))


# ---- scenes: captions, questions, boxes ------------------------------------------------------------------------------


def emoji_scenes() -> Table:
    """Scenes of Fluent emoji with one caption each, drawn as in the demo, but with other objects."""
    things, picture_of = list(data.things()), data.fluent()[1]
    chosen = sorted(np.random.default_rng(IMAGE_SEED).choice(len(things), SCENE_OBJECTS, replace=False))
    return _captioned([things[i] for i in chosen], lambda thing, split: picture_of(thing))


def garment_scenes() -> Table:
    """Scenes of FashionMNIST garments with one caption each; splits share no garment."""
    images, labels = sources.fashion_mnist("t10k")
    names = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")
    things = [Thing(name, name, "dresses" if name == "dress" else name + "s") for name in names]
    rng = np.random.default_rng(IMAGE_SEED + 1)
    part_of = rng.choice(3, len(labels), p=(0.5, 0.15, 0.35))
    garments = {
        (name, split): np.flatnonzero((labels == i) & (part_of == s))
        for i, name in enumerate(names)
        for s, split in enumerate(SCENES)
    }

    def picture(thing: Thing, split: str) -> Image.Image:
        image = images[rng.choice(garments[thing.emoji_name, split])]
        return Image.fromarray(image).resize((CELL, CELL)).convert("RGBA")

    return _captioned(things, picture)


def _captioned(things: list[Thing], picture: Callable[[Thing, str], Image.Image]) -> Table:
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


def easy_vqa() -> Table:
    """Questions on single shapes, with fewer yes/no questions than in the source."""
    asked: dict[int, list[tuple[str, str]]] = {}
    for question, answer, number in sources.easy_vqa_questions("train"):
        asked.setdefault(number, []).append((question, answer))
    rng = np.random.default_rng(PAIR_SEED)
    rows = []
    for number in rng.permutation(sorted(asked))[: ROWS // PER_PICTURE + 1]:
        plain = [pair for pair in asked[number] if pair[1] in ("yes", "no")]
        whats = [pair for pair in asked[number] if pair not in plain]
        chosen = [plain[rng.integers(len(plain))], *(whats[i] for i in rng.permutation(len(whats))[: PER_PICTURE - 1])]
        with Image.open(sources.easy_vqa_picture("train", int(number))) as opened:
            cell = png(opened.convert("RGB"))
        rows += [(cell, *pair, int(number)) for pair in chosen]
    return _by_picture(("image", "question", "answer"), rows)


def emoji_vqa() -> Table:
    """Four questions per scene of Fluent emoji: what, which kind, how many, is there one."""
    by_name, picture_of = data.fluent()
    kinds = {kind: [by_name[name] for name in names] for kind, names in questions.KINDS.items()}
    rows = []
    for number, asked in enumerate(questions.ask(kinds, ROWS // 4 + 1, PAIR_SEED)):
        cell = png(scenes.draw(asked.scene, picture_of, PAIR_SEED + number))
        rows += [(cell, *pair, number) for pair in asked.questions]
    return _by_picture(("image", "question", "answer"), rows)


def emoji_boxes() -> Table:
    """One expression and the box of every thing, in scenes of Fluent emoji that contain a thing twice."""
    by_name, picture_of = data.fluent()
    rng = np.random.default_rng(PAIR_SEED)
    rows = []
    for number, scene in enumerate(expressions.refer([by_name[n] for n in expressions.NAMES], ROWS // 3, PAIR_SEED)):
        picture, boxes = expressions.draw(scene, picture_of)
        cell = png(picture)
        for phrases, box in zip(scene.expressions, boxes, strict=True):
            rows.append((cell, phrases[rng.integers(len(phrases))], list(box), number))
    return _by_picture(("image", "expression", "box"), rows)


def _by_picture(names: Sequence[str], rows: list[tuple]) -> Table:
    """Make a table of rows that end with the number of their picture."""
    columns = dict(zip((*names, "picture"), map(list, zip(*rows, strict=True)), strict=True))
    return split_rows(columns, seed=PAIR_SEED, group="picture", left_out="picture")


# ---- texts -----------------------------------------------------------------------------------------------------------


def glosses() -> Table:
    """The demo's 2,000 glosses, the only ones that no candidate was distilled on."""
    names = list(data.GLOSS_CLASSES.values())
    synsets = data.target_synsets()
    rows = {
        "text": [synset.gloss for synset in synsets],
        "label": [names.index(data.GLOSS_CLASSES[synset.lexicographer]) for synset in synsets],
    }
    return split_rows(rows, classes=names, seed=TEXT_SEED, shares=(0.60, 0.15, 0.25))


def wordnet_spans() -> Table:
    """The hypernym of a noun in its definition, which no candidate was trained on."""
    chosen = data_wordnet.definitions(PER_FILE, PER_ANSWER)
    rows = {
        "context": [definition.context for definition in chosen],
        "question": [definition.ask() for definition in chosen],
        "answers": [{"text": [definition.answer], "answer_start": [definition.start]} for definition in chosen],
    }
    return split_rows(rows, seed=ANSWER_SEED)


def xquad() -> Table:
    """XQuAD's English questions, each on the sentence with its answer, because small candidates read 64 tokens."""
    rows: dict[str, list] = {"context": [], "question": [], "answers": [], "paragraph": []}
    for row in hub_rows("google/xquad", "xquad.en", "validation"):
        answer, start = row["answers"]["text"][0], row["answers"]["answer_start"][0]
        breaks = [match.end() for match in SENTENCE_END.finditer(row["context"])]
        begin = max((place for place in breaks if place <= start), default=0)
        stop = min((place for place in breaks if place >= start + len(answer)), default=len(row["context"]))
        rows["context"].append(row["context"][begin:stop].rstrip())
        rows["question"].append(row["question"])
        rows["answers"].append({"text": [answer], "answer_start": [start - begin]})
        rows["paragraph"].append(row["context"])
    return split_rows(rows, seed=ANSWER_SEED, shares=(0.6, 0.12, 0.28), group="paragraph", left_out="paragraph")


# ---- words -----------------------------------------------------------------------------------------------------------


def tagged(repo: str, column: str) -> Table:
    """Sentences whose words are tagged: new and rare entities in posts (WNUT-17), parts of speech (EWT)."""
    rows = hub_columns(repo, "data", ("train", "validation", "test"), {"tokens": "tokens", "tags": column})
    names = hub_rows(repo, "data", "test").features[column].feature.names
    rows["text"] = [" ".join(words) for words in rows["tokens"]]
    return split_rows(rows, classes=names, seed=WORDS_SEED, counts=PAIR_ROWS, group="text", left_out="text")


# ---- search ----------------------------------------------------------------------------------------------------------


def search(repo: str, words: int = SEARCH_WORDS) -> Table:
    """Queries and their documents, which are the corpus of a split; each text has its first words only."""
    folder = rows_folder(repo)
    texts = {
        name: {row["_id"]: " ".join(row["text"].split()[:words]) for row in _json_rows(folder / f"{name}.jsonl")}
        for name in ("queries", "corpus")
    }
    table: Table = {}
    for split in ("train", "test"):
        lines = (folder / "qrels" / f"{split}.tsv").read_text(encoding="utf-8").splitlines()[1:]
        pairs = [line.split("\t")[:2] for line in lines]
        order = np.random.default_rng(WORDS_SEED).permutation(len(pairs))
        queries, documents = zip(*(pairs[place] for place in order), strict=True)
        columns = {
            "query": [texts["queries"][id] for id in queries],
            "positive": [texts["corpus"][id] for id in documents],
        }
        table[split] = Split(columns)
    return table


def _json_rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


# ---- sounds ----------------------------------------------------------------------------------------------------------


def recordings(column: str) -> Table:
    """Free Spoken Digits: ten digits by six speakers; the label is the digit or the speaker."""
    parts = [hub_rows("mteb/free-spoken-digit-dataset", "data", split) for split in ("train", "test")]
    rows = concatenate_datasets([part.cast_column("audio", Audio(decode=False)) for part in parts])
    labels = [str(value) for value in rows[column]]
    names = sorted({*labels})
    columns = {"audio": list(rows["audio"]), "label": [names.index(label) for label in labels]}
    return split_rows(columns, classes=names, seed=SOUND_SEED, counts=(300, 60, 300))


def languages() -> Table:
    """Numbers spoken by espeak-ng in six languages, with random voices and speeds."""
    rng = np.random.default_rng(SOUND_SEED)
    columns: dict[str, list] = {"audio": [], "label": []}
    for label, language in enumerate(LANGUAGES):
        for number in range(10, 10 + NUMBERS):
            variant = rng.choice(["m1", "m2", "m3", "f1", "f2", "f3"])
            voice = sounds.Voice(f"{language}+{variant}", int(rng.integers(130, 200)), int(rng.integers(30, 75)))
            columns["audio"].append(sounds.flac(sounds.spoken(str(number), voice)))
            columns["label"].append(label)
    return split_rows(columns, classes=LANGUAGES, seed=SOUND_SEED, shares=(0.6, 0.1, 0.3))


# ---- prompts and responses that are short enough for models of 256 tokens --------------------------------------------


def flores() -> Table:
    """English sentences, and their German translations."""
    place = ("facebook/flores-en-de", "data", ("train", "validation", "test"), {"pair": "translation"})
    pairs = [(pair["en"], pair["de"]) for pair in hub_columns(*place)["pair"]]
    return split_rows(_short(pairs, ("en", "de"), 400), seed=SOUND_SEED, counts=(720, 50, 120))


def scitldr() -> Table:
    """Abstracts of papers and one-sentence summaries."""
    place = ("allenai/scitldr", "data", ("train", "validation", "test"), {"source": "source", "target": "target"})
    papers = zip(*hub_columns(*place).values(), strict=True)
    pairs = [(" ".join(source), target[0]) for source, target in papers]
    return split_rows(_short(pairs, ("document", "summary"), 1_000), seed=SOUND_SEED, counts=(300, 40, 90))


def _short(pairs: Sequence[Sequence[str]], names: Sequence[str], longest: int) -> dict[str, list]:
    kept = [pair for pair in pairs if sum(map(len, pair)) <= longest]
    return {name: [pair[place] for pair in kept] for place, name in enumerate(names)}


MAKERS: dict[str, Make] = {
    "fashion": fashion,
    "emoji-groups": emoji_groups,
    "digits": digits,
    "emoji-scenes": emoji_scenes,
    "garment-scenes": garment_scenes,
    "glosses": glosses,
    "wordnet-spans": wordnet_spans,
    "xquad": xquad,
    "easy-vqa": easy_vqa,
    "emoji-vqa": emoji_vqa,
    "emoji-boxes": emoji_boxes,
    "flowers": photos.flowers,
    "birds": photos.birds,
    "monkeys": photos.monkeys,
    "grocery": photos.grocery,
    "emoji-groups-real": emoji_groups,
    "reverse-dictionary": partial(search, "princeton/wordnet-reverse-dictionary"),
    "scitldr-abstracts": partial(search, "allenai/scitldr-retrieval", FEW_SEARCH_WORDS),
    "xquad-paragraphs": partial(search, "google/xquad-retrieval-beir"),
    "gsm8k-answers": partial(search, "openai/gsm8k-retrieval", FEW_SEARCH_WORDS),
    "covid-questions": partial(search, "deepset/covid-question-retrieval"),
    "wnut": partial(tagged, "leondz/wnut_17", "ner_tags"),
    "ewt": partial(tagged, "universal_dependencies/en_ewt", "upos"),
    "spoken-digits": partial(recordings, "label"),
    "speakers": partial(recordings, "speaker"),
    "languages": languages,
    "flores-en-de": flores,
    "scitldr": scitldr,
}
MAKERS |= {
    target.name: partial(hub, **target.rows) for pool in POOLS.values() for target in pool.targets if target.rows
}
# Targets from the sources of the demo.
OF_DEMO = frozenset(name for name in MAKERS if name.startswith(("fashion", "emoji", "garment", "easy", "wordnet")))
