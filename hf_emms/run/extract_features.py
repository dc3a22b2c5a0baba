"""The features of a checkpoint as an array, for scores of the user's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_emms import hub
from hf_emms.errors import EmmsError, setting_ref
from hf_emms.features.device import gather_batches
from hf_emms.features.feature_spec import plan_extraction
from hf_emms.inputs import MODALITIES, Modality, UnusableError
from hf_emms.options import LAST, layer_names
from hf_emms.run.models_in_memory import saved_models

if TYPE_CHECKING:
    from hf_emms.run.rank import CheckpointLike


def extract_features(
    checkpoint: CheckpointLike,
    inputs: Iterable[Any],
    *,
    layer: str | int = LAST,
    device: str = "auto",
    dtype: str = "auto",
    batch_size: int | None = None,
    allow_pickle: bool = False,
    trust_remote_code: bool = False,
) -> np.ndarray:
    """Return a checkpoint's features of inputs, as rankings use them at a layer.

    Args:
        checkpoint: a Hub model id (``ORG/NAME[@REVISION]``), a folder or a model in memory, as in `rank`.
        inputs: N texts or pictures of PIL.
        layer: "last" (the pooling of the table of architectures), "mean" over all hidden layers, or a layer's number.
        device: as for `rank`, like the arguments that follow.
        dtype: precision of the checkpoint.
        batch_size: inputs a batch; chosen by default.
        allow_pickle: unpickle weights in full, which can run code.
        trust_remote_code: run code from the checkpoint's repository.

    Returns:
        float32 (N, D1), a row for each input, in order.

    Raises:
        EmmsError: inputs of no kind that checkpoints read, or a checkpoint that cannot be used.

    Example:
        >>> extract_features("emms-demo/bert-random", ["a text", "another"], device="cpu").shape
        (2, 32)
    """
    kind, contents = _read(inputs)
    layers = layer_names(layer)
    if len(layers) != 1:
        raise EmmsError(f"layer is {layer!r:.80}; it must be one", setting_ref("layers", LAST))
    with saved_models(checkpoint) as (saved, _):
        ids = saved if isinstance(saved, list) else [saved]
        if len(ids) != 1:
            raise EmmsError(f"checkpoint is {checkpoint!r:.80}; it must be one", setting_ref("checkpoint", "ORG/NAME"))
        repo = hub.resolve(str(ids[0]), "model")
        plan = plan_extraction(repo, kind, "extract_features", dtype=dtype, trust_remote_code=trust_remote_code)
        extractor = kind.load_extractor(plan, device=device, allow_pickle=allow_pickle, layers=layers)
        try:
            batches = extractor.batches(kind.collect(contents), batch_size=batch_size)
            return gather_batches(batches, len(contents))
        finally:
            extractor.close()


def _read(inputs: Iterable[Any]) -> tuple[Modality, list[Any]]:
    """Return the kind of the inputs, and their contents."""
    import datasets

    hint = 'inputs=["a text", …] or inputs=[PIL.Image.open("a.png"), …]'
    # A text is an iterable of letters, a table of the names of its columns.
    if not isinstance(inputs, Iterable) or isinstance(inputs, (str, bytes, Mapping)) or hasattr(inputs, "columns"):
        described = f"a {type(inputs).__name__} of columns" if hasattr(inputs, "columns") else f"{inputs!r:.80}"
        raise EmmsError(f"inputs is {described}; it must be a list", hint)
    inputs = list(inputs)
    if not inputs:
        raise EmmsError("there are no inputs to extract features from", hint)
    try:
        rows = datasets.Dataset.from_dict({"input": inputs})
    except (ValueError, TypeError, OverflowError) as error:
        raise EmmsError(f"the inputs cannot be read: {error}", hint) from error
    feature = rows.features["input"]
    kind = next((kind for kind in MODALITIES.values() if kind.holds(feature)), None)
    if kind is None:
        raise EmmsError(f"no checkpoint reads inputs such as {inputs[0]!r:.80}", hint)
    try:
        return kind, [kind.read(value, "input") for value in rows.data.column("input").to_pylist()]
    except UnusableError as error:
        raise EmmsError(f"an input cannot be used: {error}", hint) from error
