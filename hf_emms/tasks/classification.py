"""Images, texts and sounds with their classes, or several classes each."""

from hf_emms.heads import ClassHead
from hf_emms.inputs import AUDIO, IMAGE, TEXT
from hf_emms.tasks.task import (
    AUDIO_COLUMN,
    AUDIO_SOURCES,
    CLASS_TYPES,
    ONLY_LABELS,
    RATINGS,
    TEXT_SOURCES,
    Column,
    Task,
    clean_class_name,
    join_sentences,
)

IMAGE_CLASSIFICATION = Task(
    id="image-classification",
    input=IMAGE,
    inputs=(Column("image", ("image", "img", "picture", "photo", "pixel_values"), IMAGE.column_types, IMAGE),),
    label=Column(
        "label",
        (
            *ONLY_LABELS,
            *("fine_label", "coarse_label", "variant", "target", *RATINGS),
        ),
        CLASS_TYPES,
    ),
    categorical=True,
    label_text=clean_class_name,
    head=ClassHead("AutoModelForImageClassification", epochs=10),
    source_tags=("image-feature-extraction",),
)

TEXT_CLASSIFICATION = Task(
    id="text-classification",
    input=TEXT,
    inputs=(
        Column(
            "text",
            ("text", "sentence", "content", "gloss", "review", "document", "question", "tweet"),
            ("string", "strings"),
            TEXT,
            clean=join_sentences,
            is_list=True,
        ),
    ),
    label=Column(
        "label",
        (
            *ONLY_LABELS,
            *("coarse_label", "fine_label", "sentiment", "emotion", "intent", "topic", "stance", "target", *RATINGS),
        ),
        CLASS_TYPES,
    ),
    categorical=True,
    label_text=clean_class_name,
    head=ClassHead("AutoModelForSequenceClassification"),
    aliases=(
        *("acceptability-classification", "hate-speech-detection", "intent-classification", "language-identification"),
        *("sentiment-analysis", "sentiment-classification", "topic-classification"),
    ),
    source_tags=TEXT_SOURCES,
)

AUDIO_CLASSIFICATION = Task(
    id="audio-classification",
    input=AUDIO,
    inputs=(AUDIO_COLUMN,),
    label=Column(
        "label",
        (
            *ONLY_LABELS,
            *("intent_class", "intent", "emotion", "genre", "command", "keyword"),
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
