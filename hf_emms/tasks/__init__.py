"""The tasks that hf_emms ranks for. A new task is a record and a line here, or an entry point of another package."""

from hf_emms.errors import EmmsError
from hf_emms.options.calls import checked_call
from hf_emms.options.registry import Registry
from hf_emms.tasks.automatic_speech_recognition import AUTOMATIC_SPEECH_RECOGNITION
from hf_emms.tasks.classification import AUDIO_CLASSIFICATION, IMAGE_CLASSIFICATION, TEXT_CLASSIFICATION
from hf_emms.tasks.image_text_to_text import IMAGE_TEXT_TO_TEXT
from hf_emms.tasks.image_to_text import IMAGE_TO_TEXT
from hf_emms.tasks.preference import PREFERENCE
from hf_emms.tasks.question_answering import QUESTION_ANSWERING
from hf_emms.tasks.referring_expression import REFERRING_EXPRESSION
from hf_emms.tasks.regression import IMAGE_REGRESSION, REGRESSION
from hf_emms.tasks.search import TEXT_RANKING, TEXT_RETRIEVAL
from hf_emms.tasks.sentence_similarity import SENTENCE_SIMILARITY
from hf_emms.tasks.task import Column, Example, Item, NumericLabels, Task, clean_class_name
from hf_emms.tasks.text_pair_classification import TEXT_PAIR_CLASSIFICATION
from hf_emms.tasks.token_classification import SPAN_CLASSIFICATION, TOKEN_CLASSIFICATION
from hf_emms.tasks.visual_question_answering import VISUAL_QUESTION_ANSWERING
from hf_emms.tasks.writing import SUMMARIZATION, TEXT_GENERATION, TRANSLATION
from hf_emms.texts import Text, setting_ref

__all__ = [
    "TASKS",
    "Column",
    "Example",
    "Item",
    "NumericLabels",
    "Task",
    "clean_class_name",
    "get_task",
    "hub_tag",
    "list_tasks",
    "use_column",
]

_OURS = (
    IMAGE_CLASSIFICATION,
    IMAGE_TO_TEXT,
    VISUAL_QUESTION_ANSWERING,
    TEXT_CLASSIFICATION,
    QUESTION_ANSWERING,
    REFERRING_EXPRESSION,
    REGRESSION,
    IMAGE_REGRESSION,
    TEXT_PAIR_CLASSIFICATION,
    SENTENCE_SIMILARITY,
    TOKEN_CLASSIFICATION,
    SPAN_CLASSIFICATION,
    TEXT_GENERATION,
    SUMMARIZATION,
    TRANSLATION,
    PREFERENCE,
    IMAGE_TEXT_TO_TEXT,
    TEXT_RETRIEVAL,
    TEXT_RANKING,
    AUDIO_CLASSIFICATION,
    AUTOMATIC_SPEECH_RECOGNITION,
)

TASKS: Registry[Task] = Registry("hf_emms.tasks", Task, _OURS, names=lambda task: (task.id, *task.aliases))


def get_task(name: str) -> Task:
    """Return the task with this id or alias; case, spaces and underscores do not matter.

    Raises:
        EmmsError: No supported task has this name, or the package that adds it is broken.
    """
    id = name.strip().lower().replace("_", "-").replace(" ", "-")
    task = TASKS.find(id)
    if task is None:
        raise EmmsError(
            "unknown-task",
            f"the task {name!r} is not supported",
            "choose " + setting_ref("task") + f" from: {', '.join(TASKS)}",
        )
    return task


def hub_tag(task_id: str) -> str:
    """Return the Hub's tag of a task; the id itself for unknown tasks."""
    task = TASKS.find(task_id)
    return task.pipeline_tags[0] if task is not None else task_id


@checked_call
def list_tasks() -> list[str]:
    """Return the ids of all tasks, including tasks of installed packages."""
    return [task.id for task in TASKS.values()]


def use_column(role: str, *columns: str) -> Text:
    """Return a reference to the setting for a role's column, with suggested columns."""
    return setting_ref(f"{role}_column", *(columns or (...,)))
