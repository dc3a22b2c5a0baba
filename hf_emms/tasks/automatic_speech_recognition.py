"""Speech and its transcripts."""

from hf_emms.heads import TranscriptHead
from hf_emms.inputs import AUDIO
from hf_emms.tasks.task import AUDIO_COLUMN, Column, Task, clean_caption

AUTOMATIC_SPEECH_RECOGNITION = Task(
    id="automatic-speech-recognition",
    input=AUDIO,
    inputs=(AUDIO_COLUMN,),
    label=Column(
        "text",
        ("transcription", "transcript", "sentence", "normalized_text", "text", "raw_text", "transcripts", "txt"),
        ("string",),
    ),
    categorical=False,
    label_text=clean_caption,
    label_noun="transcript",
    head=TranscriptHead(),
    aliases=("asr",),
    source_tags=("feature-extraction", "audio-classification"),
    estimators=("emms_knn", "emms", "word_error_rate"),
)
