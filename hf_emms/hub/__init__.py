"""The Hugging Face Hub: the only package that makes requests to it."""

from hf_emms.hub.account import Account, logged_in, require_jobs, require_proposal, require_push, who_am_i
from hf_emms.hub.client import limited_streaming, retried, translate_hub_errors
from hf_emms.hub.commits import TRIES_AMONG_MANY, Outcome, Read, create_dataset, is_private, propose, push, read_file
from hf_emms.hub.jobs import DONE, Hardware, Job, JobSpec, hardware, job_log, job_stage, start_job
from hf_emms.hub.model_info import (
    Evaluation,
    HubModel,
    Sort,
    count_parameters,
    evaluations,
    find_models,
    read_config,
)
from hf_emms.hub.refusals import RepoNotFoundError
from hf_emms.hub.repos import (
    LEFT_OUT,
    HubFacts,
    Repo,
    RepoFile,
    content_revision,
    conversions,
    fetch,
    listing,
    looks_like_path,
    on_this_machine,
    resolve,
)
from hf_emms.hub.session import CANCELLED, Kind, other_endpoint, page
from hf_emms.hub.spaces import publish_space, wait_for_space

__all__ = [
    "CANCELLED",
    "DONE",
    "LEFT_OUT",
    "TRIES_AMONG_MANY",
    "Account",
    "Evaluation",
    "Hardware",
    "HubFacts",
    "HubModel",
    "Job",
    "JobSpec",
    "Kind",
    "Outcome",
    "Read",
    "Repo",
    "RepoFile",
    "RepoNotFoundError",
    "Sort",
    "content_revision",
    "conversions",
    "count_parameters",
    "create_dataset",
    "evaluations",
    "fetch",
    "find_models",
    "hardware",
    "is_private",
    "job_log",
    "job_stage",
    "limited_streaming",
    "listing",
    "logged_in",
    "looks_like_path",
    "on_this_machine",
    "other_endpoint",
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
    "translate_hub_errors",
    "wait_for_space",
    "who_am_i",
]
