"""The Hugging Face Hub: the only room that talks to its API."""

from hf_emms.hub.account import Account, require_proposal, require_push, who_am_i
from hf_emms.hub.connection import Kind, RepoNotFoundError, explained, page
from hf_emms.hub.evaluations import Evaluation, evaluations
from hf_emms.hub.jobs import DONE, Hardware, Job, hardware, job_log, job_stage, require_jobs, start_job
from hf_emms.hub.patience import CALLED_OFF, deadline, hub_error_behind, retried
from hf_emms.hub.read import (
    LEFT_OUT,
    Repo,
    RepoFile,
    content_revision,
    fetch,
    listing,
    looks_like_path,
    on_this_machine,
    resolve,
)
from hf_emms.hub.search import SORTS, Found, Sort, count_parameters, find_models, logged_in, read_config
from hf_emms.hub.spaces import publish_space, wait_for_space
from hf_emms.hub.write import (
    TRIES_AMONG_MANY,
    Outcome,
    Read,
    create_dataset,
    propose,
    push,
    read_file,
)

__all__ = [
    "CALLED_OFF",
    "DONE",
    "LEFT_OUT",
    "SORTS",
    "TRIES_AMONG_MANY",
    "Account",
    "Evaluation",
    "Found",
    "Hardware",
    "Job",
    "Kind",
    "Outcome",
    "Read",
    "Repo",
    "RepoFile",
    "RepoNotFoundError",
    "Sort",
    "content_revision",
    "count_parameters",
    "create_dataset",
    "deadline",
    "evaluations",
    "explained",
    "fetch",
    "find_models",
    "hardware",
    "hub_error_behind",
    "job_log",
    "job_stage",
    "listing",
    "logged_in",
    "looks_like_path",
    "on_this_machine",
    "page",
    "propose",
    "publish_space",
    "push",
    "read_config",
    "read_file",
    "require_jobs",
    "require_proposal",
    "require_push",
    "resolve",
    "retried",
    "start_job",
    "wait_for_space",
    "who_am_i",
]
