"""The experiments of pools.yaml: pools of targets and candidates, halves, and budgets."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

Half = Literal["dev", "held"]
Modality = Literal["image", "text", "image+text", "audio", "causal-lm"]

TRAIN_ROWS, VALIDATION_ROWS, TEST_ROWS = 1_500, 400, 1_000
SIDE = 64  # input size of image candidates in pixels, except on photos
DOCS = Path(__file__).resolve().parents[2] / "docs"
FEWEST = 3  # candidates of a target
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
        rows: Arguments of `targets.hub`; empty if another function makes the rows.
    """

    name: str
    task: str
    half: Half
    measure: str = "accuracy"
    left_out: Sequence[str] = ()
    side: int = SIDE
    rows: Mapping[str, Any] = field(default_factory=dict)

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
        published: Candidate → value that its authors published.
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
    published: Mapping[str, float] = field(default_factory=dict)

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


def _candidates(modality: Modality, rates: Sequence[float] = (), **names: str) -> Iterator[Candidate]:
    """Yield candidates by kind → names."""
    for kind, of_kind in names.items():
        yield from (Candidate(name, modality, tuple(rates), kind) for name in of_kind.split())


def _pool(name: str, facts: dict[str, Any]) -> Pool:
    parts = {
        "targets": tuple(Target(target, **about) for target, about in facts["targets"].items()),
        "candidates": tuple(candidate for group in facts["candidates"] for candidate in _candidates(**group)),
        "budgets": tuple(Budget(budget, **about) for budget, about in facts["budgets"].items()),
        "estimators": tuple(facts["estimators"]),
    }
    return Pool(name, **(facts | parts))


_CONTENT = yaml.safe_load(Path(__file__).with_name("pools.yaml").read_text(encoding="utf-8"))
POOLS = {name: _pool(name, facts) for name, facts in _CONTENT.items()}
IMAGES, TEXTS, MICRO, SEARCH = (POOLS[name] for name in ("images", "texts", "micro", "search"))
PAIRS_AND_WORDS = POOLS["pairs-and-words"]
# Names of the budgets of IMAGES and TEXTS.
QUICK, FULL = IMAGES.truth, "full"


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
