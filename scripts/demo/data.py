"""Make the demo's datasets of captions, garments and glosses."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import numpy as np
from datasets import ClassLabel, Value
from datasets import Image as ImageFeature
from PIL import Image

from scripts.demo import sources
from scripts.demo.scenes import Thing, compose, draw, read_things
from scripts.demo.tables import PALETTE, WORDNET_TERMS, png, write_dataset

SEED = 20
SCENES = 640
OBJECTS = 130  # each in about ten scenes, so that good features can recognise it
# Mostly two things side by side. With many layouts, label embeddings would separate layouts instead of things, and
# every network can see a layout, even with random weights.
LAYOUTS = (0.80, 0.06, 0.04, 0.04, 0.04, 0.02)
FASHION_ROWS = 1_000
GLOSSES_PER_CLASS = 200

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
        title="Emoji captions",
        license="mit",
        task="image-to-text",
        text=(
            f"{SCENES} scenes of two to four emoji on a 128 × 96 canvas, one caption each, of "
            f"{OBJECTS} objects. Drawn by a script from Microsoft's Fluent emoji (flat style, MIT licence, npm "
            "package `@lobehub/fluent-emoji-flat`); captions are built from the Unicode names and from where the "
            "emoji stand. The objects of a scene share a theme (animals, food, travel, activities, objects)."
        ),
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
        title="FashionMNIST, 1,000 rows",
        license="mit",
        task="image-classification",
        text=(
            f"{FASHION_ROWS:,} rows of FashionMNIST's test split (Zalando SE, MIT licence), {per_class} of each of its "
            "10 classes, 28 × 28 grayscale."
        ),
    )


def glosses() -> None:
    """Write WordNet noun definitions of ten lexicographer files."""
    classes = list(GLOSS_CLASSES.values())
    rows = [(synset.gloss, classes.index(GLOSS_CLASSES[synset.lexicographer])) for synset in target_synsets()]
    write_dataset(
        "wordnet-glosses",
        {"text": Value("string"), "label": ClassLabel(names=classes)},
        rows,
        title="WordNet glosses",
        task="text-classification",
        text=(
            f"{len(rows):,} noun definitions from WordNet 3.0 (Princeton University), "
            f"{GLOSSES_PER_CLASS} of each of ten lexicographer files: {', '.join(classes)}. Examples are cut off and "
            f"definitions with unsuitable words left out. {WORDNET_TERMS}"
        ),
    )


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
