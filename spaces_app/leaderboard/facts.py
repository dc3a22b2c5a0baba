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
    """None is "not known"; `datasets` and `languages` are those that the card names, of training data and texts."""

    downloads: int | None = None
    library: str | None = None
    license: str | None = None
    datasets: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()


NOT_KNOWN = Facts()


@dataclass
class HubFacts:
    """Asks the Hub about repositories, each at most once a day and a limited number at a time."""

    _known: dict[tuple[str, str], tuple[float, Facts]] = field(default_factory=dict)

    def of_checkpoints(self, rankings: Collection[Ranking]) -> Mapping[str, Facts]:
        """Facts by checkpoint id, for those that were measured on the Hub. A checkpoint that is gone has none."""
        rows = (row for ranking in rankings for row in ranking.rows)
        return self._of("model", (row.checkpoint for row in rows if hub_address(row.checkpoint, row.revision)))

    def of_datasets(self, rankings: Collection[Ranking]) -> Mapping[str, Facts]:
        """Facts by dataset id, likewise."""
        return self._of(
            "dataset", (one.dataset_id for one in rankings if hub_address(one.dataset_id, one.dataset_revision))
        )

    def _of(self, kind: str, names: Iterable[str]) -> Mapping[str, Facts]:
        from huggingface_hub import HfApi, errors

        ids = dict.fromkeys(name.partition("@")[0] for name in names)
        known = {id: self._known[kind, id] for id in ids if (kind, id) in self._known}
        now = time.monotonic()
        stale = [id for id in ids if id not in known or now - known[id][0] > KEPT_FOR_SECONDS]
        api = HfApi(token=False)
        for id in stale[:PER_REFRESH]:
            try:
                if kind == "model":
                    info: Any = api.model_info(id, expand=["downloads", "library_name", "tags", "cardData"], timeout=10)
                else:
                    info = api.dataset_info(id, expand=["downloads", "tags"], timeout=10)
            except (errors.RepositoryNotFoundError, errors.HFValidationError):
                self._known[kind, id] = known[id] = (now, NOT_KNOWN)
                continue
            except (errors.HTTPError, errors.OfflineModeIsEnabled, OSError) as error:
                logger.warning("the Hub was not asked about %d repositories: %s", len(stale), type(error).__name__)
                break
            licenses, datasets = (_tagged(info.tags or (), name) for name in ("license:", "dataset:"))
            library = getattr(info, "library_name", None)
            found = Facts(info.downloads, library, next(iter(licenses), None), datasets, _languages(info))
            self._known[kind, id] = known[id] = (now, found)
        return {id: facts for id, (_, facts) in known.items()}


def _tagged(tags: Iterable[str], prefix: str) -> tuple[str, ...]:
    return tuple(tag.removeprefix(prefix) for tag in tags if tag.startswith(prefix))


def _languages(info: Any) -> tuple[str, ...]:
    languages = (getattr(info, "card_data", None) or {}).get("language") or ()
    listed = (languages,) if isinstance(languages, str) else languages
    return tuple(code for code in listed if isinstance(code, str))
