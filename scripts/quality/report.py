"""Markdown tables from the committed results, losers included."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from hf_emms.evaluation import over_targets, weighted_tau
from scripts.quality.confirming import by_features, by_results_elsewhere, mean_of, replayed
from scripts.quality.protocol import ON_SMALL_SAMPLES
from scripts.quality.results import Measured, TargetResult, controls, load
from scripts.quality.unanswerable import SCORED_BY, lines

NAMES = {
    "emms_knn": "EMMS + k-NN, held out (`emms_knn`, the default)",
    "emms": "EMMS, held out (`emms`)",
    "emms_r2": "EMMS, held-out R²",
    "emms_exact": "EMMS, the paper's objective (`emms_exact`)",
    "emms_one_pass": "EMMS, official function (`emms_one_pass`)",
    "emms_alternating": "EMMS, Algorithm 1 (`emms_alternating`)",
    "logme": "LogME on classes, or F-labels where there are none (`logme`)",
    "logme_flabels": "LogME on F-labels (`logme_flabels`)",
    "logme_common": "LogME as widespread code has it (`logme_common`)",
    "hscore": "H-score (`hscore`)",
    "knn": "k-NN (`knn`)",
    "knn_flabels": "k-NN on standardised features and F-labels",
    "linear_probe": "linear probe",
    "transrate": "TransRate",
    "sfda": "SFDA",
    "parc": "PARC",
    "itm": "ITM",
    "dataset-blind": "*control:* mean rank elsewhere (dataset-blind)",
    "parameters": "*control:* parameter count",
    "feature width": "*control:* feature width",
    "random": "*control:* random",
}
ESTIMATORS = tuple(name for name in NAMES if not NAMES[name].startswith("*"))
SIZES = ("200", "500", "all")
LABELS = {
    "demo": "demo, K = 3",
    "static": "static table, K = 1",
    "albert": "small ALBERT, K = 1",
    "gpt2": "WordNet GPT-2, K = 1",
    "minilm": "all-MiniLM-L6-v2 (`base`, the default), K = 1",
    "random": "a random vector a text, K = 1",
}
LAYERED = ("image-classification", "text-classification", "image-to-text")
# Meng et al. 2023 (arXiv 2308.06262), abstract: gain in weighted τ over LogME on F-labels, in per cent.
PAPER_GAINS = {
    "image-classification": 9.0,
    "referring-expression": 26.3,
    "image-to-text": 20.1,
    "visual-question-answering": 54.8,
    "question-answering": 12.2,
}
GAINED = ("emms_knn", "emms", "emms_exact")
# The budget of the micro pool that hf_emms.finetune trained.
AGAIN = "short"
PerTarget = Mapping[str, Measured]


def tables() -> list[tuple[str, str]]:
    """Title and table of the micro pool, in the order of docs/quality.md."""
    _, targets = load()
    scored = {name: {t.name: m for t in targets if (m := t.measures(name))} for name in ESTIMATORS}
    found: dict[str, PerTarget] = {name: own for name, own in scored.items() if own} | controls(targets)
    return [
        ("Targets", _targets(targets)),
        ("Agreement with fine-tuning", _overview(found, targets)),
        ("Weighted τ by task", _by_task(found, targets)),
        ("The paper's gains over LogME", _gains(found, targets)),
        ("Weighted τ by target", _by_target(found, targets)),
        ("Sample size", _sizes(targets)),
        ("Label encoders", _labels(targets)),
        ("Label encoders by task", _labels_by_task(targets)),
        ("Questions without an answer", _unanswerable()),
        ("Layers", _layers(targets)),
        ("Confirming a shortlist", _confirming(targets)),
        ("Confirmed by a Gaussian process", _by_process(targets)),
        ("Trained again", _again(targets)),
        ("Cost", _costs(targets)),
        ("What fine-tuning gave", _truths(targets)),
    ]


def replace_between(page: Path, begin: str, end: str, content: str) -> None:
    """Put content in the place of what stands between two marks of a page."""
    text = page.read_text(encoding="utf-8")
    before, after = text.split(begin)[0], text.split(end)[1]
    page.write_text(f"{before}{begin}{content}{end}{after}", encoding="utf-8")


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def tau_and_regret(measured: Sequence[Measured]) -> str:
    """The means over targets, as a cell; a dash where there are none."""
    if not measured:
        return "–"
    return f"{np.mean([m['weighted_tau'] for m in measured]):.2f} / {np.mean([m['regret'] for m in measured]):.1f}"


def _targets(targets: list[TargetResult]) -> str:
    rows = []
    for target in targets:
        ordered = sorted(target.truth.items(), key=lambda pair: -pair[1])
        runs = [run for own in target.runs.values() for run in own]
        rows.append(
            (
                target.name,
                target.record["task"],
                target.record["half"],
                str(len(ordered)),
                str(len(runs)),
                f"{target.record['measure']} {ordered[-1][1]:.1f} to {ordered[0][1]:.1f}",
                ordered[0][0],
                or_dash(target.seeds_agree),
            )
        )
    head = ("target", "task", "half", "candidates", "fine-tunings", "test scores", "best", "weighted τ of two seeds")
    return markdown(head, rows)


def _mean(found: PerTarget, measure: str, names: Iterable[str] | None = None) -> float:
    values = [found[name][measure] for name in (found if names is None else names) if name in found]
    return float(np.nanmean(values)) if values else float("nan")


def _overview(found: Mapping[str, PerTarget], targets: list[TargetResult]) -> str:
    halves = {half: [t.name for t in targets if t.record["half"] == half] for half in ("held", "dev")}
    rows = []
    for name in sorted(found, key=lambda name: -_mean(found[name], "weighted_tau")):
        own = found[name]
        if not own:
            continue
        low, high = over_targets([own[target]["weighted_tau"] for target in own])
        missing = "" if len(own) == len(targets) else f" ({len(own)} targets)"
        rows.append(
            (
                NAMES[name] + missing,
                f"{_mean(own, 'weighted_tau'):.2f} [{low:.2f}, {high:.2f}]",
                *(f"{_mean(own, 'weighted_tau', halves[half]):.2f}" for half in ("held", "dev")),
                *(f"{_mean(own, measure):.2f}" for measure in ("kendall_tau", "pearson")),
                *(f"{_mean(own, 'regret', names):.1f}" for names in (None, halves["held"])),
                f"{_mean(own, 'pick_in_top'):.0%}",
            )
        )
    head = ("ranked by", "weighted τ [95 %]", "held", "dev", "τ", "Pearson", "regret", "regret, held", "in top 3")
    return markdown(head, rows)


def _by_task(found: Mapping[str, PerTarget], targets: list[TargetResult]) -> str:
    tasks = list(dict.fromkeys(target.record["task"] for target in targets))
    of = {task: [target.name for target in targets if target.record["task"] == task] for task in tasks}
    rows = [
        (NAMES[name], *(or_dash(_mean(own, "weighted_tau", of[task])) for task in tasks)) for name, own in found.items()
    ]
    return markdown(("ranked by", *tasks), rows)


def _gains(found: Mapping[str, PerTarget], targets: list[TargetResult]) -> str:
    """Gains in weighted τ over LogME on F-labels by task, as the paper's abstract counts them."""
    rows = []
    for task, gain in PAPER_GAINS.items():
        own = [target.name for target in targets if target.record["task"] == task]
        base = _mean(found["logme_flabels"], "weighted_tau", own)
        cells = [f"{_mean(found[name], 'weighted_tau', own) / base - 1:+.1%}" for name in GAINED]
        rows.append((task, f"+{gain} %", *(cell.replace("%", " %") for cell in cells)))
    return markdown(("task", "EMMS in the paper", *(NAMES[name] for name in GAINED)), rows)


def _by_target(found: Mapping[str, PerTarget], targets: list[TargetResult]) -> str:
    rows = [
        (NAMES[name], *(or_dash(_mean(own, "weighted_tau", [target.name])) for target in targets))
        for name, own in found.items()
    ]
    return markdown(("ranked by", *(target.name for target in targets)), rows)


def or_dash(value: float | None) -> str:
    """Two decimals, or a dash where there is no number."""
    return "–" if value is None or np.isnan(value) else f"{value:.2f}"


def _sizes(targets: list[TargetResult]) -> str:
    """Only targets that have more rows than the larger sample."""
    full = [t for t in targets if all(t.measures("emms", rows=size) for size in SIZES)]
    rows = []
    for name in ON_SMALL_SAMPLES:
        cells = []
        for size in SIZES:
            own = [m for t in full if (m := t.measures(name, rows=size))]
            cells.append(tau_and_regret(own))
        rows.append((NAMES[name], *cells))
    return markdown(("weighted τ / regret", "N = 200", "N = 500", "all rows"), rows)


def _labels(targets: list[TargetResult]) -> str:
    rows = []
    for labels, text in LABELS.items():
        cells = []
        for name in ("emms_knn", "emms", "logme_flabels"):
            own = [m for t in targets if (m := t.measures(name, labels))]
            cells.append(tau_and_regret(own))
        rows.append((text, *cells))
    head = ("label encoders (weighted τ / regret)", "EMMS + k-NN", "EMMS, held out", "LogME on F-labels")
    return markdown(head, rows)


def _labels_by_task(targets: list[TargetResult]) -> str:
    """Weighted τ of the default estimator."""
    tasks = list(dict.fromkeys(target.record["task"] for target in targets))
    of = {task: [target.name for target in targets if target.record["task"] == task] for task in tasks}
    rows = []
    for labels, text in LABELS.items():
        own = {t.name: m for t in targets if (m := t.measures("emms_knn", labels))}
        rows.append((text, *(f"{_mean(own, 'weighted_tau', of[task]):.2f}" for task in tasks)))
    return markdown(("weighted τ of EMMS + k-NN", *tasks), rows)


def _unanswerable() -> str:
    """XQuAD with the answers of a third of its questions removed."""
    return markdown(("rows of questions without an answer (weighted τ / regret)", *map(NAMES.get, SCORED_BY)), lines())


def _layers(targets: list[TargetResult]) -> str:
    """Targets whose candidates show hidden layers."""
    showing = [t for t in targets if t.record["task"] in LAYERED]
    rows = []
    for name in ("emms_knn", "emms", "logme", "knn"):
        cells = []
        for labels in ("demo", "last-layer", "mean-layer"):
            own = [m for t in showing if (m := t.measures(name, labels))]
            cells.append(tau_and_regret(own))
        rows.append((NAMES[name], *cells))
    head = (f"weighted τ / regret ({len(showing)} targets)", "spread (the default)", "last layer", "mean of layers")
    return markdown(head, rows)


def _confirming(targets: list[TargetResult]) -> str:
    """The estimate alone, and its first candidates fine-tuned, over both halves."""
    held = [target for target in targets if target.record["half"] == "held"]
    rows = []
    for title, count in (("estimate", 0), *((f"confirm {k}", k) for k in (1, 2, 3, 4, 5)), ("everything", 99)):
        own, own_held = (mean_of([replayed(t, count) for t in some]) for some in (targets, held))
        worst = max((replayed(t, count).regret, t.name) for t in targets)
        cells = (f"{own.regret:.2f}", f"{own_held.regret:.2f}", f"{worst[0]:.1f} ({worst[1]})", f"{own.runs:.0f}")
        rows.append((title, *cells, f"{own.seconds * len(targets) / 3600:.2f}"))
    head = ("decided by", "regret", "regret, held", "worst target", "runs a target", "CPU hours, all targets")
    return markdown(head, rows)


def _by_process(targets: list[TargetResult]) -> str:
    """The same number of candidates, chosen by a Gaussian process instead of the estimate's order."""
    kernels = {"likeness by results elsewhere": by_results_elsewhere(targets), "likeness by features": by_features}
    rows = []
    for count in (1, 2, 3, 4, 5):
        first = [replayed(target, count).regret for target in targets]
        cells = [str(count), f"{np.mean(first):.2f}"]
        for kernel in kernels.values():
            process = [replayed(target, count, by_process=kernel).regret for target in targets]
            low, high = over_targets([a - b for a, b in zip(process, first, strict=True)])
            cells.append(f"{np.mean(process):.2f} [{low:.2f}, {high:.2f}]")
        rows.append(tuple(cells))
    names = (f"Gaussian process, {name} [95 % of the difference]" for name in kernels)
    return markdown(("candidates (regret)", "in the estimate's order", *names), rows)


def _again(targets: list[TargetResult]) -> str:
    """Targets that hf_emms.finetune trained anew with one seed, against the runs that the other tables have."""
    rows = []
    for target in targets:
        again = target.at(AGAIN)
        if again is None or len(again.candidates) < len(target.candidates):
            continue
        seeds = [own for seed in (0, 1) if (own := target.by_seed(seed)) is not None]
        agreed = [weighted_tau(list(again.truth.values()), list(own.values())) for own in seeds]
        best = max(target.truth.values())
        # the shortlist's validation scores are the new ones, regret is of the older runs' means
        order = [target.candidates[i] for i in np.argsort(-np.mean(target.scores("emms_knn"), axis=0), kind="stable")]
        validation = {name: max(run[2] for run in runs) for name, runs in again.runs.items()}
        regrets = [best - target.truth[max(order[:k], key=lambda name: validation[name])] for k in (1, 3)]
        new = again.agreement(np.mean(again.scores("emms_knn"), axis=0))
        rows.append(
            (
                target.name,
                target.record["task"],
                f"{np.mean(agreed):.2f}",
                or_dash(target.seeds_agree),
                f"{np.mean([again.truth[name] - target.truth[name] for name in target.candidates]):+.1f}",
                f"{new['weighted_tau']:.2f}",
                *(f"{regret:.1f}" for regret in regrets),
            )
        )
    head = ("target", "task", "weighted τ with one older seed", "of two older seeds", "mean difference, points")
    return markdown((*head, "weighted τ of EMMS + k-NN", "regret, estimate", "regret, confirm 3 by new runs"), rows)


def _costs(targets: list[TargetResult]) -> str:
    tuned = [run[4] for t in targets for runs in t.runs.values() for run in runs]
    rows = [("one fine-tuning", f"{np.median(tuned):.1f} s", f"{max(tuned):.0f} s")]
    for name in ESTIMATORS:
        spent = [own[name] for t in targets for own in t.record["seconds"].values() if name in own]
        if spent:
            rows.append((NAMES[name], f"{np.median(spent) * 1000:.0f} ms", f"{max(spent):.1f} s"))
    return markdown(("work on one candidate", "median", "most"), rows)


def _truths(targets: list[TargetResult]) -> str:
    names = list(dict.fromkeys(name for target in targets for name in target.candidates))
    rows = [
        (name, *(f"{target.truth[name]:.1f}" if name in target.truth else "" for target in targets)) for name in names
    ]
    return markdown(("candidate", *(target.name for target in targets)), rows)
