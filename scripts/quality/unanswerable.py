"""Questions without an answer: which rows should they make? XQuAD with the answers of a third of its questions removed.

A removed answer's sentence is replaced by another one of its paragraph. Four ways to make rows are compared with the
committed fine-tunings on XQuAD, which say how well a candidate finds answers; none says how well it tells that there is
no answer.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from hf_emms.cache import Cache
from hf_emms.data import Sample, load_sample
from hf_emms.evaluation import measured
from hf_emms.hub import resolve
from hf_emms.inputs import Spans, hash64
from hf_emms.options import Options
from hf_emms.presets import encoder_presets
from hf_emms.ranking.estimators import ESTIMATORS
from hf_emms.run.engines.extraction import extract
from hf_emms.run.label_embeddings import embed_texts
from hf_emms.run.plan import planned_extraction
from hf_emms.scoring.estimators import ScoringInputs
from hf_emms.scoring.labels import LabelTable
from hf_emms.scoring.moments import Moments
from scripts.quality.candidates import checkpoint
from scripts.quality.protocol import MICRO, Candidate, made, work
from scripts.quality.results import load
from scripts.quality.rows import Table, hub_rows, split_rows, write
from scripts.quality.targets import ANSWER_SEED, SENTENCE_END, sentence_around

RESULTS = Path(__file__).with_name("unanswerable.json")
TASK = "question-answering"
SCORED_BY = ("emms_knn", "emms")
NAMES = {
    "spans": "spans that are not the answer (the default)",
    "left out": "none: they are left out",
    "whole": "these spans; besides, each context as a row: no answer, or an answer",
    "text": 'one row a question: the answer or "no answer" as a text',
}


def rows() -> Table:
    """XQuAD's English questions on one sentence each, for a third of them one that does not hold the answer."""
    found: dict[str, list] = {"context": [], "question": [], "answers": [], "paragraph": []}
    for row in hub_rows("google/xquad", "xquad.en", "validation"):
        answer, start = row["answers"]["text"][0], row["answers"]["answer_start"][0]
        sentence, begin = sentence_around(row["context"], start, start + len(answer))
        draw = hash64(row["question"].encode())
        others = [one for one in SENTENCE_END.split(row["context"]) if answer not in one and one not in sentence]
        removed = draw % 3 == 0 and bool(others)
        answers = {"text": [answer], "answer_start": [start - begin]}
        found["context"].append(others[draw // 3 % len(others)] if removed else sentence)
        found["answers"].append({"text": [], "answer_start": []} if removed else answers)
        found["question"].append(row["question"])
        found["paragraph"].append(row["context"])
    table = split_rows(found, seed=ANSWER_SEED, shares=(0.6, 0.12, 0.28), group="paragraph")
    for split in table.values():
        del split.columns["paragraph"]
    return table


def samples() -> dict[str, Sample]:
    """The training rows as each way makes them."""
    folder = made(work() / "targets" / "xquad-unanswerable", lambda fresh: write(fresh, rows()))
    options = Options(str(folder), task=TASK, split="train", max_samples=None)
    spans = load_sample(options)
    assert isinstance(spans.inputs, Spans)
    pair_of = spans.inputs.bounds[spans.input_of_row, 0]
    is_answer = spans.codes == spans.label_texts.index("the answer")
    answered = set(pair_of[is_answer].tolist())
    kept = np.isin(pair_of, list(answered))
    return {
        "spans": spans,
        "left out": replace(
            spans, input_of_row=spans.input_of_row[kept], codes=spans.codes[kept], groups=spans.groups[kept]
        ),
        "whole": _with_contexts(spans, pair_of, answered),
        "text": load_sample(replace(options, label_form="text")),
    }


def _with_contexts(spans: Sample, pair_of: np.ndarray, answered: set[int]) -> Sample:
    """The spans, and a row for the whole context of each question."""
    assert isinstance(spans.inputs, Spans)
    pairs, first = np.unique(pair_of, return_index=True)
    texts = (*spans.label_texts, "an answer", "no answer")
    codes = [texts.index("an answer" if pair in answered else "no answer") for pair in pairs.tolist()]
    whole = [(pair, 0, len(spans.inputs.inputs[pair][1])) for pair in pairs.tolist()]
    return replace(
        spans,
        inputs=Spans(spans.inputs.inputs, np.concatenate([spans.inputs.bounds, np.array(whole, dtype=np.int64)])),
        input_of_row=np.concatenate([spans.input_of_row, len(spans.inputs) + np.arange(len(pairs))]),
        codes=np.concatenate([spans.codes, np.array(codes, dtype=np.int64)]),
        groups=np.concatenate([spans.groups, spans.groups[first]]),
        label_texts=texts,
    )


def scores(sample: Sample, candidate: Candidate) -> dict[str, float]:
    """A candidate's scores by estimator, on the demo's label encoders."""
    options = Options("unused", device="cpu", cache=False)
    encoders = encoder_presets()["demo"]
    embedded = [embed_texts(resolve(id, "model"), sample.label_texts, device="cpu") for id in encoders]
    texts = sample.label_texts if sample.soft_labels is None else ()
    tables = tuple(sample.label_embeddings(one) for one in embedded)
    labels = LabelTable(sample.codes, tables, encoders, texts, sample.categorical)
    plan = planned_extraction(resolve(checkpoint(candidate.name), "model"), options, sample.task)
    extraction = extract(plan, sample, labels, options, Cache(None))
    features = extraction.features["spread"][sample.input_of_row]
    moments = Moments.like(labels, features.shape[1], folds=options.folds, seed=options.seed)
    moments.update(features, labels, sample.groups)
    inputs = ScoringInputs(moments, features, labels, sample.groups)
    return {name: float(f"{ESTIMATORS[name].score(inputs).value:.6g}") for name in SCORED_BY}


def run() -> None:
    """Score every text candidate in every way, and write unanswerable.json."""
    import torch

    torch.set_num_threads(1)
    found: dict[str, Any] = {}
    for way, sample in samples().items():
        found[way] = {one.name: scores(sample, one) for one in MICRO.candidates if one.modality == "text"}
        print(f"{way:10s} {len(sample)} rows, {len(found[way])} candidates", flush=True)
    RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def lines() -> list[tuple[str, ...]]:
    """Way → weighted τ and regret by estimator, for the report."""
    _, targets = load()
    truth = next(target.truth for target in targets if target.name == "xquad")
    found = json.loads(RESULTS.read_text(encoding="utf-8"))
    table = []
    for way, text in NAMES.items():
        cells = []
        for estimator in SCORED_BY:
            own = measured([found[way][name][estimator] for name in truth], list(truth.values()))
            cells.append(f"{own['weighted_tau']:.2f} / {own['regret']:.1f}")
        table.append((text, *cells))
    return table
