"""Sounds and their classes, or several classes each."""

from hf_emms.heads import ClassHead
from hf_emms.inputs import AUDIO
from hf_emms.tasks.task import AUDIO_COLUMN, AUDIO_SOURCES, CLASS_TYPES, Column, Task, clean_class_name

AUDIO_CLASSIFICATION = Task(
    id="audio-classification",
    input=AUDIO,
    inputs=(AUDIO_COLUMN,),
    label=Column(
        "label",
        (
            "label",
            "labels",
            "class",
            "classes",
            "category",
            "intent_class",
            "intent",
            "emotion",
            "genre",
            "command",
            "keyword",
        ),
        CLASS_TYPES,
    ),
    categorical=True,
    label_text=clean_class_name,
    head=ClassHead("AutoModelForAudioClassification", epochs=10),
    aliases=(
        *("keyword-spotting", "speaker-identification", "audio-intent-classification"),
        *("audio-emotion-recognition", "audio-language-identification"),
    ),
    source_tags=AUDIO_SOURCES,
)
