"""Compare what a box may become as a label: which form ranks checkpoints as box regression does.

    python scripts/box_labels.py --checkpoint emms-demo/twotower-distilled --checkpoint ./other …
    python scripts/box_labels.py --assembled FOLDER --epochs 8 --output box_labels.json

The truth is the mean IoU on pictures that were held out: of a ridge regression and of a small network on frozen
features, both five-fold, and with --epochs of a fine-tuning of the whole checkpoint (--splits splits by picture).
Each form of label then gives EMMS scores of the same features; τ is scipy's weighted Kendall τ with each truth.
--assembled FOLDER adds dual encoders put together from the demo's picture and text checkpoints, and noisy copies of
every checkpoint: candidates that differ in quality. They are written to FOLDER.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from scipy.stats import weightedtau
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import GroupKFold, GroupShuffleSplit, cross_val_predict
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from hf_emms.data import Sample, load_sample
from hf_emms.features import towers
from hf_emms.features.label_embeddings import embed_texts
from hf_emms.features.load import load_extractor
from hf_emms.hub import resolve
from hf_emms.presets import encoder_preset
from hf_emms.scoring.estimators import ScoringInputs, get_estimator
from hf_emms.scoring.label_basis import LabelTable
from hf_emms.scoring.moments import Moments

PICTURES = ("swin-distilled", "vit-random")
TEXTS = ("bert-distilled", "bert-random")
NOISES = (0.2, 0.5, 1.0)
TOKENS = 32  # places of a location token, a side


def main() -> None:
    """Print the truths of every candidate, and τ of every form with each of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="demo_boxes")
    parser.add_argument("--checkpoint", action="append", default=[])
    parser.add_argument("--assembled", type=Path)
    parser.add_argument("--epochs", type=int, default=0, help="of a fine-tuning; 0 for probes only")
    parser.add_argument("--splits", type=int, default=2, help="of a fine-tuning")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    target = load_sample(options.dataset, label_form="numbers")
    boxes = boxes_of(target)
    tables = forms(target)
    found = {}
    for id in [*options.checkpoint, *assembled(options.assembled, options.checkpoint)]:
        features = features_of(id, target)
        rows = features[target.input_of_row]
        truths = {
            "ridge": probe(ridge, rows, boxes, target.groups),
            "network": probe(network, rows, boxes, target.groups),
        }
        if options.epochs:
            truths["tuned"] = tuned(id, target, boxes, options.epochs, options.splits)
        found[id] = {"truth": truths, "emms": {name: emms(rows, table, target) for name, table in tables.items()}}
        print(f"{Path(id).name:44s}", *(f"{name} {value:.3f}" for name, value in truths.items()), flush=True)
        if options.output:
            options.output.write_text(json.dumps(found, indent=1))
    report(found)


def report(found: dict[str, dict[str, dict[str, float]]]) -> None:
    """One line a form: τ with every truth."""
    rows = list(found.values())
    truths = list(rows[0]["truth"])
    print(f"\n{len(rows)} checkpoints; weighted Kendall τ of EMMS with IoU of:")
    print(f"{'form':28s}", *(f"{name:>9s}" for name in truths))
    for form in rows[0]["emms"]:
        taus = [
            weightedtau([row["emms"][form] for row in rows], [row["truth"][name] for row in rows]).statistic
            for name in truths
        ]
        print(f"{form:28s}", *(f"{tau:9.2f}" for tau in taus))


# ---- labels ---------------------------------------------------------------------------------------------------


def boxes_of(target: Sample) -> np.ndarray:
    """(cx, cy, w, h) of every row, float64 (N, 4)."""
    assert target.label_numbers is not None
    return target.label_numbers[target.codes, :4].astype(np.float64)


def forms(target: Sample) -> dict[str, list[np.ndarray]]:
    """F-labels of every row by form: arrays (N, D2)."""
    assert target.label_numbers is not None
    boxes = boxes_of(target)
    assert target.task.numbers is not None
    words = [target.task.numbers.describe(tuple(box)) for box in boxes]
    tokens = [" ".join(f"<loc{int(min(value, 0.999) * TOKENS)}>" for value in corners(box)) for box in boxes]
    digits = [" ".join(str(round(100 * value)) for value in corners(box)) for box in boxes]
    smooth = [target.label_numbers[target.codes]]
    said = [str(target.inputs[int(place)][1]) for place in target.input_of_row]
    embedded = {name: embeddings(texts) for name, texts in (("words", words), ("tokens", tokens), ("digits", digits))}
    return {
        "text: words": embedded["words"],
        "text: location tokens": embedded["tokens"],
        "text: digits": embedded["digits"],
        "numbers: cx cy w h": [boxes],
        "numbers: smooth": smooth,
        "both: words and smooth": [*embedded["words"], *smooth],
        "smooth and expression": [*embeddings(said), *smooth],
    }


def corners(box: np.ndarray) -> np.ndarray:
    """(cx, cy, w, h) to (left, top, right, bottom), along the last axis."""
    return np.concatenate([box[..., :2] - box[..., 2:] / 2, box[..., :2] + box[..., 2:] / 2], axis=-1)


def embeddings(texts: list[str]) -> list[np.ndarray]:
    """Embeddings of texts by each of the demo's encoders, (N, D2) each."""
    distinct, codes = np.unique(texts, return_inverse=True)
    return [embed_texts(resolve(id, "model"), distinct.tolist())[codes] for id in encoder_preset("demo")]


def emms(rows: np.ndarray, blocks: list[np.ndarray], target: Sample) -> float:
    """Held-out EMMS of features for F-labels."""
    stacked, codes = np.unique(np.hstack(blocks), axis=0, return_inverse=True)
    ends = np.cumsum([block.shape[1] for block in blocks])[:-1]
    labels = LabelTable(codes.ravel(), tuple(np.split(stacked, ends, axis=1)), categorical=False)
    moments = Moments.like(labels, rows.shape[1], folds=5, seed=0)
    moments.update(rows, labels, target.groups)
    return float(get_estimator("emms").score(ScoringInputs(moments, rows, labels, target.groups)).value)


# ---- truths ---------------------------------------------------------------------------------------------------


def iou(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Overlap of boxes (cx, cy, w, h), (N, 4) and (N, 4) → (N,)."""
    a, b = corners(one), corners(other)
    sides = np.clip(np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2]), 0, None)
    both = sides.prod(1)
    union = np.clip(one[:, 2:], 0, None).prod(1) + other[:, 2:].prod(1) - both
    return both / union


def ridge() -> RidgeCV:
    """A linear head; its strength is chosen inside the training folds."""
    return RidgeCV(np.logspace(0, 5, 11))


def network() -> MLPRegressor:
    """A small network as head."""
    return MLPRegressor(hidden_layer_sizes=(128,), alpha=1.0, early_stopping=True, max_iter=300, random_state=0)


def probe(head: Callable[[], RidgeCV | MLPRegressor], rows: np.ndarray, boxes: np.ndarray, groups: np.ndarray) -> float:
    """Mean IoU of a head on frozen features, five folds by picture."""
    model = make_pipeline(StandardScaler(), head())
    return float(iou(cross_val_predict(model, rows, boxes, groups=groups, cv=GroupKFold(5)), boxes).mean())


def tuned(id: str, target: Sample, boxes: np.ndarray, epochs: int, splits: int) -> float:
    """Mean IoU of the whole checkpoint with a head, trained on 70 % of the pictures."""
    folds = GroupShuffleSplit(splits, test_size=0.3, random_state=0).split(boxes, groups=target.groups)
    return float(np.mean([_tuned_once(id, target, boxes, train, test, epochs) for train, test in folds]))


def _tuned_once(id: str, target: Sample, boxes: np.ndarray, train: np.ndarray, test: np.ndarray, epochs: int) -> float:
    from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

    torch.manual_seed(0)
    path = str(resolve(id, "model").folder)
    model = AutoModel.from_pretrained(path, dtype=torch.float32)
    processor, tokenizer = AutoImageProcessor.from_pretrained(path), AutoTokenizer.from_pretrained(path)
    pairs = target.inputs
    pictures = processor(list(pairs.firsts), return_tensors="pt")["pixel_values"]  # type: ignore[attr-defined]
    texts = tokenizer(list(pairs.seconds), padding=True, return_tensors="pt")  # type: ignore[attr-defined]
    wanted = torch.tensor(boxes, dtype=torch.float32)

    def joined(rows: np.ndarray) -> torch.Tensor:
        firsts, seconds = pairs.parts[target.input_of_row[rows]].T  # type: ignore[attr-defined]
        inputs = {name: texts[name][seconds] for name in ("input_ids", "attention_mask")}
        return towers.joined(towers.picture_embedding(model, pictures[firsts]), towers.text_embedding(model, inputs))

    with torch.no_grad():
        width = joined(train[:2]).shape[1]
    head = torch.nn.Sequential(
        torch.nn.LayerNorm(width), torch.nn.Linear(width, 128), torch.nn.GELU(), torch.nn.Linear(128, 4)
    )
    groups = [{"params": model.parameters(), "lr": 3e-4}, {"params": head.parameters(), "lr": 3e-3}]
    optimizer = torch.optim.AdamW(groups, weight_decay=0.01)
    for rows in _batches(train, epochs):
        model.train()
        loss = torch.nn.functional.smooth_l1_loss(head(joined(rows)).sigmoid(), wanted[rows], beta=0.1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        guesses = torch.cat([head(joined(rows)).sigmoid() for rows in np.array_split(test, 8)]).numpy()
    return float(iou(guesses, boxes[test]).mean())


def _batches(rows: np.ndarray, epochs: int, size: int = 32) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(0)
    for _ in range(epochs):
        yield from np.array_split(rng.permutation(rows), len(rows) // size)


# ---- candidates -----------------------------------------------------------------------------------------------


def features_of(id: str, target: Sample) -> np.ndarray:
    """Features of every input, float32 (M, D1)."""
    extractor = load_extractor(resolve(id, "model"), target.task.modality, target.task.id, device="cpu")
    features = np.empty((len(target.inputs), extractor.width), np.float32)
    for positions, batch in extractor.batches(target.inputs):
        features[positions] = batch
    extractor.close()
    return features


def assembled(folder: Path | None, checkpoints: list[str]) -> list[str]:
    """Writes dual encoders of the demo's towers, and noisy copies of the checkpoints; their folders."""
    if folder is None:
        return []
    from transformers import AutoImageProcessor, AutoModel, AutoTokenizer, VisionTextDualEncoderModel

    made = []
    for picture in PICTURES:
        for text in TEXTS:
            made.append(folder / f"{picture}+{text}")
            if not made[-1].exists():
                torch.manual_seed(0)
                parts = [str(resolve(f"emms-demo/{name}", "model").folder) for name in (picture, text)]
                model = VisionTextDualEncoderModel.from_vision_text_pretrained(*parts, projection_dim=64)
                model.save_pretrained(made[-1])
                AutoImageProcessor.from_pretrained(parts[0]).save_pretrained(made[-1])
                AutoTokenizer.from_pretrained(parts[1]).save_pretrained(made[-1])
    for id in checkpoints:
        source = str(resolve(id, "model").folder)
        for noise in NOISES:
            made.append(folder / f"{Path(id).name}-noise{noise}")
            if not made[-1].exists():
                torch.manual_seed(0)
                model = AutoModel.from_pretrained(source, dtype=torch.float32)
                with torch.no_grad():
                    for parameter in model.parameters():
                        if parameter.ndim > 1:
                            parameter.add_(torch.randn_like(parameter) * noise * parameter.std())
                model.save_pretrained(made[-1])
                AutoImageProcessor.from_pretrained(source).save_pretrained(made[-1])
                AutoTokenizer.from_pretrained(source).save_pretrained(made[-1])
    return [str(path) for path in made]


if __name__ == "__main__":
    main()
