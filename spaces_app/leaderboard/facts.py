"""Facts of checkpoints from the Hub: downloads, library, licence, training data."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from hf_emms.ranking import Row
from leaderboard.markup import hub_address

logger = logging.getLogger(__name__)

KEPT_FOR_SECONDS = 24 * 3600.0
PER_REFRESH = 300


@dataclass(frozen=True)
class Facts:
    """None is "not known"; `datasets` are those that the card names as training data."""

    downloads: int | None = None
    library: str | None = None
    licence: str | None = None
    datasets: tuple[str, ...] = ()


@dataclass
class FactsOfCheckpoints:
    """Asks the Hub about checkpoints, each at most once a day and a limited number at a time."""

    _known: dict[str, tuple[float, Facts]] = field(default_factory=dict)

    def of(self, rows: Iterable[Row]) -> Mapping[str, Facts]:
        """Facts by checkpoint id, for those that were measured on the Hub. A checkpoint that is gone has none."""
        from huggingface_hub import HfApi, errors

        ids = dict.fromkeys(
            row.checkpoint.partition("@")[0] for row in rows if hub_address(row.checkpoint, row.revision)
        )
        now = time.monotonic()
        stale = [id for id in ids if id not in self._known or now - self._known[id][0] > KEPT_FOR_SECONDS]
        api = HfApi(token=False)
        for id in stale[:PER_REFRESH]:
            try:
                info = api.model_info(id, expand=["downloads", "library_name", "tags"], timeout=10)
            except (errors.RepositoryNotFoundError, errors.HFValidationError):
                self._known[id] = (now, Facts())
                continue
            except (errors.HTTPError, errors.OfflineModeIsEnabled, OSError) as error:
                logger.warning("the Hub was not asked about %d checkpoints: %s", len(stale), type(error).__name__)
                break
            licences, datasets = (_tagged(info.tags or (), name) for name in ("license:", "dataset:"))
            self._known[id] = (now, Facts(info.downloads, info.library_name, next(iter(licences), None), datasets))
        return {id: self._known[id][1] for id in ids if id in self._known}


def _tagged(tags: Iterable[str], prefix: str) -> tuple[str, ...]:
    return tuple(tag.removeprefix(prefix) for tag in tags if tag.startswith(prefix))
