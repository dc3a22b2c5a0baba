"""What hf_emms writes to the Hub: put together here, sent by the hub room."""

from __future__ import annotations

from hf_emms import hub
from hf_emms.errors import EmmsError
from hf_emms.metrics.install import source_folder

# What Python leaves behind, and the file that makes the folder a package of hf_emms.
_NOT_OF_THE_METRIC = ("__init__.py", "*.pyc", "__pycache__/*")


def publish_metric(repo_id: str, *, private: bool = False) -> str:
    """Publishes the metric as a Gradio Space, in one commit; an existing Space is updated.

    Args:
        repo_id: "USER/emms": ``evaluate.load`` asks a Space for the file that has the Space's name.
        private: of a Space that is made anew.

    Returns:
        The address of the commit.

    Raises:
        EmmsError: another name, no right to write there, or the Hub cannot be reached.
    """
    owner, _, name = repo_id.partition("/")
    if name != "emms":
        raise EmmsError(
            f"{repo_id!r} cannot hold the metric: evaluate.load looks for emms.py in a Space called emms",
            f"--repo-id {owner if name else 'USER'}/emms",
        )
    message = "EMMS: the metric, its card and its page"
    return hub.publish_space(repo_id, source_folder(), message=message, private=private, ignore=_NOT_OF_THE_METRIC)
