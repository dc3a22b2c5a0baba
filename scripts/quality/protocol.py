"""What the experiment is: pools of targets and candidates, halves, and budgets. Numbers only, nothing heavy.

The halves were written down before any result was looked at. Choices (defaults, improvements) are made on "dev";
"held" is what is claimed.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

Half = Literal["dev", "held"]

TRAIN_ROWS, VALIDATION_ROWS, TEST_ROWS = 1_500, 400, 1_000
SIDE, PHOTO_SIDE = 64, 96  # pixels: the input of every image candidate, on drawings and on photos
# side → label set's place in the results → another side, for the comparison of picture sizes
OTHER_SIDES = {SIDE: {"smaller-side": 48, "larger-side": 96}, PHOTO_SIDE: {"smaller-side": 64, "larger-side": 128}}
# Estimators that see samples of the training rows too.
ON_SMALL_SAMPLES = ("emms_knn", "emms", "emms_exact", "logme", "logme_common", "knn")


@dataclass(frozen=True, eq=False)
class Target:
    """One target.

    Attributes:
        name: folder name.
        task: the Hub's task id.
        half: where it counts.
        measure: the score of its test rows, higher is better, in points (0 to 100).
        left_out: candidates that were trained on labels of this data.
        side: pixels of the candidates' input.
    """

    name: str
    task: str
    half: Half
    measure: str
    left_out: tuple[str, ...] = ()
    side: int = SIDE


# In the order in which they run: a run cut short has something of every task.
MICRO_TARGETS: tuple[Target, ...] = (
    Target("fashion", "image-classification", "dev", "accuracy", ("resnet-fashion",)),
    Target("trec", "text-classification", "held", "accuracy"),
    Target("emoji-scenes", "image-to-text", "dev", "BLEU"),
    Target("wordnet-spans", "question-answering", "dev", "F1"),
    Target("cifar10", "image-classification", "held", "accuracy"),
    Target("glosses", "text-classification", "dev", "accuracy"),
    Target("xquad", "question-answering", "held", "F1"),
    Target("garment-scenes", "image-to-text", "held", "BLEU", ("resnet-fashion",)),
    Target("easy-vqa", "visual-question-answering", "held", "accuracy"),
    Target("emoji-groups", "image-classification", "held", "accuracy"),
    Target("sst2", "text-classification", "held", "accuracy"),
    Target("emoji-vqa", "visual-question-answering", "dev", "accuracy"),
    Target("digits", "image-classification", "dev", "accuracy"),
    Target("emoji-boxes", "referring-expression", "held", "IoU"),
)


@dataclass(frozen=True, eq=False)
class Candidate:
    """One candidate checkpoint.

    Attributes:
        name: short name.
        modality: "image", "text", "image+text" or "audio".
        rates: peak learning rates that are tried, the likelier one first; none: those that users get.
        cost: 0, 1 or 2: about how many powers of five more expensive than the others it is; expensive ones run later.
        kind: "real": weights as published; "altered": cut or with layers made random again; "random"; "micro": trained
            by scripts/demo.
    """

    name: str
    modality: str
    rates: tuple[float, ...] = ()
    cost: int = 0
    kind: Literal["real", "altered", "random", "micro"] = "micro"


@dataclass(frozen=True, eq=False)
class Budget:
    """How long candidates are trained.

    Attributes:
        name: its key among the results.
        seeds: of the runs; the first tries all rates, the others the rate that validated best.
        settings: keywords of `hf_emms.confirm`.
        epochs: by task, where they are not what users get.
    """

    name: str
    seeds: tuple[int, ...]
    settings: Mapping[str, Any]
    epochs: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Pool:
    """Targets that share candidates.

    Attributes:
        name: of its results and of its folder of datasets.
        title: in words.
        targets: in the order in which they run.
        candidates: of all targets; each target has those of its modality.
        budgets: the truth is measured once at each.
        labels: the set of label encoders with which every estimator runs.
        truth: the budget whose runs are the truth of tables with one truth.
    """

    name: str
    title: str
    targets: tuple[Target, ...]
    candidates: tuple[Candidate, ...]
    budgets: tuple[Budget, ...]
    labels: str
    truth: str

    @property
    def results(self) -> Path:
        """The committed results."""
        return Path(__file__).with_name("results") / f"{self.name}.json"

    def candidates_of(self, target: Target) -> tuple[Candidate, ...]:
        """The candidates of a target."""
        modality = MODALITY[target.task]
        return tuple(one for one in self.candidates if one.modality == modality and one.name not in target.left_out)

    def target(self, name: str) -> Target:
        """A target by its name."""
        return next(target for target in self.targets if target.name == name)


MICRO_RATES = (2e-3, 5e-4)

# name → image checkpoint and text checkpoint of the demo, joined by projections of random weights
DUALS: dict[str, tuple[str, str]] = {
    "swin-distilled+bert-distilled": ("swin-distilled", "bert-distilled"),
    "vit-drawings+bert-distilled": ("vit-drawings", "bert-distilled"),
}

MICRO_CANDIDATES: tuple[Candidate, ...] = (
    *(
        Candidate(name, "image", MICRO_RATES)
        for name in (
            "resnet-distilled",
            "swin-distilled",
            "resnet-drawings",
            "resnet-fashion",
            "resnet-drawings-short",
            "convnext-distilled-short",
            "vit-drawings",
            "mobilenet-drawings-short",
            "regnet-random",
            "vit-random",
        )
    ),
    Candidate("efficientnet-lite0", "image", (5e-4, 1.5e-3), cost=2),
    *(
        Candidate(name, "text", MICRO_RATES)
        for name in (
            "bert-distilled",
            "albert-distilled",
            "electra-distilled",
            "distilbert-distilled-short",
            "bert-masked-short",
            "bert-random",
            # two of the demo's label encoders: besides them it has no causal and no contrastive text checkpoint
            "encoder-minilm-albert",
            "encoder-wordnet-gpt2",
        )
    ),
    Candidate("minilm-6-layers", "text", (2e-4, 6e-4), cost=2),
    Candidate("minilm-3-layers", "text", (2e-4, 6e-4), cost=2),
    Candidate("minilm-0-layers", "text", MICRO_RATES, cost=1),
    *(
        Candidate(name, "image+text", MICRO_RATES)
        for name in (
            "twotower-distilled",
            "twotower-short",
            "clip-random",
            "owlvit-scenes",
            "owlvit-random",
            "vilt-vqa",
            "vilt-random",
            "blip-vqa",
        )
    ),
    *(Candidate(name, "image+text", MICRO_RATES, cost=1) for name in DUALS),
)

MODALITY = {
    "image-classification": "image",
    "image-to-text": "image",
    "text-classification": "text",
    "question-answering": "text",
    "visual-question-answering": "image+text",
    "referring-expression": "image+text",
    "text-pair-classification": "text",
    "sentence-similarity": "text",
    "token-classification": "text",
    "audio-classification": "audio",
}


# task → role of a column → its name
ROLES = {
    "image-classification": {"image": "image", "label": "label"},
    "image-to-text": {"image": "image", "text": "caption"},
    "text-classification": {"text": "text", "label": "label"},
    "question-answering": {"question": "question", "context": "context", "answer": "answers"},
    "visual-question-answering": {"image": "image", "question": "question", "answer": "answer"},
    "referring-expression": {"image": "image", "expression": "expression", "box": "box"},
    "text-pair-classification": {"text": "sentence1", "text_pair": "sentence2", "label": "label"},
    "sentence-similarity": {"text": "sentence1", "text_pair": "sentence2", "label": "score"},
    "token-classification": {"tokens": "tokens", "tags": "tags"},
    "audio-classification": {"audio": "audio", "label": "label"},
}

# Rates of the small real checkpoints are those that users get by default; so are epochs and early stopping.
REAL_IMAGES: tuple[Candidate, ...] = (
    Candidate("mobilenet-v1-0.25", "image", kind="real"),
    Candidate("mobilenet-v1-0.5", "image", kind="real"),
    Candidate("mobilenet-v1-0.75", "image", kind="real"),
    Candidate("mobilenet-v1-1.0", "image", kind="real"),
    Candidate("mobilenet-v2-imagenet", "image", kind="real"),
    Candidate("mobilenet-v2-birds", "image", kind="real"),
    Candidate("mobilenet-v2-insects", "image", kind="real"),
    Candidate("efficientnet-lite0", "image", kind="real"),
    Candidate("efficientnet-lite1", "image", cost=1, kind="real"),
    Candidate("efficientnet-lite2", "image", cost=1, kind="real"),
    Candidate("mobilenet-v2-imagenet-early", "image", kind="altered"),
    Candidate("efficientnet-lite0-early", "image", kind="altered"),
    Candidate("mobilenet-v2-random", "image", kind="random"),
)
# One architecture from three sources: neither parameters nor an order of architectures can rank them.
SAME_ARCHITECTURE = ("mobilenet-v2-imagenet", "mobilenet-v2-birds", "mobilenet-v2-insects")

REAL_TEXTS: tuple[Candidate, ...] = (
    Candidate("mpnet", "text", cost=2, kind="real"),
    Candidate("minilm-6-layers", "text", kind="real"),
    Candidate("paraphrase-minilm-3-layers", "text", kind="real"),
    Candidate("mpnet-4-layers", "text", cost=1, kind="altered"),
    Candidate("minilm-3-layers", "text", kind="altered"),
    Candidate("minilm-0-layers", "text", kind="altered"),
    Candidate("minilm-random", "text", kind="random"),
    Candidate("bert-distilled", "text"),
    Candidate("encoder-minilm-albert", "text"),
    Candidate("encoder-wordnet-gpt2", "text"),
)

# Of pairs and words: few and small ones at one rate, between the two that users get, since what fine-tunes them here
# is a core or two.
PAIR_TEXTS: tuple[Candidate, ...] = (
    *(Candidate(name, "text", (1e-3,)) for name in ("bert-distilled", "electra-distilled", "bert-masked-short")),
    Candidate("bert-random", "text", (1e-3,), kind="random"),
    Candidate("paraphrase-minilm-3-layers", "text", (2e-4,), cost=1, kind="real"),
    Candidate("minilm-3-layers", "text", (2e-4,), cost=1, kind="altered"),
    Candidate("minilm-6-layers", "text", (2e-4,), cost=2, kind="real"),
    Candidate("minilm-0-layers", "text", (2e-4,), kind="altered"),
    Candidate("minilm-random", "text", (2e-4,), cost=2, kind="random"),
)

# Made by scripts/demo/checkpoints_sounds.py from other sources, of other sizes, for longer or shorter.
SOUNDS: tuple[Candidate, ...] = tuple(
    Candidate(name, "audio", (1e-3,), kind="random" if "random" in name else "micro")
    for name in (
        "ast-words",
        "ast-sounds",
        "ast-random",
        "ast-words-short",
        "ast-words-narrow",
        "ast-voices",
        "wav2vec2-random",
    )
)

# "quick" is the user's `--budget quick`: 1,000 rows, 3 epochs. "full" is what `--confirm` does by default: up to 5
# (texts) or 10 epochs over all rows, ended when validation no longer improves.
QUICK = Budget("quick", (0, 1), {"budget": "quick"})
FULL = Budget("full", (0, 1), {})
# Few rows, with the epochs that users get: what a core can do in an hour or two.
SMALL = Budget("small", (0, 1), {"confirm_samples": 400})
FEW = Budget("few", (0,), {"confirm_samples": 300}, {"audio-classification": 5})

MICRO = Pool(
    "micro",
    "micro checkpoints",
    MICRO_TARGETS,
    MICRO_CANDIDATES,
    # with 5 epochs all boxes stay near the mean one
    (
        Budget(
            "short",
            (0, 1),
            {"confirm_samples": 1_000},
            {
                "image-classification": 3,
                "image-to-text": 5,
                "text-classification": 3,
                "question-answering": 5,
                "visual-question-answering": 5,
                "referring-expression": 10,
            },
        ),
    ),
    "demo",
    # all targets, by training code that hf_emms.finetune replaced; "short" has one target a task, to compare
    "first",
)
of_real_checkpoints = partial(Pool, budgets=(QUICK, FULL), labels="minilm", truth=QUICK.name)
IMAGES = of_real_checkpoints(
    "images",
    "real image checkpoints",
    (
        Target("flowers", "image-classification", "dev", "accuracy", side=PHOTO_SIDE),
        Target("birds", "image-classification", "held", "accuracy", side=PHOTO_SIDE),
        Target("emoji-groups-real", "image-classification", "held", "accuracy"),
        Target("monkeys", "image-classification", "dev", "accuracy", side=PHOTO_SIDE),
        Target("cifar10-real", "image-classification", "dev", "accuracy"),
        Target("grocery", "image-classification", "held", "accuracy", side=PHOTO_SIDE),
        Target("fashion-real", "image-classification", "held", "accuracy"),
        Target("digits-real", "image-classification", "dev", "accuracy"),
    ),
    REAL_IMAGES,
)
TEXTS = of_real_checkpoints(
    "texts",
    "real text checkpoints",
    (
        Target("trec-real", "text-classification", "dev", "accuracy"),
        Target("clinc-real", "text-classification", "held", "accuracy"),
        Target("sst2-real", "text-classification", "held", "accuracy"),
    ),
    REAL_TEXTS,
)
PAIRS_AND_WORDS = Pool(
    "pairs-and-words",
    "text checkpoints on pairs and words",
    (
        Target("sts-images", "sentence-similarity", "held", "Spearman"),
        Target("ewt", "token-classification", "held", "accuracy"),
        Target("med", "text-pair-classification", "dev", "accuracy"),
        Target("wnut", "token-classification", "dev", "entity F1"),
        Target("covid", "text-pair-classification", "held", "accuracy"),
    ),
    PAIR_TEXTS,
    (SMALL,),
    "minilm",
    SMALL.name,
)
SOUND = Pool(
    "sound",
    "micro sound checkpoints",
    (
        Target("spoken-digits", "audio-classification", "dev", "accuracy"),
        Target("speakers", "audio-classification", "held", "accuracy"),
        Target("languages", "audio-classification", "held", "accuracy"),
    ),
    SOUNDS,
    (FEW,),
    "demo",
    FEW.name,
)
POOLS = {pool.name: pool for pool in (IMAGES, TEXTS, MICRO, PAIRS_AND_WORDS, SOUND)}


def work() -> Path:
    """The folder of datasets, candidates and finished fine-tunings: HF_EMMS_QUALITY, else in the user's cache."""
    named = os.environ.get("HF_EMMS_QUALITY")
    folder = Path(named).expanduser() if named else Path.home() / ".cache" / "hf_emms_quality"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def made(folder: Path, make: Callable[[Path], object]) -> Path:
    """A folder, which is made at first use, whole or not at all; `make` fills an empty one."""
    if not folder.exists():
        fresh = folder.with_name(f"{folder.name}.writing")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        make(fresh)
        fresh.rename(folder)
    return folder
