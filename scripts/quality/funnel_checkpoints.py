"""The micro checkpoints of the funnel's pools: architectures, pretraining sources, durations and sizes."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.nn.functional import adaptive_avg_pool2d, cross_entropy, mse_loss
from transformers import PreTrainedModel, ViTImageProcessor

from scripts.demo import pictures, scenes, sources, texts
from scripts.demo.training import NO_DROPOUT, gpt2, new_model, train, transformer
from scripts.quality.pools import made, work
from scripts.quality.rows import hub_columns

SIDE = 32  # pixels
SEED = 80
DURATIONS, SIZES = {"short": 60, "long": 600}, {"small": 1, "large": 2}
EMOJI_COPIES, GARMENTS, SCENES = 4, 12_000, 3_000
GLOSSES, COMMENTS, DISTILLED, COMPONENTS = 20_000, 20_000, 5_000, 96
THUMBNAIL = 8  # pixels: side of the picture that a denoising checkpoint restores
KNOWN_OBJECTS = range(5)  # classes of CIFAR-10 for pretraining; the target has the others
# Inputs, and their targets: class ids int64 (N,), or numbers float32 (N, D). None: restore the inputs.
Source = tuple[Any, np.ndarray | None]


@dataclass(frozen=True)
class Modality:
    """Architectures by name with the rate of their pretraining, sources by name, and what differs by modality."""

    kind: str
    architectures: dict[str, tuple[Callable[[int], PreTrainedModel], float]]
    sources: dict[str, Callable[[], Source]]
    fit: Callable[[PreTrainedModel, Source, int, float, int], None]
    save_readers: Callable[[Path], object]

    def names(self) -> list[str]:
        """Return the names of all checkpoints, in a random order that the seed fixes."""
        every = ["-".join(parts) for parts in itertools.product(self.architectures, self.sources, DURATIONS, SIZES)]
        return [every[place] for place in np.random.default_rng(SEED).permutation(len(every))]

    def checkpoint(self, name: str) -> Path:
        """Return the folder of a checkpoint; train it on first use."""
        architecture, source, duration, size = name.split("-")
        seed = SEED + sorted(self.names()).index(name)

        def make(folder: Path) -> None:
            build, rate = self.architectures[architecture]
            torch.manual_seed(seed)
            model = build(SIZES[size])
            self.fit(model, self.sources[source](), DURATIONS[duration], rate, seed)
            model.save_pretrained(folder)
            self.save_readers(folder)

        return made(work() / "funnel" / "checkpoints" / name, make)


# ---- images ----------------------------------------------------------------------------------------------------------


def _resnet(size: int) -> PreTrainedModel:
    widths = [16 * size, 32 * size, 48 * size]
    shape = {"embedding_size": 8 * size, "hidden_sizes": widths, "depths": [1, 1, 1], "layer_type": "basic"}
    return new_model("resnet", shape)


def _convnext(size: int) -> PreTrainedModel:
    widths = [16 * size, 32 * size, 64 * size]
    return new_model("convnext", {"patch_size": 4, "hidden_sizes": widths, "depths": [1, 1, 1], "num_stages": 3})


def _vit(size: int) -> PreTrainedModel:
    shape = transformer(32 * size, 1 + size, image_size=SIDE, patch_size=4, **NO_DROPOUT)
    return new_model("vit", shape, add_pooling_layer=False)


def _swin(size: int) -> PreTrainedModel:
    shape = {"embed_dim": 16 * size, "depths": [1, 1], "num_heads": [2, 4], "window_size": 4, "mlp_ratio": 2.0}
    return new_model("swin", {**shape, "image_size": SIDE, "patch_size": 4, "drop_path_rate": 0.0})


def shrunk(picture: Image.Image) -> np.ndarray:
    """Return a picture at the input size, uint8 (SIDE, SIDE, 3)."""
    return np.asarray(picture.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR))


def on_ground(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Return a drawing on a light ground, at a random size and position, RGB."""
    ground = Image.new("RGB", picture.size, tuple(int(value) for value in rng.integers(200, 256, 3)))
    size = int(ground.width * rng.uniform(0.7, 1.0))
    small = picture.resize((size, size))
    left, top = (int(value) for value in rng.integers(0, ground.width - size + 1, 2))
    ground.paste(small, (left, top), small)
    return ground


@cache
def _emoji() -> Source:
    """Noto emoji and their Unicode group."""
    items, drawn = sources.noto_pictures()
    rng = np.random.default_rng(SEED)
    images = [shrunk(on_ground(picture, rng)) for _ in range(EMOJI_COPIES) for picture in drawn]
    return np.stack(images), np.tile([sources.NOTO_GROUPS.index(item.group) for item in items], EMOJI_COPIES)


@cache
def _garments() -> Source:
    """Rows of FashionMNIST's training split."""
    images, labels = sources.fashion_mnist("train")
    return np.stack([shrunk(Image.fromarray(image)) for image in images[:GARMENTS]]), labels[:GARMENTS]


def objects() -> tuple[list[Image.Image], np.ndarray]:
    """Return pictures and classes of CIFAR-10."""
    columns = {"image": "img", "label": "label"}
    rows = hub_columns("uoft-cs/cifar10", "plain_text", ("train", "test"), columns)
    return rows["image"], np.array(rows["label"])


@cache
def _objects() -> Source:
    """Photos of the known classes of CIFAR-10."""
    images, labels = objects()
    kept = np.flatnonzero(np.isin(labels, KNOWN_OBJECTS))
    return np.stack([shrunk(images[place]) for place in kept]), labels[kept]


@cache
def _scenes() -> Source:
    """Scenes of Noto emoji, and how their things are arranged."""
    items, drawn = sources.noto_pictures()
    by_name = dict(zip((item.name for item in items), drawn, strict=True))
    composed = scenes.compose([scenes.Thing(name, name, name) for name in by_name], SCENES, SEED)
    images = [scenes.draw(s, lambda thing: by_name[thing.emoji_name], SEED + i) for i, s in enumerate(composed)]
    layouts = [(len(scene.things), len({*scene.things}), scene.places[0][0] == 64) for scene in composed]
    return np.stack([shrunk(image) for image in images]), np.unique(layouts, axis=0, return_inverse=True)[1].ravel()


@cache
def _everything() -> Source:
    """Pictures of the other sources, without targets."""
    return np.concatenate([source()[0] for source in (_emoji, _garments, _objects)]), None


def _fit_images(model: PreTrainedModel, source: Source, steps: int, rate: float, seed: int) -> None:
    """Train to name the classes of shifted and mirrored pictures, or to restore pictures that are partly covered."""
    images = torch.from_numpy(source[0])
    targets = None if source[1] is None else torch.from_numpy(np.asarray(source[1], np.int64))
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        width = _pooled(model.eval(), torch.zeros(1, 3, SIDE, SIDE)).shape[1]
    head = torch.nn.Linear(width, 3 * THUMBNAIL**2 if targets is None else int(targets.max()) + 1)

    def loss_of(rows: torch.Tensor) -> torch.Tensor:
        batch = pictures.to_input(images[rows])
        if targets is None:
            covered = torch.rand((len(rows), 1, 4, 4), generator=draw) < 0.4
            hidden = batch.masked_fill(covered.repeat_interleave(8, 2).repeat_interleave(8, 3), 0.0)
            return mse_loss(head(_pooled(model, hidden)), adaptive_avg_pool2d(batch, THUMBNAIL).flatten(1))
        dx, dy, mirrored = (int(value) for value in torch.randint(-2, 3, (3,), generator=draw))
        batch = batch.roll((dy, dx), (2, 3))
        return cross_entropy(head(_pooled(model, batch.flip(3) if mirrored > 0 else batch)), targets[rows])

    train([model, head], loss_of, len(images), steps=steps, rate=rate, seed=seed)


def _pooled(model: PreTrainedModel, pixels: torch.Tensor) -> torch.Tensor:
    output = model(pixel_values=pixels)
    pooled = getattr(output, "pooler_output", None)
    return output.last_hidden_state[:, 0] if pooled is None else pooled.flatten(1)


# ---- texts -----------------------------------------------------------------------------------------------------------


def _shape(size: int, **more: Any) -> dict[str, Any]:
    vocabulary = {"vocab_size": texts.VOCABULARY, "max_position_embeddings": texts.LONGEST, "pad_token_id": 0}
    return transformer(40 * size, size, **vocabulary, **NO_DROPOUT, **more)


def _albert(size: int) -> PreTrainedModel:
    return new_model("albert", _shape(size, embedding_size=32), add_pooling_layer=False)


def _gpt2(size: int) -> PreTrainedModel:
    tokens = {"vocab_size": texts.VOCABULARY, "bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0}
    return new_model("gpt2", gpt2(40 * size, size, n_positions=texts.LONGEST, **tokens))


@cache
def _masked() -> Source:
    """Definitions of WordNet, to restore."""
    return texts.encode(texts.training_glosses()[:GLOSSES]), None


@cache
def _kinds() -> Source:
    """Definitions of WordNet and their lexicographer file, such as animal or motion."""
    files = {synset.gloss: synset.lexicographer for synset in texts.training_synsets()}
    glosses = texts.training_glosses()[:GLOSSES]
    return texts.encode(glosses), np.array([files[gloss] for gloss in glosses])


@cache
def _distilled() -> Source:
    """Definitions of WordNet, and whitened principal components of their embeddings by MiniLM."""
    sources.minilm()
    glosses = list(texts.training_glosses()[-DISTILLED:])
    folder = made(
        work() / "funnel" / "minilm", lambda folder: np.save(folder / "values.npy", texts.embed_with_minilm(glosses))
    )
    embeddings = np.load(folder / "values.npy")
    left = np.linalg.svd(embeddings - embeddings.mean(0), full_matrices=False)[0][:, :COMPONENTS]
    return texts.encode(glosses), left * np.float32(np.sqrt(len(left)))


@cache
def _emotions() -> Source:
    """Comments and their first emotion (GoEmotions)."""
    columns = {"text": "text", "labels": "labels"}
    rows = hub_columns("google-research-datasets/go_emotions", "data", ["train"], columns)
    return texts.encode(rows["text"][:COMMENTS]), np.array([labels[0] for labels in rows["labels"][:COMMENTS]])


@cache
def _problems() -> Source:
    """Word problems (GSM8K), to restore."""
    return texts.encode(hub_columns("openai/gsm8k", "data", ["train"], {"text": "question"})["text"]), None


def _fit_texts(model: PreTrainedModel, source: Source, steps: int, rate: float, seed: int) -> None:
    """Train the mean over tokens to predict classes or numbers, or the tokens to restore masked ones."""
    (tokens, mask), values = source
    is_class = values is not None and values.ndim == 1
    targets = None if values is None else torch.from_numpy(values.astype(np.int64 if is_class else np.float32))
    outputs = texts.VOCABULARY if targets is None else int(targets.max()) + 1 if is_class else targets.shape[1]
    head, draw = torch.nn.Linear(model.config.hidden_size, outputs), torch.Generator().manual_seed(seed)

    def loss_of(rows: torch.Tensor) -> torch.Tensor:
        ids, attended = texts.batch(tokens, mask, rows)
        hidden = (torch.rand(ids.shape, generator=draw) < 0.15) & attended.bool()
        read = ids.masked_fill(hidden, 4) if targets is None else ids
        output = model(input_ids=read, attention_mask=attended).last_hidden_state
        if targets is None:
            return cross_entropy(head(output[hidden]), ids[hidden])
        guess = head(texts.mean_pool(output, attended))
        return cross_entropy(guess, targets[rows]) if is_class else mse_loss(guess, targets[rows])

    train([model, head], loss_of, len(tokens), steps=steps, rate=rate, seed=seed)


MODALITIES = {
    "images": Modality(
        "image",
        {"resnet": (_resnet, 3e-3), "convnext": (_convnext, 2e-3), "vit": (_vit, 1e-3), "swin": (_swin, 1e-3)},
        {"emoji": _emoji, "garments": _garments, "objects": _objects, "scenes": _scenes, "restored": _everything},
        _fit_images,
        ViTImageProcessor(size={"height": SIDE, "width": SIDE}, **pictures.PLAIN).save_pretrained,
    ),
    "texts": Modality(
        "text",
        {
            "bert": (lambda size: new_model("bert", _shape(size), add_pooling_layer=False), 2e-3),
            "albert": (_albert, 2e-3),
            "electra": (lambda size: new_model("electra", _shape(size, embedding_size=40)), 2e-3),
            "gpt2": (_gpt2, 2e-3),
        },
        {"masked": _masked, "kinds": _kinds, "distilled": _distilled, "emotions": _emotions, "problems": _problems},
        _fit_texts,
        texts.save_tokenizer,
    ),
}
