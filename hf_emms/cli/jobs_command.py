"""hf-emms jobs."""

from __future__ import annotations

import cloup

from hf_emms.cli.output import format_option, out


@cloup.command(short_help="List the Hugging Face Jobs that hf-emms has started.")
@format_option()
def jobs() -> None:
    """List your jobs that --engine jobs has started, the latest first.

    hf jobs logs ID and hf jobs cancel ID take the ids.
    """
    from hf_emms import hub
    from hf_emms.run.ranking_job import LABELS

    account = hub.who_am_i()
    found = hub.list_jobs(account, LABELS)
    rows = [(job.id, job.stage, job.created, job.flavor, job.labels.get("subject", ""), job.url) for job in found]
    out.records(("id", "stage", "created", "flavor", "subject", "url"), rows)
