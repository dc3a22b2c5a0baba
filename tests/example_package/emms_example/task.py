"""Definitions of words, and what the word is about."""

from hf_emms.heads import ClassHead
from hf_emms.inputs import TEXT
from hf_emms.tasks import Column, Task


def topic(label: str) -> str:
    """WordNet's "noun.animal" as the words that a text encoder embeds: "animal"."""
    return label.rpartition(".")[2]


GLOSS_TOPIC = Task(
    id="gloss-topic",
    input=TEXT,
    inputs=(Column("text", ("gloss", "definition", "text"), ("string",), TEXT),),
    label=Column("label", ("topic", "lexname", "label"), ("class", "string")),
    categorical=True,
    label_text=topic,
    head=ClassHead("AutoModelForSequenceClassification"),
    aliases=("word-topic",),
    source_tags=("fill-mask", "feature-extraction"),
)
