"""Measure how many bits a language model needs for responses, before and after a short run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from itertools import count
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from hf_emms.errors import EmmsError, Note
from hf_emms.features.device import choose_device
from hf_emms.features.feature_spec import FeatureSpec
from hf_emms.features.load import quiet_transformers
from hf_emms.finetune.network import repaired
from hf_emms.finetune.recipe import TrainingJob, short_recipe
from hf_emms.heads.head import Network
from hf_emms.heads.response import (
    ResponseNetwork,
    load_language_model,
    response_batch,
    response_losses,
    response_reader,
    rows_at_a_time,
)
from hf_emms.heads.split import BatchedRows
from hf_emms.inputs.prompt import PromptReader, Response
from hf_emms.options import RunOptions
from hf_emms.texts import install_command, setting_ref

if TYPE_CHECKING:
    from hf_emms.data import Sample

T = TypeVar("T")

# The most responses per batch.
_BATCH = 32
_NO_END = Note("no-end-token", "no token ends its responses: with fewer tokens, its bits per byte are too low")


class ResponseScorer:
    """A language model with the prompts and responses of a sample; it is loaded on first use.

    `on_batch` is called after each batch and each training step.
    """

    def __init__(
        self,
        spec: FeatureSpec,
        sample: Sample,
        options: RunOptions,
        seed: int,
        on_batch: Callable[[], None] = lambda: None,
    ) -> None:
        self._on_batch = on_batch
        self._spec, self._sample, self._options, self._seed = spec, sample, options, seed
        self._model: Any = None
        self._reader: PromptReader | None = None
        self._is_trained = False
        self._notes: list[Note] = []
        self._truncated: dict[bytes, tuple[int, int]] = {}

    @property
    def notes(self) -> list[Note]:
        truncated = sum(truncated for truncated, _ in self._truncated.values())
        if not truncated or self._reader is None:
            return self._notes
        total = sum(count for _, count in self._truncated.values())
        return [Note("responses-truncated", self._reader.limit_text(truncated, total)), *self._notes]

    @property
    def truncated_responses(self) -> float:
        """The share of the responses so far that were truncated, or skipped because they are too long."""
        truncated, count = np.sum([[0, 0], *self._truncated.values()], axis=0).tolist()
        return truncated / count if count else 0.0

    def bits(self, rows: np.ndarray, trained_on: np.ndarray | None = None) -> np.ndarray:
        """Return the bits and bytes of one response per row, float64 (n, 2), before training or after a short run.

        Raises:
            EmmsError: The checkpoint cannot be loaded or trained, or a loss is not finite.
        """
        with quiet_transformers():
            self._load()
            if trained_on is not None:
                self._train(trained_on)
            return self._evaluate(rows)

    # --- loading ------------------------------------------------------------------------------------------

    def _load(self) -> None:
        """Load the model and the reader of its prompts, or reload them if the weights were trained."""
        if self._model is not None and not self._is_trained:
            return
        spec, options = self._spec, self._options
        self._model = None
        device = choose_device(options.device)
        model = load_language_model(spec)
        self._reader = response_reader(spec, model)
        self._model, self._is_trained = model.to(device).eval(), False

    # --- rows ---------------------------------------------------------------------------------------------

    def _responses(self, rows: np.ndarray) -> list[Response]:
        """Choose one response per row, so that a short run costs the same for any number of responses."""
        assert self._reader is not None
        sample = self._sample
        inputs = [sample.inputs[input] for input in sample.input_of_row[rows].tolist()]
        several = [sample.texts_of(label) for label in sample.codes[rows].tolist()]
        responses, truncated = self._reader.read_responses(inputs, one_of_each(several, sample.groups[rows]))
        self._truncated[rows.tobytes()] = truncated, len(rows)
        if self._reader.end_id is None and _NO_END not in self._notes:
            self._notes.append(_NO_END)
        return responses

    @torch.no_grad()
    def _evaluate(self, rows: np.ndarray) -> np.ndarray:
        responses = self._responses(rows)
        self._model.eval()
        bits = np.zeros((len(rows), 2))
        lengths = np.array([_length(response) for response in responses])
        order = np.argsort(-lengths, kind="stable")
        for batch in self._batches(order[lengths[order] > 0], responses):
            bits[batch, 0] = self._losses([responses[i] for i in batch]).double().cpu().numpy() / np.log(2)
            bits[batch, 1] = [responses[i].n_bytes for i in batch]
            self._on_batch()
        self._check_finite(bits)
        return bits

    def _check_finite(self, losses: np.ndarray) -> None:
        if not np.isfinite(losses).all():
            raise EmmsError(
                "not-finite",
                f"{self._spec.repo.id}: the loss of a response is not finite",
                setting_ref("dtype", "float32") + "; if that is set already, its weights are damaged",
            )

    def _batches(self, order: Sequence[int] | np.ndarray, responses: Sequence[Response]) -> Iterator[np.ndarray]:
        """Yield batches of an order of responses, small enough for their logits to fit into memory."""
        vocabulary = self._model.get_input_embeddings().num_embeddings
        start = 0
        while start < len(order):
            size = min(_BATCH, rows_at_a_time(_length(responses[order[start]]), vocabulary))
            yield np.asarray(order[start : start + size])
            start += size

    def _losses(self, responses: Sequence[Response]) -> Tensor:
        """Return the loss of each response given its prompt in nats, (b,)."""
        assert self._reader is not None
        device = self._model.device
        inputs = {name: tensor.to(device) for name, tensor in response_batch(self._reader, responses).items()}
        return response_losses(self._model, inputs, is_encoder=self._reader.is_encoder)

    # --- training -----------------------------------------------------------------------------------------

    def _train(self, rows: np.ndarray) -> None:
        assert self._reader is not None
        network = ResponseNetwork(self._model, self._reader, [])
        responses = [response for response in self._responses(rows) if response.response]
        self._train_network(network, network.labeled(responses))

    def _train_network(
        self,
        network: Network,
        rows: BatchedRows,
        on_epoch: Callable[[], None] = lambda: None,
        rate_factor: float = 1.0,
    ) -> None:
        """Train a network of the loaded model on rows. `on_epoch` is called after each epoch."""
        from hf_emms.finetune.training import train_once

        spec, model = self._spec, self._model
        parameters = sum(parameter.numel() for parameter in model.parameters())
        recipe = short_recipe(parameters, self._seed, rate_factor)
        job = TrainingJob(spec.repo.id, spec, parameters, recipe, recipe.learning_rates[0], recipe.seeds[0])
        if recipe.method == "lora" and find_spec("peft") is None:
            raise EmmsError(
                "package-missing",
                "a checkpoint of this size is trained with LoRA, which needs peft",
                install_command("lora"),
            )
        self._is_trained = True
        self._notes += repaired(network.model)
        steps, taken = recipe.total_steps(len(rows)), count(1)

        def on_step() -> None:
            self._on_batch()
            if next(taken) % -(-len(rows) // recipe.batch_size) == 0:
                on_epoch()

        train_once(network, rows, job, model.device, on_step)
        weights = "an adapter (LoRA)" if recipe.method == "lora" else "all weights"
        run = f"{len(rows)} rows, {steps} steps of {weights}, learning rate {job.learning_rate:g}"
        self._notes.append(Note("short-run", f"short run: {run}"))


def one_of_each(several: Sequence[Sequence[T]], groups: np.ndarray) -> list[T]:
    """Return one response of each of n rows; groups, uint64 (n,), choose it.

    Groups are hashes. They choose the same response for every checkpoint, and not always the first one.
    """
    return [texts[group % len(texts)] for texts, group in zip(several, groups.tolist(), strict=True)]


def _length(response: Response) -> int:
    return len(response.prompt) + len(response.response)
