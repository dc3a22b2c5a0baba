"""`HfApi` with time-outs; importing this module imports huggingface_hub."""

from __future__ import annotations

from typing import Any

from huggingface_hub import HfApi

READ_SECONDS = 60.0


class Api(HfApi):
    """`HfApi` whose `repo_info` has a time-out and keeps its answer.

    `resolve_revision` returns only the commit of the answer. A second request per checkpoint would count towards the
    rate limit of the Hub.
    """

    info: Any = None

    def repo_info(self, repo_id: str, **options: Any) -> Any:
        self.info = super().repo_info(repo_id, **{"timeout": READ_SECONDS, **options})
        return self.info
