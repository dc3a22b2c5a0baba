"""Rankings as sections of model cards and dataset cards. Data and bytes in, text and bytes out."""

from hf_emms.publish.cards.entries import pinned, rank_command
from hf_emms.publish.cards.publish import update_dataset_card, update_model_card
from hf_emms.publish.cards.render import render_dataset_section, render_section, rendered_template

__all__ = [
    "pinned",
    "rank_command",
    "render_dataset_section",
    "render_section",
    "rendered_template",
    "update_dataset_card",
    "update_model_card",
]
