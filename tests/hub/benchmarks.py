"""Benchmarks: datasets with an eval.yaml, whose leaderboard gathers .eval_results/*.yaml of checkpoints."""

from __future__ import annotations

from typing import Any

import yaml

from .access import may_see, readable
from .describe import card_data
from .messages import HubError, Request, Response, reply, route
from .store import Commit

BENCHMARK_FILE = "eval.yaml"


@route("GET", "/api/datasets/{repo}/leaderboard")
def leaderboard(request: Request, repo: str) -> Response:
    found, store = readable(request, "datasets", repo), request.hub.store
    head = found.resolve("main")
    if head is None or BENCHMARK_FILE not in head.files:
        raise HubError(400, f"{repo} is not a benchmark")
    entries = []
    for model in store.repos.values():
        commit = model.resolve("main")
        if model.kind != "model" or commit is None or not may_see(model, request.token):
            continue
        # Fine-tunings of other checkpoints are listed on request only.
        if request.one("base_model") not in ("false", "False") and card_data(store, commit).get("base_model"):
            continue
        author = {"type": "user", "name": model.namespace, "fullname": model.namespace.title(), "avatarUrl": ""}
        entries += [
            {"modelId": model.id, "value": value, "filename": path, "verified": False, "author": author}
            for path, value in _results(store, commit, repo)
        ]
    entries.sort(key=lambda entry: entry["value"], reverse=True)
    return reply([{"rank": rank, **entry} for rank, entry in enumerate(entries, 1)])


def _results(store: Any, commit: Commit, dataset: str) -> list[tuple[str, float]]:
    files = {path: file for path, file in commit.files.items() if path.startswith(".eval_results/")}
    parsed = {path: yaml.safe_load(store.blob(file.sha256).read_text()) or [] for path, file in files.items()}
    return [(path, one["value"]) for path, all in parsed.items() for one in all if one["dataset"]["id"] == dataset]
