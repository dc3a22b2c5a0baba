"""Facts of checkpoints and datasets from the Hub: downloads, library, license, training data, languages."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from hf_emms.ranking import Ranking
from leaderboard.markup import hub_address

logger = logging.getLogger(__name__)

KEPT_FOR_SECONDS = 24 * 3600.0
PER_REFRESH = 300


@dataclass(frozen=True)
class Facts:
    """Facts of a repository, None where unknown; the card names the `datasets` of training and the `languages`."""

    downloads: int | None = None
    library: str | None = None
    license: str | None = None
    datasets: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()


NOT_KNOWN = Facts()


@dataclass
class HubFacts:
    """Facts from the Hub, which is asked about each repository at most once a day, and about few at a time."""

    _known: dict[tuple[str, str], tuple[float, Facts]] = field(default_factory=dict)

    def of_checkpoints(self, rankings: Collection[Ranking]) -> Mapping[str, Facts]:
        """Return facts by checkpoint id, of the Hub's checkpoints in the rankings, but of none that is gone."""
        rows = (row for ranking in rankings for row in ranking.rows)
        return self._of("model", (row.checkpoint for row in rows if hub_address(row.checkpoint, row.revision)))

    def of_datasets(self, rankings: Collection[Ranking]) -> Mapping[str, Facts]:
        """Return facts by dataset id, of the Hub's datasets in the rankings."""
        return self._of(
            "dataset",
            (ranking.dataset_id for ranking in rankings if hub_address(ranking.dataset_id, ranking.dataset_revision)),
        )

    def _of(self, kind: str, names: Iterable[str]) -> Mapping[str, Facts]:
        from huggingface_hub import HfApi, errors

        ids = dict.fromkeys(name.partition("@")[0] for name in names)
        cached = {id: self._known[kind, id] for id in ids if (kind, id) in self._known}
        now = time.monotonic()
        stale = [id for id in ids if id not in cached or now - cached[id][0] > KEPT_FOR_SECONDS]
        api = HfApi(token=False)
        for id in stale[:PER_REFRESH]:
            try:
                if kind == "model":
                    info: Any = api.model_info(id, expand=["downloads", "library_name", "tags", "cardData"], timeout=10)
                else:
                    info = api.dataset_info(id, expand=["downloads", "tags"], timeout=10)
            except (errors.RepositoryNotFoundError, errors.HFValidationError):
                self._known[kind, id] = cached[id] = (now, NOT_KNOWN)
                continue
            except (errors.HTTPError, errors.OfflineModeIsEnabled, OSError) as error:
                logger.warning("the Hub was not asked about %d repositories: %s", len(stale), type(error).__name__)
                break
            licenses, datasets = (_tagged(info.tags or (), name) for name in ("license:", "dataset:"))
            library = getattr(info, "library_name", None)
            facts = Facts(info.downloads, library, next(iter(licenses), None), datasets, _languages(info))
            self._known[kind, id] = cached[id] = (now, facts)
        return {id: facts for id, (_, facts) in cached.items()}


def _tagged(tags: Iterable[str], prefix: str) -> tuple[str, ...]:
    return tuple(tag.removeprefix(prefix) for tag in tags if tag.startswith(prefix))


def _languages(info: Any) -> tuple[str, ...]:
    languages = (getattr(info, "card_data", None) or {}).get("language") or ()
    listed = (languages,) if isinstance(languages, str) else languages
    return tuple(code for code in listed if isinstance(code, str))
