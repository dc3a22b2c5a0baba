"""Questions without an answer: which rows should they make? XQuAD with the answers of a third of its questions removed.

A removed answer's sentence is replaced by another one of its paragraph. Every text candidate is fine-tuned to find the
answer or to say that there is none (F1 of SQuAD 2.0), and four ways to make rows are compared with the results:

- drop: spans of the answered questions alone;
- spans: also other spans of questions without an answer, labelled like the others that are not the answer;
- none: besides, each question's whole context is a row: "no answer", or "an answer";
- text: one row a question; its label is the answer's text or "no answer".
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hf_emms.cache import Cache
from hf_emms.data import Pairs, Sample, Spans, load_sample
from hf_emms.data.inputs import hash64
from hf_emms.data.labels import OTHER_SPANS, find_spans, similar_spans
from hf_emms.engines.extraction import extract
from hf_emms.evaluation import measured
from hf_emms.features.label_embeddings import embed_texts
from hf_emms.hub import resolve
from hf_emms.options import Options
from hf_emms.presets import encoder_presets
from hf_emms.scoring.estimators import ESTIMATORS, ScoringInputs
from hf_emms.scoring.label_basis import LabelTable
from hf_emms.scoring.moments import Moments
from scripts.quality.candidates import Inputs, checkpoint, load, prepare_pairs
from scripts.quality.fine_tuning import MakeHead, Part, SpanFinder, fine_tune, word_f1
from scripts.quality.problems import span_of_tokens
from scripts.quality.protocol import CANDIDATES, EPOCHS, Candidate, work
from scripts.quality.rows import SPLITS, Table, hub_rows, read, split_rows, write
from scripts.quality.targets import ANSWER_SEED, SENTENCE_END, sentence_around
from scripts.quality.truth import committed_runs

RESULTS = Path(__file__).with_name("unanswerable.json")
TASK = "question-answering"
SEEDS = (0, 1)
SCORED_BY = ("emms_knn", "emms")
SPAN_LABELS = ("the answer", "not the answer")
NAMES = {
    "drop": "left out",
    "spans": "spans that are not the answer",
    "none": 'the same, and a row "no answer" or "an answer" for each context',
    "text": 'one row a question, "no answer" as its text',
}


# ---- the data ------------------------------------------------------------------------------------------------------


def rows() -> Table:
    """XQuAD's English questions on one sentence each, for a third of them one that does not hold the answer."""
    found: dict[str, list] = {"context": [], "question": [], "answers": [], "paragraph": []}
    for row in hub_rows("google/xquad", "xquad.en", "validation"):
        answer, start = row["answers"]["text"][0], row["answers"]["answer_start"][0]
        sentence, begin = sentence_around(row["context"], start, start + len(answer))
        draw = hash64(row["question"].encode())
        others = [one for one in SENTENCE_END.split(row["context"]) if answer not in one and one not in sentence]
        removed = draw % 3 == 0 and bool(others)
        found["context"].append(others[draw // 3 % len(others)] if removed else sentence)
        found["answers"].append(
            {"text": [], "answer_start": []} if removed else {"text": [answer], "answer_start": [start - begin]}
        )
        found["question"].append(row["question"])
        found["paragraph"].append(row["context"])
    table = split_rows(found, seed=ANSWER_SEED, shares=(0.6, 0.12, 0.28), group="paragraph")
    for split in table.values():
        del split.columns["paragraph"]
    return table


def folder() -> Path:
    """The dataset's folder, written on first use."""
    path = work() / "targets" / "xquad-unanswerable"
    if not path.exists():
        write(path.with_suffix(".writing"), rows())
        path.with_suffix(".writing").rename(path)
    return path


# ---- the truth -----------------------------------------------------------------------------------------------------


class SpanOrNone(SpanFinder):
    """Start and end of an answer among the context's tokens, or none: a further choice, read from all tokens' mean."""

    def __init__(self, width: int, spans: list[tuple[int, int]]) -> None:
        super().__init__(width, spans)
        self.none = torch.nn.Linear(width, 2)

    def _logits(self, features: Tensor, inputs: Inputs) -> Tensor:
        """(B, 1 + T, 2): "none" stands before the tokens."""
        read = inputs["attention_mask"][..., None].float()
        none = self.none((features * read).sum(1) / read.sum(1))
        return torch.cat([none[:, None], super()._logits(features, inputs)], 1)

    def answers(self, features: Tensor, inputs: Inputs) -> list[tuple[int, int]]:
        """First and last token; (−1, −1) for none."""
        logits = self._logits(features, inputs).log_softmax(1)
        start, end = logits.unbind(2)
        sums = start[:, :, None] + end[:, None, :]
        possible = torch.ones(sums.shape[1:]).triu().tril(self.longest - 1).bool()
        possible[0, 1:] = False
        best = sums.masked_fill(~possible, float("-inf")).flatten(1).argmax(1)
        return [(int(one) // sums.shape[1] - 1, int(one) % sums.shape[1] - 1) for one in best]


def squad2_f1(contexts: list[str], offsets: Tensor, wanted: list[str], spans: list[tuple[int, int]]) -> float:
    """Mean F1 of words in points; "none" is right where there is no answer, and only there."""
    total = 0.0
    for context, where, text, (first, last) in zip(contexts, offsets, wanted, spans, strict=True):
        found = context[int(where[first, 0]) : int(where[last, 1])] if first >= 0 else ""
        total += word_f1(found, text) if found and text else float(found == text)
    return 100 * total / len(wanted)


def fine_tuned(candidate: Candidate, rate: float, seed: int) -> list[float]:
    """[rate, seed, validation, test, seconds] of one fine-tuning."""
    backbone = load(candidate, TASK)
    parts, spans = {}, []
    for split in SPLITS:
        data = read(folder(), split)
        contexts = data["context"][:]
        inputs, offsets = prepare_pairs(backbone, data["question"][:], contexts)
        texts = [answers["text"][0] if answers["text"] else "" for answers in data["answers"]]
        if split == "train":
            for row, answers in enumerate(data["answers"]):
                start = answers["answer_start"][0] if answers["text"] else 0
                found = span_of_tokens(offsets[row], inputs["context"][row], start, start + len(texts[row]))
                # "none" comes first; an answer behind the cut teaches nothing
                spans.append((found[0] + 1, found[1] + 1) if found[0] >= 0 else (-1, -1) if texts[row] else (0, 0))
        parts[split] = Part(inputs, partial(squad2_f1, contexts, offsets, texts))
    head = MakeHead(lambda width: SpanOrNone(width, spans), of_tokens=True)
    outcome = fine_tune(backbone, head, *(parts[split] for split in SPLITS), epochs=EPOCHS[TASK], rate=rate, seed=seed)
    return [rate, seed, round(outcome.validation, 2), round(outcome.test, 2), round(outcome.seconds, 1)]


def rate_of(candidate: Candidate) -> float:
    """The rate that validated best on XQuAD with all of its answers."""
    runs = [run for run in committed_runs() if (run["target"], run["candidate"]) == ("xquad", candidate.name)]
    mean = {rate: np.mean([run["validation"] for run in runs if run["rate"] == rate]) for rate in candidate.rates}
    return max(candidate.rates, key=mean.__getitem__)


# ---- the rankings --------------------------------------------------------------------------------------------------


def samples() -> Iterator[tuple[str, Sample]]:
    """The training rows as each way makes them."""
    options = Options(str(folder()), task=TASK, split="train", label_form="text", max_samples=None)
    whole = load_sample(options)
    yield "text", whole
    pairs = whole.inputs
    assert isinstance(pairs, Pairs)
    given = {
        (row["question"], row["context"]): list(
            zip(row["answers"]["text"], row["answers"]["answer_start"], strict=True)
        )
        for row in read(folder(), "train")
    }
    groups = dict(zip(whole.input_of_row.tolist(), whole.groups.tolist(), strict=True))
    made = [(number, *one) for number, pair in enumerate(pairs) for one in _spans(pair, given[pair])]
    of_spans = [one for one in made if one[3] in SPAN_LABELS]
    answered = {number for number, *_, label in made if label == SPAN_LABELS[0]}
    ways = {"drop": [one for one in of_spans if one[0] in answered], "spans": of_spans, "none": made}
    for name, kept in ways.items():
        yield name, _sample_of(whole, pairs, kept, groups)


def _spans(pair: tuple[str, str], given: list[tuple[str, int]]) -> Iterator[tuple[int, int, str]]:
    """Start, end and label of the rows that a question can make."""
    _, context = pair
    answers = find_spans(context, given)
    for answer in answers:
        yield *answer, SPAN_LABELS[0]
    # without an answer: as many words as answers often have
    words = 1 + hash64(context.encode()) % 3
    like = answers[0] if answers else (0, len(" ".join(context.split(" ")[:words])))
    others = similar_spans(context, like, answers)
    for turn in range(min(OTHER_SPANS + (not answers), len(others))):
        yield *others.pop(hash64(*map(str.encode, (*pair, str(turn)))) % len(others)), SPAN_LABELS[1]
    yield 0, len(context), "an answer" if answers else "no answer"


def _sample_of(whole: Sample, pairs: Pairs, kept: list[tuple[int, int, int, str]], groups: dict[int, int]) -> Sample:
    texts = tuple(sorted({label for *_, label in kept}))
    return replace(
        whole,
        inputs=Spans(pairs, np.array([one[:3] for one in kept], dtype=np.int64)),
        input_of_row=np.arange(len(kept)),
        label_texts=texts,
        codes=np.array([texts.index(label) for *_, label in kept], dtype=np.int64),
        groups=np.array([groups[number] for number, *_ in kept], dtype=np.uint64),
        soft_labels=None,
        form="spans",
    )


def scores(name: str, sample: Sample, candidate: Candidate) -> dict[str, float]:
    """A candidate's scores by estimator, on the demo's label encoders."""
    options = Options("unused", device="cpu", cache=False)
    labels = LabelTable(
        sample.codes,
        tuple(
            sample.label_embeddings(embed_texts(resolve(id, "model"), sample.label_texts, device="cpu"))
            for id in encoder_presets()["demo"]
        ),
        encoder_presets()["demo"],
        sample.label_texts if sample.soft_labels is None else (),
        sample.categorical,
    )
    repo = resolve(checkpoint(candidate.name), "model")
    extraction = extract(repo, sample, labels, options, Cache(None))
    features = extraction.features["spread"][sample.input_of_row]
    moments = Moments.like(labels, features.shape[1], folds=options.folds, seed=options.seed)
    moments.update(features, labels, sample.groups)
    evidence = ScoringInputs(moments, features, labels, sample.groups)
    return {estimator: ESTIMATORS[estimator].score(evidence).value for estimator in SCORED_BY}


# ---- the steps -----------------------------------------------------------------------------------------------------


def run() -> None:
    """Fine-tune and score what is missing, and keep it in unanswerable.json after each step."""
    torch.set_num_threads(1)
    found: dict[str, Any] = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    found = {"runs": {}, "scores": {}} | found
    candidates = sorted((one for one in CANDIDATES if one.modality == "text"), key=lambda one: one.cost)
    ways = dict(samples())
    for candidate in candidates:
        for name, sample in ways.items():
            own = found["scores"].setdefault(name, {})
            if candidate.name not in own:
                own[candidate.name] = {
                    key: float(f"{value:.6g}") for key, value in scores(name, sample, candidate).items()
                }
                _keep(found)
    for seed in SEEDS:
        for candidate in candidates:
            own = found["runs"].setdefault(candidate.name, [])
            if seed not in [run[1] for run in own]:
                start = time.perf_counter()
                own.append(fine_tuned(candidate, rate_of(candidate), seed))
                _keep(found)
                print(f"{candidate.name:27s} {own[-1]} {time.perf_counter() - start:.0f} s", flush=True)


def _keep(found: dict[str, Any]) -> None:
    RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def table() -> list[tuple[str, ...]]:
    """Way → weighted τ and regret by estimator."""
    found = json.loads(RESULTS.read_text(encoding="utf-8"))
    truth = {name: float(np.mean([run[3] for run in runs])) for name, runs in found["runs"].items()}
    lines = []
    for way, text in NAMES.items():
        cells = []
        for estimator in SCORED_BY:
            own = [found["scores"][way][name][estimator] for name in truth]
            agreement = measured(own, list(truth.values()))
            cells.append(f"{agreement['weighted_tau']:.2f} / {agreement['regret']:.1f}")
        lines.append((text, *cells))
    return lines
