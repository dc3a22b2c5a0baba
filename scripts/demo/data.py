"""Make the demo's datasets of pictures, sounds and glosses."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
from datasets import Audio, ClassLabel, List, Value
from datasets import Image as ImageFeature
from PIL import Image

from scripts.demo import expressions, questions, scenes, sounds, sources
from scripts.demo.scenes import Thing, compose, draw, read_things
from scripts.demo.tables import PALETTE, png, write_dataset

SEED, PAIR_SEED = 20, 23
SCENES = 640
OBJECTS = 130  # each in about ten scenes, so that good features can recognise it
# Mostly two things side by side. With many layouts, label embeddings would separate layouts instead of things, and
# every network can see a layout, even with random weights.
LAYOUTS = (0.80, 0.06, 0.04, 0.04, 0.04, 0.02)
FASHION_ROWS = 1_000
GLOSSES_PER_CLASS = 200
ASKED_SCENES = 125  # with four questions each
REFERRED_SCENES = 165  # with three boxes each
EASY_PICTURES = 110
WORDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
# No checkpoint of the demo is trained on these.
VOICES = sounds.voices(
    ("en-us", "en-gb", "en-gb-scotland", "en-029"),
    ("m1", "f1", "m3", "f3", "m5", "f5", "m7", "Alex", "Annie", "Denis", "Hugo", "Mario", "Andy", "linda", "ed", "zac"),
)

FASHION_CLASSES = (
    *("t-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"),
)
# lexicographer file number → class name
GLOSS_CLASSES = {
    5: "animal",
    20: "plant",
    13: "food",
    8: "body part",
    6: "artifact",
    27: "substance",
    15: "place",
    28: "time",
    23: "quantity",
    10: "communication",
}
# words of glosses that a demo should not show
UNWANTED = re.compile(
    r"\b(sex\w*|genital\w*|penis|vagina\w*|vulva\w*|anus|anal|rect(?:um|al)|scrot\w*|testic\w*|breasts?|nipples?"
    r"|clitor\w*|urin\w*|feces|fecal|excrement|defecat\w*|semen|sperm\w*|ejaculat\w*|ovar\w*|uter\w*|rigid|pubic"
    r"|perine\w*|prostitut\w*|porn\w*|obscen\w*|slurs?|offensive\w*|disparag\w*|derogat\w*|ethnic|race|racial\w*"
    r"|negro\w*|slave\w*|nazi\w*|jew\w*|muslim\w*|islam\w*|christian\w*|jesus|church|god|religio\w*|kill\w*"
    r"|murder\w*|suicid\w*|tortur\w*|punish\w*|criminal|crimes?|weapons?|guns?|bombs?|missiles?|firearms?|rifle"
    r"|terror\w*|drugs?|heroin|cocaine|opium|poison\w*|naked|nud\w*|rape\w*|abortion\w*|insult\w*|vulgar\w*"
    r"|stupid|idiot\w*|war|military|soldiers?|death|dead|die[sd]?|execut\w*|wounded|women|woman|drunk\w*)\b",
    re.IGNORECASE,
)

_QUESTIONS = {"image": ImageFeature(), "question": Value("string"), "answer": Value("string")}
_BOXES = {"image": ImageFeature(), "answer": List(Value("string")), "bbox": List(Value("float32"))}


def things() -> list[Thing]:
    """Return the objects of scenes, which the vocabulary contains."""
    return read_things(Path(__file__).with_name("objects.txt"))


def captions() -> None:
    """Write scenes of two to four Fluent emoji with a caption each."""
    by_name = {item.name: item for item in sources.emoji()}
    chosen = sorted(np.random.default_rng(SEED).choice(len(things()), OBJECTS, replace=False))
    shown = [things()[i] for i in chosen]
    scenes = compose(shown, SCENES, SEED, theme_of=lambda thing: _theme(by_name[thing.emoji_name]), weights=LAYOUTS)
    pictures = {thing: sources.fluent_picture(by_name[thing.emoji_name]) for thing in shown}
    images = [png(draw(scene, pictures.__getitem__, SEED + i), PALETTE) for i, scene in enumerate(scenes)]
    write_dataset(
        "emoji-captions",
        {"image": ImageFeature(), "caption": Value("string")},
        [(image, scene.caption) for image, scene in zip(images, scenes, strict=True)],
    )


def _theme(item: sources.Emoji) -> str:
    """Return the Unicode group; the few hearts and circles count as activities."""
    return "Activities" if item.group in ("Smileys & Emotion", "Symbols") else item.group


def fashion() -> None:
    """Write 100 test rows per class of FashionMNIST."""
    images, labels = sources.fashion_mnist("t10k")
    rng = np.random.default_rng(SEED)
    per_class = FASHION_ROWS // len(FASHION_CLASSES)
    chosen = np.concatenate(
        [rng.choice(np.flatnonzero(labels == c), per_class, replace=False) for c in range(len(FASHION_CLASSES))]
    )
    chosen = rng.permutation(chosen)
    write_dataset(
        "fashion-mnist",
        {"image": ImageFeature(), "label": ClassLabel(names=list(FASHION_CLASSES))},
        [(png(Image.fromarray(images[i])), int(labels[i])) for i in chosen],
    )


def easy_vqa() -> None:
    """Write pictures of the test split of easy-VQA with all what-questions and some yes/no questions."""
    asked = sources.easy_vqa_questions("test")
    rng = np.random.default_rng(PAIR_SEED)
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
    write_dataset("easy-vqa", _QUESTIONS, rows, pictures_repeat=True)


def emoji_vqa() -> None:
    """Write scenes of two to four Fluent emoji with four questions each."""
    by_name, picture_of = fluent()
    kinds = {kind: [by_name[name] for name in names[: questions.OF_A_KIND]] for kind, names in questions.KINDS.items()}
    rows = []
    for i, asked in enumerate(questions.ask(kinds, ASKED_SCENES, PAIR_SEED)):
        cell = png(scenes.draw(asked.scene, picture_of, PAIR_SEED + i), PALETTE)
        rows += [(cell, *pair) for pair in asked.questions]
    write_dataset("emoji-vqa", _QUESTIONS, rows, pictures_repeat=True)


def emoji_boxes() -> None:
    """Write scenes that contain an emoji twice, with expressions and boxes of three emoji each."""
    by_name, picture_of = fluent()
    rows = []
    for scene in expressions.refer([by_name[name] for name in expressions.NAMES], REFERRED_SCENES, PAIR_SEED):
        picture, boxes = expressions.draw(scene, picture_of)
        cell = png(picture, PALETTE)
        referred = itertools.islice(zip(scene.expressions, boxes, strict=True), 3)
        rows += [(cell, list(phrases), list(box)) for phrases, box in referred]
    write_dataset("emoji-boxes", _BOXES, rows, pictures_repeat=True)


def fluent() -> tuple[dict[str, Thing], Callable[[Thing], Image.Image]]:
    """Return the things of scenes by name, and a function that returns their Fluent emoji."""
    by_name = {item.name: item for item in sources.emoji()}
    return {thing.emoji_name: thing for thing in things()}, lambda it: sources.fluent_picture(by_name[it.emoji_name])


def spoken_words() -> None:
    """Write ten words in sixteen voices."""
    pairs = [(word, voice) for voice in VOICES for word in WORDS]
    write_dataset(
        "spoken-words",
        {"audio": Audio(), "label": ClassLabel(names=list(WORDS)), "voice": Value("string")},
        [(sounds.flac(sounds.spoken(word, voice)), WORDS.index(word), voice.name) for word, voice in pairs],
    )


def glosses() -> None:
    """Write WordNet noun definitions of ten lexicographer files."""
    classes = list(GLOSS_CLASSES.values())
    rows = [(synset.gloss, classes.index(GLOSS_CLASSES[synset.lexicographer])) for synset in target_synsets()]
    write_dataset("wordnet-glosses", {"text": Value("string"), "label": ClassLabel(names=classes)}, rows)


def target_synsets(per_class: int = GLOSSES_PER_CLASS) -> list[sources.Synset]:
    """Return the synsets of the demo dataset in its order; no training may see their glosses."""
    pool: dict[int, list[sources.Synset]] = {number: [] for number in GLOSS_CLASSES}
    seen = set()
    # ordered by hash, so that a new word in UNWANTED replaces only a few rows
    for synset in sorted((s for s in sources.wordnet() if s.lexicographer in pool), key=_hash):
        chosen = pool[synset.lexicographer]
        if usable(synset) and len(chosen) < per_class and synset.gloss not in seen:
            seen.add(synset.gloss)
            chosen.append(synset)
    return sorted((synset for chosen in pool.values() for synset in chosen), key=_hash)


def usable(synset: sources.Synset) -> bool:
    """Return whether the demo can show the gloss of a synset."""
    return 20 <= len(synset.gloss) <= 160 and not UNWANTED.search(" ".join((synset.gloss, *synset.words)))


def _hash(synset: sources.Synset) -> bytes:
    return hashlib.blake2b(f"{SEED}/{synset.key}".encode()).digest()
