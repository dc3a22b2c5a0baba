"""hf-emms presets."""

from __future__ import annotations

import click

from hf_emms.cli import output


@click.command(short_help="List datasets, checkpoint lists, label encoders and estimators.")
@click.option("--format", "format", type=click.Choice(output.LIST_FORMATS), help="[default: table; tsv in a pipe]")
def presets(format: str | None) -> None:
    """List what --dataset, --encoder and --estimator take, and which checkpoints a task ranks by default."""
    from hf_emms.errors import EmmsError
    from hf_emms.presets import (
        checkpoint_preset,
        dataset_names,
        dataset_preset,
        encoder_preset,
        encoder_presets,
        usable_datasets,
    )
    from hf_emms.scoring.estimators import ESTIMATORS
    from hf_emms.tasks import TASKS

    rows: list[tuple[str, str, str, str]] = []
    usable = usable_datasets()
    for name in dataset_names():
        preset = dataset_preset(name)
        if preset is not None:
            held = preset.id or "not on the Hub: pass a folder"
            note = "" if name in usable or preset.id is None else " (not supported yet)"
            rows.append(("dataset", name, preset.task, held + note))
    for task in TASKS:
        try:
            rows += [("checkpoint", task, task, id) for id in checkpoint_preset(task)]
        except EmmsError:
            continue  # a task without a list of its own
    rows += [("encoder", name, "", id) for name in encoder_presets() for id in encoder_preset(name)]
    rows += [("estimator", estimator.name, "", estimator.summary) for estimator in ESTIMATORS.values()]
    output.print_records(("kind", "name", "task", "what"), rows, format or output.default_format())
