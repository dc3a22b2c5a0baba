"""Conversations about images, which a checkpoint reads through the chat template of its own processor.

The processor decides how many tokens an image has, so that no family needs code of its own. A row that is longer than
the model's context is skipped, because truncation could remove a part of an image.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from hf_emms.errors import EmmsError, one_line
from hf_emms.features.extractor import FeatureReader
from hf_emms.features.feature_spec import LOAD_FAILURES, FeatureSpec, load_error
from hf_emms.formatting import pluralize
from hf_emms.inputs.encoded import EncodedInputs, EncodedModality
from hf_emms.inputs.image import IMAGE, Images, example_image
from hf_emms.inputs.modality import Modality, UnusableError
from hf_emms.inputs.prompt import (
    PROMPT,
    TEMPLATE_FAILURES,
    TEMPLATE_SETTINGS,
    Conversation,
    Message,
    PromptReader,
    Response,
    prompt_reader,
    with_fixed_date,
)

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from hf_emms.features.device import Batch, Inputs
    from hf_emms.features.layers import LayerReader
    from hf_emms.features.load import LoadedModel

# The place of an image in the text of a message, as in LLaVA's datasets.
_PLACE = "<image>"

# --- content of a dataset ---------------------------------------------------------------------------------


class _ImageLists(EncodedInputs):
    """Lists of images. An element is `Images`."""

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return _ImageLists(self.encoded[index])
        return Images(msgspec.msgpack.decode(self.encoded[index], type=list[bytes]))


class _ImageList(EncodedModality):
    """The images of a row, one or several."""

    def collect(self, contents: Sequence[bytes]) -> _ImageLists:
        return _ImageLists(contents)

    def read(self, value: Any, column: str) -> bytes:
        images = value if isinstance(value, list) else [value]
        if not images:
            raise UnusableError(f"the {column} is an empty list")
        return msgspec.msgpack.encode([IMAGE.read(image, column) for image in images])

    def check(self, content: bytes) -> None:
        for image in msgspec.msgpack.decode(content, type=list[bytes]):
            IMAGE.check(image)


def mark_images(value: Any) -> Any:
    """Replace the images in the messages of a cell with their places in the text. Return other values unchanged."""
    if not isinstance(value, list) or not all(isinstance(message, Mapping) for message in value):
        return value
    return [
        {**message, "content": list(map(_marked, message["content"]))}
        if isinstance(message.get("content"), list)
        else message
        for message in value
    ]


def _marked(part: Any) -> Any:
    is_image = isinstance(part, Mapping) and part.get("type") == "image"
    return {"type": "text", "text": _PLACE} if is_image else part


def check_places(contents: Sequence[Any], labels: Sequence[Any]) -> None:
    """Raise an `UnusableError` if a row has another number of images than places for them."""
    images, prompt = contents
    count = len(msgspec.msgpack.decode(images))
    places = prompt.count(_PLACE)
    if places not in (0, count):
        raise UnusableError(f"a row has {pluralize(count, 'image')} and {pluralize(places, 'place')} for images")


# --- how checkpoints read it ------------------------------------------------------------------------------


@dataclass(frozen=True)
class _ImageResponse(Response):
    """A response to a conversation with images. `prompt` contains the tokens of the images."""

    images: Sequence[Any]
    conversation: Conversation


@dataclass(frozen=True, kw_only=True)
class ImageChatReader(PromptReader):
    """Turns conversations with images into the tensors that a checkpoint reads.

    Attributes:
        processor: The checkpoint's processor of transformers.
        dtype: The dtype of the model, for pixel values.
    """

    processor: Any
    dtype: torch.dtype

    @property
    def processors(self) -> tuple[Any, ...]:
        return (self.processor,)

    def limit_text(self, count: int, total: int) -> str:
        return f"skipped {count:,} of {pluralize(total, 'row')}, longer than its context of {self.max_length:,} tokens"

    def instruction(self, conversation: Any) -> None:
        return None

    def read_responses(self, conversations: Sequence[Any], texts: Sequence[str]) -> tuple[list[Response], int]:
        """Tokenize prompts with their responses. Rows that exceed the context get no tokens, and are counted.

        Raises:
            EmmsError: All rows exceed the context, or the template does not support a conversation.
        """
        written = self.encode_whole(texts)["input_ids"]
        responses: list[Response] = []
        for (images, conversation), ids, text in zip(conversations, written, texts, strict=True):
            prompt = self.process([(images, conversation)])["input_ids"][0].tolist()
            ids = ids if self.end_id is None else [*ids, self.end_id]
            n_bytes = float(len(text.encode("utf-8", "surrogatepass")))
            if len(prompt) + len(ids) > self.max_length:
                prompt, ids, n_bytes = [], [], 0.0
            responses.append(_ImageResponse(prompt, ids, n_bytes, images, conversation))
        skipped = sum(not response.response for response in responses)
        if skipped == len(responses):
            raise EmmsError("rows-too-long", self.limit_text(skipped, skipped), "choose checkpoints with more context")
        return responses, skipped

    def pad_responses(self, responses: Sequence[Any]) -> Inputs:
        return self._extended(responses, [response.response for response in responses], "right")

    def pad_prompts(self, responses: Sequence[Any], room: int) -> Inputs:
        return self._extended(responses, [[]] * len(responses), "left")

    def _extended(self, responses: Sequence[Any], tokens: Sequence[list[int]], side: str) -> Inputs:
        """Return the tensors of prompts with further tokens after each of them, padded on a side."""
        import torch
        from torch.nn.utils.rnn import pad_sequence

        inputs = self.process([(response.images, response.conversation) for response in responses])
        shape, is_token = inputs["input_ids"].shape, inputs["attention_mask"].bool()
        for name, tensor in inputs.items():
            if tensor.shape != shape:
                inputs[name] = tensor.to(self.dtype) if tensor.is_floating_point() else tensor
                continue
            # Types of tokens mark either images (Gemma 3, Qwen) or the response (PaliGemma).
            kind = 1 if name == "attention_mask" else 1 - int(tensor.max())
            added = tokens if name == "input_ids" else [[kind] * len(ids) for ids in tokens]
            rows = [
                torch.cat([row[kept], torch.tensor(new, dtype=row.dtype)])
                for row, kept, new in zip(tensor, is_token, added, strict=True)
            ]
            padding = self.pad_id if name == "input_ids" else 0
            inputs[name] = pad_sequence(rows, batch_first=True, padding_value=padding, padding_side=side)
        return inputs

    def process(self, rows: Sequence[tuple[Sequence[Any], Conversation]]) -> dict[str, Tensor]:
        """Return what the processor makes of prompts with their images."""
        from jinja2 import TemplateError

        template = with_fixed_date(self.processor.chat_template)
        settings = {"tokenize": True, "return_dict": True, "return_tensors": "pt", **TEMPLATE_SETTINGS}
        try:
            inputs = self.processor.apply_chat_template(
                [_messages(images, conversation) for images, conversation in rows],
                chat_template=template,
                processor_kwargs={"padding": True},
                **settings,
            )
        except (TemplateError, *TEMPLATE_FAILURES) as error:
            raise EmmsError(
                "chat-template-failed",
                f"its processor fails for a conversation: {one_line(error)}",
                "remove the checkpoint from the list, because its template does not support these conversations",
            ) from error
        # PaliGemma's processor returns labels, too.
        return {name: tensor for name, tensor in inputs.items() if name != "labels"}


def _messages(images: Sequence[Any], conversation: Conversation) -> list[dict[str, Any]]:
    """Return a conversation as a chat template reads it. Images without places are at the start of the first turn."""
    left, messages = list(images), []
    has_places = any(_PLACE in message.text for message in conversation)
    for message in conversation:
        parts: list[dict[str, Any]] = []
        if message.role == "user" and not has_places:
            parts, left = [{"type": "image", "image": image} for image in left], []
        for number, text in enumerate(message.text.split(_PLACE)):
            parts += [{"type": "image", "image": left.pop(0)}] if number else []
            parts += [{"type": "text", "text": text.strip()}] if text.strip() else []
        messages.append({"role": message.role, "content": parts})
    return messages


def load_processor(spec: FeatureSpec) -> Any:
    """Load the checkpoint's processor.

    Raises:
        EmmsError: It cannot be loaded, or has no chat template.
    """
    from transformers import AutoProcessor

    try:
        processor = AutoProcessor.from_pretrained(spec.model_folder, trust_remote_code=spec.code, local_files_only=True)
        tokenizer, template = processor.tokenizer, processor.chat_template
    except LOAD_FAILURES as error:
        raise load_error(spec, "processor", error) from error
    if not template:
        raise EmmsError(
            "no-chat-template",
            f"the processor of {spec.repo.id} has no chat template",
            "choose a checkpoint that was trained on conversations, or save a chat_template.jinja with it",
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return processor


def image_chat_reader(spec: FeatureSpec, model: Any, processor: Any = None) -> ImageChatReader:
    """Return the reader with the checkpoint's processor and the limit of its text model."""
    processor = load_processor(spec) if processor is None else processor
    tokenizer = processor.tokenizer
    reader = prompt_reader(spec, model, tokenizer)
    limits = tokenizer.model_max_length, model.config.get_text_config().max_position_embeddings
    settings = {field.name: getattr(reader, field.name) for field in fields(reader)}
    return ImageChatReader(**{**settings, "max_length": min(limits)}, processor=processor, dtype=model.dtype)


class _ImageChatFeatures(FeatureReader):
    """The `FeatureReader` of prompts with images. It reads them one by one, because their images differ in number."""

    def __init__(self, model: Any, reader: ImageChatReader, layers: LayerReader) -> None:
        # A row of a batch has all tensors of a prompt, whatever their shapes.
        super().__init__(lambda row: layers(model, {name: tensor[0] for name, tensor in row.items()}), model, layers)
        self._reader = reader

    def batches(self, inputs: Any, batch_size: int | None) -> Iterator[Batch]:
        for position, row in enumerate(inputs):
            tensors = self._reader.process([row])
            yield np.array([position]), self._forward({name: tensor[None] for name, tensor in tensors.items()})

    def example(self) -> Sequence[Any]:
        return [([example_image()], (Message("user", "a"),))]


class _ImageChat(Modality):
    def load_processors(self, spec: FeatureSpec, device: torch.device) -> Any:
        return load_processor(spec)

    def feature_reader(
        self, loaded: LoadedModel, processors: Any, layers: tuple[str, ...], *, spans: bool
    ) -> _ImageChatFeatures:
        from hf_emms.features.layers import make_layer_reader

        reader = image_chat_reader(loaded.spec, loaded.model, processors)
        return _ImageChatFeatures(loaded.model, reader, make_layer_reader(loaded, layers))


IMAGES = _ImageList(
    name=IMAGE.name, singular="list of pictures", plural="lists of images", column_types=IMAGE.column_types
)
IMAGE_CHAT = _ImageChat(
    name="image+prompt",
    singular="prompt with images",
    plural="prompts with images",
    parts=(IMAGES, PROMPT),
    fallback_pooling=PROMPT.fallback_pooling,
    fallback_summary=PROMPT.fallback_summary,
    cpu_seconds=PROMPT.cpu_seconds,
    chunk_rows=IMAGE.chunk_rows,
)
