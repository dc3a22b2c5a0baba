"""The experiments as data: pools of targets and candidates, halves, and budgets.

The halves were fixed before the first result. Choices (defaults, improvements) use "dev", claims use "held".
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Half = Literal["dev", "held"]
Modality = Literal["image", "text", "image+text", "audio", "causal-lm"]

TRAIN_ROWS, VALIDATION_ROWS, TEST_ROWS = 1_500, 400, 1_000
SIDE, PHOTO_SIDE = 64, 96  # input size of image candidates in pixels, on drawings and on photos
DOCS = Path(__file__).resolve().parents[2] / "docs"
FEWEST = 3  # candidates of a target
NDCG = "nDCG@10"
BITS = "bits per byte"  # lower is better; results store the negative number

# task → modality of its candidates, and role → column
TASKS: dict[str, tuple[Modality, dict[str, str]]] = {
    "image-classification": ("image", {"image": "image", "label": "label"}),
    "image-to-text": ("image", {"image": "image", "text": "caption"}),
    "text-classification": ("text", {"text": "text", "label": "label"}),
    "question-answering": ("text", {"question": "question", "context": "context", "answer": "answers"}),
    "visual-question-answering": ("image+text", {"image": "image", "question": "question", "answer": "answer"}),
    "referring-expression": ("image+text", {"image": "image", "expression": "expression", "box": "box"}),
    "text-pair-classification": ("text", {"text": "sentence1", "text_pair": "sentence2", "label": "label"}),
    "sentence-similarity": ("text", {"text": "sentence1", "text_pair": "sentence2", "label": "score"}),
    "token-classification": ("text", {"tokens": "tokens", "tags": "tags"}),
    "text-retrieval": ("text", {"query": "query", "document": "positive"}),
    "audio-classification": ("audio", {"audio": "audio", "label": "label"}),
    "text-generation": ("causal-lm", {"prompt": "prompt", "response": "completion"}),
    "translation": ("causal-lm", {"source": "en", "target": "de"}),
    "summarization": ("causal-lm", {"document": "document", "summary": "summary"}),
}


@dataclass(frozen=True, eq=False)
class Target:
    """A dataset for which candidates are ranked and fine-tuned.

    Attributes:
        name: Folder name; `scripts.quality.targets` makes its rows.
        task: The Hub's task id.
        half: "dev" or "held".
        measure: Metric on test rows in points (0 to 100), higher is better; or `BITS`.
        left_out: Candidates that were trained on labels of this data.
        side: Input size of candidates in pixels.
    """

    name: str
    task: str
    half: Half
    measure: str = "accuracy"
    left_out: tuple[str, ...] = ()
    side: int = SIDE

    @property
    def columns(self) -> dict[str, str]:
        """Role → column."""
        return TASKS[self.task][1]


@dataclass(frozen=True, eq=False)
class Candidate:
    """A candidate checkpoint, which `scripts.quality.candidates` makes.

    Attributes:
        name: Short name.
        modality: Of its inputs.
        rates: Peak learning rates, the likelier one first; empty for the defaults.
        kind: "real": published weights; "altered": fewer layers, or some layers random; "random"; "micro": trained by
            scripts/demo.
    """

    name: str
    modality: Modality
    rates: tuple[float, ...] = ()
    kind: Literal["real", "altered", "random", "micro"] = "micro"


@dataclass(frozen=True, eq=False)
class Budget:
    """The length of training. All budgets have the same test rows.

    Attributes:
        name: Its key in the results.
        seeds: Number of runs at the best learning rate; the first seed tries all rates.
        rows: Maximum number of training rows and of validation rows, optionally per target; None for all.
        epochs: Per task, if they differ from the defaults.
    """

    name: str
    seeds: int = 2
    rows: int | Mapping[str, int] | None = None
    epochs: Mapping[str, int] = field(default_factory=dict)

    def rows_of(self, target: Target) -> int | None:
        return self.rows.get(target.name) if isinstance(self.rows, Mapping) else self.rows


@dataclass(frozen=True, eq=False)
class Pool:
    """Targets that share candidates.

    Attributes:
        name: On the command line.
        title: For tables.
        targets: In the order of runs.
        candidates: Of all targets; each target has the ones of its modality.
        budgets: Of fine-tuning.
        labels: The label encoders of every estimator, "demo" or "minilm".
        truth: The budget of tables with one truth.
        estimators: The first one orders the candidates.
        max_samples: Number of ranked rows; None for all training rows.
        page: The page of its table; None for docs/evidence.md, whose pools have more scores.
        file: The committed results.
        confirmed: Number of fine-tuned checkpoints in the page's regret.
    """

    name: str
    title: str
    targets: tuple[Target, ...]
    candidates: tuple[Candidate, ...]
    budgets: tuple[Budget, ...]
    labels: str
    truth: str
    estimators: tuple[str, ...]
    max_samples: int | None = None
    page: str | None = None
    file: str = ""
    confirmed: int = 3

    @property
    def results(self) -> Path:
        return Path(__file__).with_name("results") / (self.file or f"{self.name}.json")

    def candidates_of(self, target: Target) -> tuple[Candidate, ...]:
        """Return the candidates of a target."""
        modality = TASKS[target.task][0]
        return tuple(c for c in self.candidates if c.modality == modality and c.name not in target.left_out)

    def estimators_of(self, target: Target) -> tuple[str, ...]:
        """Return the estimators that can score a target; H-score needs classes."""
        has_classes = target.task.endswith("classification")
        return tuple(name for name in self.estimators if has_classes or name != "hscore")


# ---- candidates ------------------------------------------------------------------------------------------------------

MICRO_RATES, SMALL_RATES = (2e-3, 5e-4), (2e-4, 6e-4)
# name → image checkpoint and text checkpoint of the demo, joined by projections of random weights
DUALS: dict[str, tuple[str, str]] = {
    "swin-distilled+bert-distilled": ("swin-distilled", "bert-distilled"),
    "vit-drawings+bert-distilled": ("vit-drawings", "bert-distilled"),
}


def _candidates(modality: Modality, rates: tuple[float, ...] = (), **names: str) -> tuple[Candidate, ...]:
    """Return candidates by kind → names."""
    return tuple(Candidate(name, modality, rates, kind) for kind, of_kind in names.items() for name in of_kind.split())


MICRO_CANDIDATES = (
    *_candidates(
        "image",
        MICRO_RATES,
        micro="resnet-distilled swin-distilled resnet-drawings resnet-fashion resnet-drawings-short "
        "convnext-distilled-short vit-drawings mobilenet-drawings-short regnet-random vit-random",
    ),
    Candidate("efficientnet-lite0", "image", (5e-4, 1.5e-3)),
    # Includes two label encoders of the demo, its only causal and contrastive text checkpoints.
    *_candidates(
        "text",
        MICRO_RATES,
        micro="bert-distilled albert-distilled electra-distilled distilbert-distilled-short bert-masked-short "
        "bert-random encoder-minilm-albert encoder-wordnet-gpt2",
    ),
    *_candidates("text", SMALL_RATES, micro="minilm-6-layers minilm-3-layers"),
    Candidate("minilm-0-layers", "text", MICRO_RATES),
    *_candidates(
        "image+text",
        MICRO_RATES,
        micro="twotower-distilled twotower-short clip-random owlvit-scenes owlvit-random vilt-vqa vilt-random blip-vqa "
        + " ".join(DUALS),
    ),
)
# Learning rates, epochs and early stopping of real checkpoints are the defaults. One architecture is from three
# sources: neither size nor a fixed order of architectures can rank them.
REAL_IMAGES = _candidates(
    "image",
    real="mobilenet-v1-0.25 mobilenet-v1-0.5 mobilenet-v1-0.75 mobilenet-v1-1.0 mobilenet-v2-imagenet "
    "mobilenet-v2-birds mobilenet-v2-insects efficientnet-lite0 efficientnet-lite1 efficientnet-lite2",
    altered="mobilenet-v2-imagenet-early efficientnet-lite0-early",
    random="mobilenet-v2-random",
)
REAL_TEXTS = _candidates(
    "text",
    real="mpnet minilm-6-layers paraphrase-minilm-3-layers",
    altered="mpnet-4-layers minilm-3-layers minilm-0-layers",
    random="minilm-random",
    micro="bert-distilled encoder-minilm-albert encoder-wordnet-gpt2",
)
# Of pairs and words: few small checkpoints at one learning rate between the two defaults, to save CPU time.
PAIR_TEXTS = (
    *_candidates("text", (1e-3,), micro="bert-distilled electra-distilled bert-masked-short", random="bert-random"),
    *_candidates(
        "text",
        (2e-4,),
        real="paraphrase-minilm-3-layers minilm-6-layers",
        altered="minilm-3-layers minilm-0-layers",
        random="minilm-random",
    ),
)
# Of search, at the higher of the two default rates, for the same reason.
SEARCH_TEXTS = (
    *_candidates(
        "text",
        (3e-3,),
        micro="bert-distilled electra-distilled distilbert-distilled-short bert-masked-short albert-distilled",
        random="bert-random",
    ),
    *_candidates(
        "text",
        (3e-4,),
        real="paraphrase-minilm-3-layers minilm-6-layers mpnet",
        altered="minilm-3-layers minilm-0-layers mpnet-4-layers",
        random="minilm-random",
    ),
)
# Made by scripts/demo/checkpoints_sounds.py from other sources, of other sizes, for longer or shorter.
SOUNDS = _candidates(
    "audio",
    (1e-3,),
    micro="ast-words ast-sounds ast-words-short ast-words-narrow ast-voices",
    random="ast-random wav2vec2-random",
)
CAUSAL_LMS = _candidates(
    "causal-lm",
    (2e-3,),
    micro="llama-glosses llama-glosses-short gpt2-captions llama-passages llama-german llama-code",
    random="llama-random",
)

# ---- pools -----------------------------------------------------------------------------------------------------------

OF_FEATURES = (
    *("emms_knn", "emms", "emms_exact", "emms_one_pass", "emms_alternating"),
    *("logme", "logme_flabels", "hscore", "knn"),
)
OF_SMALL_POOLS = ("emms_knn", "emms", "logme", "knn", "hscore")
# "quick" is `--budget quick`; "full" is the default of `--confirm`: up to 5 (texts) or 10 epochs over all rows, until
# validation no longer improves.
_THREE = dict.fromkeys(("image-classification", "text-classification"), 3)
QUICK = Budget("quick", rows=1_000, epochs=_THREE)
FULL = Budget("full")
# Few rows with the default epochs: an hour or two on a core.
SMALL = Budget("small", rows=400)
FEW = Budget("few", 1, 300, {"audio-classification": 5})
FEW_QUERIES = Budget("few", 1, 500)
# With 5 epochs all boxes stay near the mean one.
_FIVE = dict.fromkeys(("image-to-text", "question-answering", "visual-question-answering"), 5)
SHORT = Budget("short", rows=1_000, epochs={**_THREE, **_FIVE, "referring-expression": 10})
_THREE_OF_RESPONSES = dict.fromkeys(("text-generation", "translation", "summarization"), 3)
FEW_RESPONSES = Budget(
    "few",
    rows={"e2e_nlg": 60, "gsm8k": 400, "flores-en-de": 400, "self_instruct": 100, "scitldr": 150},
    epochs=_THREE_OF_RESPONSES,
)
ALL_RESPONSES = Budget("all", epochs=_THREE_OF_RESPONSES)

MICRO = Pool(
    "micro",
    "micro checkpoints",
    # in this order, an interrupted run has results of every task
    (
        Target("fashion", "image-classification", "dev", left_out=("resnet-fashion",)),
        Target("trec", "text-classification", "held"),
        Target("emoji-scenes", "image-to-text", "dev", "BLEU"),
        Target("wordnet-spans", "question-answering", "dev", "F1"),
        Target("cifar10", "image-classification", "held"),
        Target("glosses", "text-classification", "dev"),
        Target("xquad", "question-answering", "held", "F1"),
        Target("garment-scenes", "image-to-text", "held", "BLEU", ("resnet-fashion",)),
        Target("easy-vqa", "visual-question-answering", "held"),
        Target("emoji-groups", "image-classification", "held"),
        Target("sst2", "text-classification", "held"),
        Target("emoji-vqa", "visual-question-answering", "dev"),
        Target("digits", "image-classification", "dev"),
        Target("emoji-boxes", "referring-expression", "held", "IoU"),
    ),
    MICRO_CANDIDATES,
    (SHORT,),
    "demo",
    # by a training loop that hf_emms.finetune replaced
    "first",
    OF_FEATURES,
)
IMAGES = Pool(
    "images",
    "real image checkpoints",
    (
        Target("flowers", "image-classification", "dev", side=PHOTO_SIDE),
        Target("birds", "image-classification", "held", side=PHOTO_SIDE),
        Target("emoji-groups-real", "image-classification", "held"),
        Target("monkeys", "image-classification", "dev", side=PHOTO_SIDE),
        Target("cifar10-real", "image-classification", "dev"),
        Target("grocery", "image-classification", "held", side=PHOTO_SIDE),
    ),
    REAL_IMAGES,
    (QUICK, FULL),
    "minilm",
    QUICK.name,
    OF_FEATURES,
)
TEXTS = Pool(
    "texts",
    "real text checkpoints",
    (
        Target("trec-real", "text-classification", "dev"),
        Target("clinc-real", "text-classification", "held"),
    ),
    REAL_TEXTS,
    (QUICK, FULL),
    "minilm",
    QUICK.name,
    OF_FEATURES,
)
PAIRS_AND_WORDS = Pool(
    "pairs-and-words",
    "text checkpoints on pairs and words",
    (
        Target("sts-images", "sentence-similarity", "held", "Spearman"),
        Target("ewt", "token-classification", "held"),
        Target("med", "text-pair-classification", "dev"),
        Target("wnut", "token-classification", "dev", "entity F1"),
        Target("covid", "text-pair-classification", "held"),
    ),
    PAIR_TEXTS,
    (SMALL,),
    "minilm",
    SMALL.name,
    OF_SMALL_POOLS,
    1_000,
    "evidence-tasks.md",
)
SEARCH = Pool(
    "search",
    "embedding models",
    (
        Target("reverse-dictionary", "text-retrieval", "dev", NDCG),
        Target("scitldr-abstracts", "text-retrieval", "held", NDCG),
        Target("xquad-paragraphs", "text-retrieval", "held", NDCG),
        Target("gsm8k-answers", "text-retrieval", "held", NDCG),
        Target("covid-questions", "text-retrieval", "dev", NDCG),
    ),
    SEARCH_TEXTS,
    (FEW_QUERIES,),
    "minilm",
    FEW_QUERIES.name,
    ("zero_shot_ndcg", "adapted_ndcg", "emms"),
    500,
    "evidence-search.md",
    confirmed=2,
)
SOUND = Pool(
    "sound",
    "micro sound checkpoints",
    (
        Target("spoken-digits", "audio-classification", "dev"),
        Target("speakers", "audio-classification", "held"),
        Target("languages", "audio-classification", "held"),
    ),
    SOUNDS,
    (FEW,),
    "demo",
    FEW.name,
    OF_SMALL_POOLS,
    1_000,
    "evidence-tasks.md",
)
LANGUAGE_MODELS = Pool(
    "language-models",
    "micro language models",
    (
        Target("e2e_nlg", "text-generation", "dev", BITS),
        Target("gsm8k", "text-generation", "dev", BITS),
        Target("flores-en-de", "translation", "held", BITS),
        Target("self_instruct", "text-generation", "held", BITS),
        Target("scitldr", "summarization", "held", BITS),
    ),
    CAUSAL_LMS,
    (ALL_RESPONSES, FEW_RESPONSES),
    "demo",
    ALL_RESPONSES.name,
    ("short_run", "zero_shot", "emms_knn", "emms"),
    None,
    "evidence-tasks.md",
    "writers.json",
)
POOLS = {pool.name: pool for pool in (IMAGES, TEXTS, MICRO, PAIRS_AND_WORDS, SEARCH, SOUND, LANGUAGE_MODELS)}


def work() -> Path:
    """Return the folder of datasets and candidates: HF_EMMS_QUALITY, else one in the user's cache."""
    named = os.environ.get("HF_EMMS_QUALITY")
    folder = Path(named).expanduser() if named else Path.home() / ".cache" / "hf_emms_quality"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def made(folder: Path, make: Callable[[Path], object]) -> Path:
    """Return a folder; on first use, `make` fills it, completely or not at all."""
    if not folder.exists():
        fresh = folder.with_name(f"{folder.name}.writing")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        make(fresh)
        fresh.rename(folder)
    return folder
