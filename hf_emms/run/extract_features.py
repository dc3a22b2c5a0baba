"""Return the features of a checkpoint as an array."""

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
        checkpoint: A Hub model id (``ORG/NAME[@REVISION]``) or a folder.
        inputs: N texts or PIL images.
        layer: "last" (the default pooling of the architecture), "mean" over all hidden layers, or the number of a
            layer.
        device: See `rank`.
        dtype: The precision of the checkpoint.
        batch_size: The number of inputs per batch. By default chosen automatically.
        allow_pickle: Unpickle weights that contain more than tensors. This can run code.
        trust_remote_code: Run code from the checkpoint's repository.

    Returns:
        float32 (N, D1), one row per input, in order.

    Raises:
        EmmsError: Checkpoints cannot read the inputs, or the checkpoint cannot be used.

    Examples:
        >>> extract_features("emms-demo/bert-random", ["a text", "another"], device="cpu").shape
        (2, 32)
    """
    kind, contents = _read(inputs)
    layers = layer_names(layer)
    if len(layers) != 1:
        raise EmmsError(f"layer is {layer!r:.80}; it must be one", setting_ref("layers", LAST))
    repo = hub.resolve(str(checkpoint), "model")
    plan = plan_extraction(repo, kind, "extract_features", dtype=dtype, trust_remote_code=trust_remote_code)
    extractor = kind.load_extractor(plan, device=device, allow_pickle=allow_pickle, layers=layers)
    try:
        batches = extractor.batches(kind.collect(contents), batch_size=batch_size)
        return gather_batches(batches, len(contents))
    finally:
        extractor.close()


def _read(inputs: Iterable[Any]) -> tuple[Modality, list[Any]]:
    """Return the modality of the inputs, and their contents."""
    import datasets

    hint = 'inputs=["a text", …] or inputs=[PIL.Image.open("a.png"), …]'
    # Iterating over a text yields letters, over a table the names of its columns.
    if not isinstance(inputs, Iterable) or isinstance(inputs, (str, bytes, Mapping)) or hasattr(inputs, "columns"):
        described = f"a {type(inputs).__name__} of columns" if hasattr(inputs, "columns") else f"{inputs!r:.80}"
        raise EmmsError(f"inputs is {described}; it must be a list", hint)
    inputs = list(inputs)
    if not inputs:
        raise EmmsError("inputs is empty", hint)
    try:
        rows = datasets.Dataset.from_dict({"input": inputs})
    except (ValueError, TypeError, OverflowError) as error:
        raise EmmsError(f"the inputs cannot be read: {error}", hint) from error
    feature = rows.features["input"]
    kind = next((kind for kind in MODALITIES.values() if kind.holds(feature)), None)
    if kind is None:
        raise EmmsError(f"checkpoints cannot read inputs such as {inputs[0]!r:.80}", hint)
    try:
        return kind, [kind.read(value, "input") for value in rows.data.column("input").to_pylist()]
    except UnusableError as error:
        raise EmmsError(f"an input cannot be used: {error}", hint) from error
