"""Requests to the Hugging Face Hub; no other package makes any.

Every function that makes requests raises an `EmmsError` if the Hub refuses them or is unreachable.
"""

from hf_emms.hub.account import Account, logged_in, require_push, require_write_token, who_am_i
from hf_emms.hub.client import Kind, RepoNotFoundError, repo_url, retried, translate_hub_errors
from hf_emms.hub.commits import (
    Branch,
    Change,
    Outcome,
    create_dataset,
    is_private,
    planned,
    propose,
    push,
    read_file,
    upload_model,
)
from hf_emms.hub.file_limits import check_sizes, max_bytes
from hf_emms.hub.model_info import (
    HubModel,
    Sort,
    find_models,
    leaderboard_ids,
    read_config,
)
from hf_emms.hub.repos import (
    CANCELLED,
    IGNORED_FILES,
    HubFacts,
    NoMatchingFileError,
    Repo,
    RepoFile,
    cached_revisions,
    check_unchanged,
    content_revision,
    delete_revision,
    fetch,
    listing,
    looks_like_path,
    measured_bandwidth,
    on_this_machine,
    replacement_hint,
    resolve,
)
from hf_emms.hub.spaces_and_jobs import (
    JOB_SUCCEEDED,
    Hardware,
    Job,
    JobSpec,
    hardware,
    job_log,
    job_stage,
    publish_space,
    start_job,
)
