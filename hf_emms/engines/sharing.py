"""What several checkpoints of one run share of their inputs."""

from __future__ import annotations

from dataclasses import replace

from hf_emms.engines.engine import Work


def sharing_pictures(work: Work) -> Work:
    """The same work; pictures are decoded and resized once for all checkpoints with the same image processor."""
    if "image" not in work.target.task.modality or len(work.checkpoints) < 2:
        return work
    from hf_emms.features.pixels import PixelStore, keeping

    return replace(work, target=replace(work.target, inputs=keeping(work.target.inputs, PixelStore())))
