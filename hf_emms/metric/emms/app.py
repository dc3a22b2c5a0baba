"""The page of the metric's Space: the metric card."""

from pathlib import Path

import gradio

with gradio.Blocks(title="EMMS") as page:
    gradio.Markdown(Path(__file__).with_name("README.md").read_text("utf-8").split("---", 2)[2])
page.launch()
