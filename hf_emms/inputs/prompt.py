"""Prompts that a checkpoint answers with a text: conversations up to the answer, or one text.

A chat model reads a conversation through its chat template, other checkpoints as plain text. Prompts that are too long
lose their beginning, because the question is at the end.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from hf_emms.errors import EmmsError, Note, one_line
from hf_emms.features.architectures import families
from hf_emms.features.feature_spec import FeatureSpec
from hf_emms.formatting import pluralize
from hf_emms.inputs.languages import set_languages
from hf_emms.inputs.modality import Instruction, Pairs, UnusableError
from hf_emms.inputs.text import (
    TEXT,
    TextFeatures,
    TextReader,
    TokenizedModality,
    load_tokenizer,
    special_tokens,
    text_reader,
)

if TYPE_CHECKING:
    import torch

    from hf_emms.features.device import Batch, Inputs
    from hf_emms.features.load import LoadedModel

# The maximum length of a prompt with its response, to limit memory. Few rows are longer.
MAX_TOKENS = 2_048
# The largest share of these tokens that a response may take from its prompt.
_RESPONSE_SHARE = 0.75
# Roles of messages in datasets → roles in chat templates.
_ROLES = {
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "model", "bot"), "assistant"),
    **dict.fromkeys(("system", "developer"), "system"),
}
# The fields of a message: its role and its text.
_FIELDS = (("role", "content"), ("from", "value"))
_SPEAKERS = {"system": "", "user": "User: ", "assistant": "Assistant: "}
# Roles of the messages that a task adds: its instruction, and two languages. Not every checkpoint reads them.
_INSTRUCTION, _LANGUAGES = "instruction", "languages"
# Encoders that were trained with an instruction at the beginning of a text.
_INSTRUCTED_ENCODERS = ("t5",)
# Some templates write today's date into a prompt, from a variable or by a function of transformers. A fixed date keeps
# the features of a prompt the same every day.
_DATE = "01 Jan 2026"
TEMPLATE_SETTINGS: dict[str, Any] = {"add_generation_prompt": True, "date_string": _DATE}
_FIXED_DATE = f"{{% macro strftime_now(format) %}}{_DATE}{{% endmacro %}}{{{{ '' }}}}"
_PLAIN = (
    "it has no chat template: prompts are plain text with a line break before the response, and conversations are "
    "lines that start with User: and Assistant:"
)
# Errors that the expressions of a template may raise.
TEMPLATE_FAILURES = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)


class Message(NamedTuple):
    """A message. Its role is "system", "user" or "assistant", or "instruction" or "languages" if a task added it."""

    role: str
    text: str


Conversation = tuple[Message, ...]


# --- content of a dataset ---------------------------------------------------------------------------------


def messages_of(value: Any) -> Conversation:
    """Return the messages of a cell with a list of {role, content} or {from, value}.

    Raises:
        UnusableError: A message is empty or has an unknown role.
    """
    messages = []
    for message in value:
        fields = message or {}
        if not isinstance(fields, Mapping):
            raise UnusableError(f"a message is {message!r} instead of {{role, content}}")
        role, text = fields.get("role", fields.get("from")), fields.get("content", fields.get("value"))
        if isinstance(text, list):
            text = _joined_parts(text)
        if str(role).lower() not in _ROLES:
            raise UnusableError(f"a message has the role {role!r} instead of user, assistant or system")
        if not isinstance(text, str) or not text.strip():
            raise UnusableError(f"a message of the {role} is empty")
        messages.append(Message(_ROLES[str(role).lower()], text))
    return tuple(messages)


def _joined_parts(parts: Sequence[Mapping[str, Any]]) -> str:
    """Return the text of a content that is a list of parts, {"type": "text", "text": …}."""
    if not all(isinstance(part, Mapping) and part.get("type", "text") == "text" for part in parts):
        raise UnusableError("a message contains other parts than texts")
    return "\n".join(part.get("text") or "" for part in parts)


def response_in(value: Any) -> Any:
    """Return the text of the last message, which a checkpoint should write. Return other values unchanged.

    Raises:
        UnusableError: The last message is not from the assistant.
    """
    if not isinstance(value, list) or not all(isinstance(message, Mapping) for message in value):
        return value
    last = messages_of(value[-1:])
    if not last or last[0].role != "assistant":
        raise UnusableError("the conversation does not end with an answer of the assistant")
    return last[0].text


def _check_turns(conversation: Conversation) -> None:
    roles = [message.role for message in conversation]
    turns = roles[1:] if roles[:1] == ["system"] else roles
    if turns != [("user", "assistant")[number % 2] for number in range(len(turns))]:
        raise UnusableError(f"user and assistant do not take turns: {', '.join(turns)}")


# --- how checkpoints read it ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Response:
    """A prompt with its response as tokens.

    Attributes:
        prompt: Token ids that the model reads first.
        response: Token ids that it should write, with the end token if there is one.
        n_bytes: UTF-8 bytes of the response, in proportion to its tokens if it is truncated.
    """

    prompt: list[int]
    response: list[int]
    n_bytes: float


@dataclass(frozen=True, kw_only=True)
class PromptReader(TextReader):
    """Turns prompts into the tokens that a checkpoint reads.

    Attributes:
        before, after: Special tokens around a prompt; empty if a template writes them.
        has_template: Whether the tokenizer's chat template formats conversations.
        is_encoder: Whether an encoder reads the prompt and a decoder writes the response.
        is_instructed: Whether the task's instruction is part of the prompt.
        end_id: The token that ends a response; None if neither tokenizer nor model has one.
    """

    before: tuple[int, ...]
    after: tuple[int, ...]
    has_template: bool
    is_encoder: bool
    is_instructed: bool
    end_id: int | None

    @property
    def processors(self) -> tuple[Any, ...]:
        """What is saved with the model."""
        return (self.tokenizer,)

    def limit_text(self, count: int, total: int) -> str:
        """Describe responses that exceed the maximum length, for notes."""
        limit = f"{self.max_length:,} tokens" + ("" if self.is_encoder else ", including the prompt")
        return f"truncated {count:,} of {pluralize(total, 'response')} to {limit}"

    def max_response(self, prompt: Sequence[int]) -> int:
        """Return the maximum length of a response. A decoder reads at least a part of the prompt before it."""
        if self.is_encoder:
            return self.max_length
        return max(1, self.max_length - len(prompt), int(_RESPONSE_SHARE * self.max_length))

    def tokenize(self, texts: Sequence[Any]) -> tuple[list[list[int]], int]:
        """Return the token ids of each `Conversation`, and how many lost their beginning."""
        tokens = self.encode_whole([self.write(conversation) for conversation in texts])["input_ids"]
        before, after = self._special_tokens(texts)
        room = self.max_length - len(before) - len(after)
        truncated = sum(len(ids) > room for ids in tokens)
        tokens = [[*before, *ids[-room:], *after] or [self.empty_id] for ids in tokens]
        self.check_vocabulary(tokens)
        return tokens, truncated

    def write(self, conversation: Conversation) -> str:
        """Format a conversation as the text that the checkpoint reads, up to the start of the response."""
        conversation = self._with_instruction(conversation)
        if self.has_template:
            return self._apply_template(conversation)
        if len(conversation) == 1:
            return conversation[0].text if self.is_encoder else f"{conversation[0].text}\n"
        lines = [f"{_SPEAKERS[message.role]}{message.text}" for message in conversation]
        return "\n".join([*lines, _SPEAKERS["assistant"].strip()])

    def read_responses(self, conversations: Sequence[Conversation], texts: Sequence[str]) -> tuple[list[Response], int]:
        """Tokenize prompts with their responses so that both fit, and count the truncated responses."""
        prompts, _ = self.tokenize(conversations)
        target = {"text_target" if self.is_encoder else "text": list(texts)}
        written = self.tokenizer(**target, add_special_tokens=self.is_encoder, verbose=False)["input_ids"]
        self.check_vocabulary(written)
        end = self.end_id
        responses, truncated = [], 0
        for prompt, ids, text in zip(prompts, written, texts, strict=True):
            ids = ids if end is None or end in ids[-2:] else [*ids, end]  # a language token may follow it
            kept = ids[: self.max_response(prompt)]
            truncated += len(kept) < len(ids)
            n_bytes = len(text.encode("utf-8", "surrogatepass")) * len(kept) / len(ids)
            left = self.max_length if self.is_encoder else self.max_length - len(kept)
            responses.append(Response(prompt[-left:], kept, n_bytes))
        return responses, truncated

    def pad_responses(self, responses: Sequence[Response]) -> Inputs:
        """Return the tensors of prompts, followed by their responses if a decoder reads both."""
        ends = [[] if self.is_encoder else response.response for response in responses]
        return self.pad([[*response.prompt, *end] for response, end in zip(responses, ends, strict=True)])

    def pad_prompts(self, responses: Sequence[Response], room: int) -> Inputs:
        """Return the tensors of prompts before their responses are written, at most `room` tokens each."""
        reader = replace(self, pads_left=not self.is_encoder)
        return reader.pad([response.prompt[-room:] for response in responses])

    def starts(self) -> dict[str, int]:
        """Return the arguments of `generate` that start a response in the tokenizer's target language."""
        if not self.is_encoder or not getattr(self.tokenizer, "tgt_lang", None):
            return {}
        first, *_, last = self.tokenizer(text_target="a")["input_ids"]
        if first != self.tokenizer(text_target="a", add_special_tokens=False)["input_ids"][0]:
            return {"forced_bos_token_id": first}
        return {"decoder_start_token_id": last}  # mBART moves the last label to the first position

    def instruction(self, conversation: Conversation) -> str | None:
        """Return the task's instruction if there is one and the checkpoint reads instructions."""
        return _first_text(conversation, _INSTRUCTION) if self.is_instructed else None

    def _with_instruction(self, conversation: Conversation) -> Conversation:
        """Add the task's instruction to the last turn, and drop the messages that the task added.

        The instruction follows the text, so that it stays if the text loses its beginning. Encoders were trained with
        the instruction in front of the text.
        """
        *others, last = (message for message in conversation if message.role not in (_INSTRUCTION, _LANGUAGES))
        instruction = self.instruction(conversation)
        if instruction is not None:
            text = f"{instruction} {last.text}" if self.is_encoder else f"{last.text}\n{instruction}"
            last = Message(last.role, text)
        return (*others, last)

    def _special_tokens(self, conversations: Sequence[Conversation]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return the special tokens around prompts, including the tokens of the sample's languages."""
        languages = _first_text(next(iter(conversations), ()), _LANGUAGES) if self.is_encoder else None
        if languages is not None and set_languages(self.tokenizer, *languages.split()):
            return special_tokens(self.tokenizer)
        return self.before, self.after

    def _apply_template(self, conversation: Conversation) -> str:
        """Apply the chat template. If it has no system role, put that message before the first one of the user."""
        from jinja2 import TemplateError

        messages = [{"role": message.role, "content": message.text} for message in conversation]
        try:
            template = with_fixed_date(self.tokenizer.get_chat_template())
            settings = {"chat_template": template, "tokenize": False, **TEMPLATE_SETTINGS}
            return str(self.tokenizer.apply_chat_template(messages, **settings))
        except (TemplateError, *TEMPLATE_FAILURES) as error:
            if conversation[0].role == "system":
                system, first, *others = conversation
                return self._apply_template((Message("user", f"{system.text}\n\n{first.text}"), *others))
            raise EmmsError(
                "chat-template-failed",
                f"its chat template fails: {one_line(error)}",
                "remove the checkpoint from the list, because its template does not support these conversations",
            ) from error


def _first_text(conversation: Conversation, role: str) -> str | None:
    return next((message.text for message in conversation if message.role == role), None)


def prompt_reader(spec: FeatureSpec, model: Any, tokenizer: Any = None) -> PromptReader:
    """Return the reader with the model's limits, its chat template and the special tokens around a prompt."""
    tokenizer = load_tokenizer(spec) if tokenizer is None else tokenizer
    text = text_reader(spec, model, tokenizer, MAX_TOKENS)
    reads_encoder = is_encoder_decoder(spec)
    has_template = _has_template(spec, tokenizer)
    before, after = ((), ()) if has_template else special_tokens(tokenizer)
    end = tokenizer.eos_token_id
    if end is None:
        end = getattr(model.config, "eos_token_id", None)  # a model may have several
        end = end if end in range(text.vocabulary_size) else None
    return PromptReader(
        **{field.name: getattr(text, field.name) for field in fields(text)},
        before=before,
        # Only encoders get a token that ends texts, because a response follows other prompts.
        after=after if reads_encoder else (),
        has_template=has_template,
        is_encoder=reads_encoder,
        is_instructed=not reads_encoder or spec.config["model_type"] in _INSTRUCTED_ENCODERS,
        end_id=end,
    )


def _has_template(spec: FeatureSpec, tokenizer: Any) -> bool:
    return not is_encoder_decoder(spec) and bool(getattr(tokenizer, "chat_template", None))


def with_fixed_date(template: str) -> str:
    return _FIXED_DATE + template if "strftime_now" in template else template


def is_encoder_decoder(spec: FeatureSpec) -> bool:
    """Return whether a checkpoint is an encoder with a decoder that writes."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES

    return spec.config["model_type"] in MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES


def _check_writes(spec: FeatureSpec) -> None:
    """Refuse families outside of the table of architectures that have an encoder or cannot write texts."""
    from transformers.models.auto import modeling_auto

    model_type = spec.config["model_type"]
    writes = model_type in modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    writes = writes and model_type not in modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES
    if not spec.architecture.model_types and not spec.code and (is_encoder_decoder(spec) or not writes):
        raise EmmsError(
            "unsupported-family",
            f"{spec.repo.id} is a {model_type} checkpoint, and hf_emms cannot rank this family by what it writes",
            f"choose checkpoints of these families: {', '.join(families(PROMPT.name))}",
        )


def _is_json(feature: Any) -> bool:
    return type(feature).__name__ == "Json"


# --- the modality -----------------------------------------------------------------------------------------


class _Prompt(TokenizedModality):
    def holds(self, feature: Any) -> bool:
        message = getattr(feature, "feature", None)
        if _is_json(message):
            return True
        if not isinstance(message, Mapping):
            return False
        role, content = next((pair for pair in _FIELDS if set(pair) <= set(message)), (None, None))
        if role is None:
            return False
        part = getattr(message[content], "feature", None)  # a content may be a list of parts
        text = part.get("text") if isinstance(part, Mapping) else message[content]
        return TEXT.holds(message[role]) and TEXT.holds(text)

    def recognizes_cell(self, cell: Any) -> bool:
        messages = cell if isinstance(cell, list) else []
        return bool(messages) and all(
            isinstance(message, Mapping) and any(set(pair) <= set(message) for pair in _FIELDS) for message in messages
        )

    def read(self, value: Any, column: str) -> str:
        """Return the conversation as JSON, [[role, text], …], without the answer at its end."""
        if isinstance(value, list):
            conversation = messages_of(value)
            _check_turns(conversation)
            if conversation and conversation[-1].role == "assistant":
                conversation = conversation[:-1]
        else:
            conversation = (Message("user", TEXT.read(value, column)),)
        if not conversation or conversation[-1].role != "user":
            raise UnusableError(f"the {column} has no message of the user before the answer")
        return json.dumps(conversation, ensure_ascii=False)

    def instructed(self, content: Any, instruction: Instruction) -> str:
        added = [(_INSTRUCTION, instruction.text)]
        added += [(_LANGUAGES, " ".join(instruction.languages))] if instruction.languages else []
        return json.dumps([*added, *json.loads(content)], ensure_ascii=False)

    def collect(self, contents: Sequence[Any]) -> Sequence[Conversation]:
        return [tuple(Message(*message) for message in json.loads(content)) for content in contents]

    def contents(self, inputs: Sequence[Any]) -> list[bytes]:
        return TEXT.contents([json.dumps(conversation, ensure_ascii=False) for conversation in inputs])

    def load_processors(self, spec: FeatureSpec, device: torch.device) -> Any:
        _check_writes(spec)
        return super().load_processors(spec, device)

    def reading_notes(self, spec: FeatureSpec, processors: Any) -> tuple[Note, ...]:
        if is_encoder_decoder(spec):
            return ()
        if _has_template(spec, processors):
            return (Note("chat-template", "prompts use its own chat template"),)
        return (Note("plain-prompts", _PLAIN),)

    def feature_reader(
        self, loaded: LoadedModel, processors: Any, layers: tuple[str, ...], *, spans: bool
    ) -> TextFeatures:
        from hf_emms.features.layers import make_layer_reader

        return PromptFeatures(
            loaded.model, prompt_reader(loaded.spec, loaded.model, processors), make_layer_reader(loaded, layers)
        )


class PromptFeatures(TextFeatures):
    """The `FeatureReader` of prompts."""

    def batches(self, texts: Sequence[Any], batch_size: int | None) -> Iterator[Batch]:
        """Yield the features of prompts, also of prompts with a response each."""
        prompts = [prompt for prompt, _ in texts] if isinstance(texts, Pairs) else texts
        return super().batches(prompts, batch_size)

    def example(self) -> Sequence[Any]:
        return [(Message("user", "a"),)]


PROMPT = _Prompt(
    name="prompt",
    singular="prompt",
    plural="prompts",
    column_types=("messages",),
    fallback_pooling="last_token",
    fallback_summary="the last layer's state of the prompt's last token",
    cpu_seconds=2 * TEXT.cpu_seconds,
    text_bytes=TEXT.text_bytes,
)
