"""Make the demo's dataset of spoken words."""

from __future__ import annotations

from datasets import Audio, ClassLabel, Value

from scripts.demo import sounds
from scripts.demo.tables import write_dataset

WORDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
# No checkpoint of the demo is trained on these.
VOICES = sounds.voices(
    ("en-us", "en-gb", "en-gb-scotland", "en-029"),
    ("m1", "f1", "m3", "f3", "m5", "f5", "m7", "Alex", "Annie", "Denis", "Hugo", "Mario", "Andy", "linda", "ed", "zac"),
)


def spoken_words() -> None:
    """Write ten words in sixteen voices."""
    pairs = [(word, voice) for voice in VOICES for word in WORDS]
    write_dataset(
        "spoken-words",
        {"audio": Audio(), "label": ClassLabel(names=list(WORDS)), "voice": Value("string")},
        [(sounds.flac(sounds.spoken(word, voice)), WORDS.index(word), voice.name) for word, voice in pairs],
        title="Spoken words",
        license="apache-2.0",
        task="audio-classification",
        text=(
            f"{len(pairs)} clips at {sounds.STORED_RATE:,} Hz: {len(WORDS)} words ({', '.join(WORDS)}), each said once "
            f"by {len(VOICES)} voices of the speech synthesiser espeak-ng."
        ),
    )
