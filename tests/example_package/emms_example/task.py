"""Definitions of words, and what the word is about."""

from hf_emms.tasks import Role, Task


def topic(label: str) -> str:
    """WordNet's "noun.animal" as the words that a text encoder embeds: "animal"."""
    return label.rpartition(".")[2]


GLOSS_TOPIC = Task(
    id="gloss-topic",
    modality="text",
    inputs=(Role("text", ("gloss", "definition", "text"), ("string",)),),
    label=Role("label", ("topic", "lexname", "label"), ("class", "string")),
    categorical=True,
    label_text=topic,
    aliases=("word-topic",),
    sources=("fill-mask", "feature-extraction"),
)
