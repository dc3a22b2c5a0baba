"""Facts of checkpoints from the Hub: downloads, library, license, training data, languages."""

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
    """Facts of a repository, None if unknown. `datasets` (of training) and `languages` come from the card."""

    downloads: int | None = None
    library: str | None = None
    license: str | None = None
    datasets: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()


NOT_KNOWN = Facts()


@dataclass
class HubFacts:
    """Facts from the Hub, which are requested at most once per repository and day, and few at a time."""

    _known: dict[str, tuple[float, Facts]] = field(default_factory=dict)

    def of_checkpoints(self, rankings: Collection[Ranking]) -> Mapping[str, Facts]:
        """Return checkpoint id → facts, for the Hub's checkpoints in the rankings."""
        from huggingface_hub import HfApi, errors

        rows = (row for ranking in rankings for row in ranking.rows)
        ids = dict.fromkeys(
            row.checkpoint.partition("@")[0] for row in rows if hub_address(row.checkpoint, row.revision)
        )
        now = time.monotonic()
        stale = [id for id in ids if id not in self._known or now - self._known[id][0] > KEPT_FOR_SECONDS]
        api = HfApi(token=False)
        for id in stale[:PER_REFRESH]:
            try:
                info = api.model_info(id, expand=["downloads", "library_name", "tags", "cardData"], timeout=10)
            except (errors.RepositoryNotFoundError, errors.HFValidationError):
                self._known[id] = (now, NOT_KNOWN)
                continue
            except (errors.HTTPError, errors.OfflineModeIsEnabled, OSError) as error:
                logger.warning("no facts of %d repositories: %s", len(stale), type(error).__name__)
                break
            licenses, datasets = (_tagged(info.tags or (), name) for name in ("license:", "dataset:"))
            license = next(iter(licenses), None)
            self._known[id] = (now, Facts(info.downloads, info.library_name, license, datasets, _languages(info)))
        return {id: self._known[id][1] for id in ids if id in self._known}


def _tagged(tags: Iterable[str], prefix: str) -> tuple[str, ...]:
    return tuple(tag.removeprefix(prefix) for tag in tags if tag.startswith(prefix))


def _languages(info: Any) -> tuple[str, ...]:
    languages = (getattr(info, "card_data", None) or {}).get("language") or ()
    listed = (languages,) if isinstance(languages, str) else languages
    return tuple(code for code in listed if isinstance(code, str))
