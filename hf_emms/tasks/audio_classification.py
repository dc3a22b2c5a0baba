"""Sounds and their classes, one or several."""

from hf_emms.inputs import AUDIO
from hf_emms.tasks.heads import class_metrics, class_spec
from hf_emms.tasks.task import AUDIO_COLUMN, AUDIO_SOURCES, CLASS_TYPES, Column, Head, Task, clean_class_name

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
    head=Head("row", "AutoModelForAudioClassification", class_metrics, class_spec, epochs=10),
    aliases=("sound-classification",),
    source_tags=AUDIO_SOURCES,
)
