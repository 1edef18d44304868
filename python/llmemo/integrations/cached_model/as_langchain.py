"""Answers in the form in which LangChain gives them to a cache, made where it does not."""

from __future__ import annotations

import copy
import importlib
import json
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from langchain_core.messages import AIMessage, AIMessageChunk, message_chunk_to_message
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, Generation

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages import BaseMessage
    from langchain_core.outputs import ChatResult

    from llmemo._core import Recorder

GATEWAY = "lc_gateway_metadata"
"""What LangSmith's gateway says of a call: for LangChain alone."""

SAID_ONCE = frozenset({"id", "model_provider", "output_version"})
"""Metadata that LangChain does not add up."""

BATCH = 256
"""Chunks that are merged at a time: those of a long stream need not all be in memory."""


def complete(result: ChatResult, model: BaseChatModel, run_manager: Any) -> list[ChatGeneration]:
    """Complete the answer of `_generate`, in place. LangChain does the same, with no effect then.

    As `_generate_with_cache` of langchain-core 1.0 to 1.8 does between the model and the cache.
    """
    run_id = _run_id(run_manager)
    for index, generation in enumerate(result.generations):
        message = generation.message
        if getattr(model, "output_version", None) == "v1":
            generation.message = message = _blocks(message)
        if message.id is None:
            message.id = f"{run_id}-{index}"
        message.response_metadata = _metadata(generation)
    if len(result.generations) == 1 and result.llm_output is not None:
        message = result.generations[0].message
        message.response_metadata = {**result.llm_output, **message.response_metadata}
    return result.generations


def merged(
    chunks: Iterable[ChatGenerationChunk], model: BaseChatModel, run_manager: Any
) -> list[ChatGeneration]:
    """The answer that a stream has brought. Empty if it has brought nothing.

    As `_generate_with_cache` makes it of a stream.
    """
    whole: ChatGenerationChunk | None = None
    batch: list[ChatGenerationChunk] = []
    for chunk in completed(chunks, model):
        batch.append(chunk)
        if len(batch) == BATCH:
            whole = _sum(whole, batch)
            batch = []
    if batch:
        whole = _sum(whole, batch)
    if whole is None:
        return []
    last = last_after(whole.message)
    if last is not None:
        whole = _sum(whole, [ChatGenerationChunk(message=last)])
    run_id = _run_id(run_manager)
    generation = _generation(whole)
    if generation.message.id is None:
        generation.message.id = f"{run_id}-0"
    generation.message.response_metadata = _metadata(generation)
    return [generation]


def last_after(message: BaseMessage, run_id: str | None = None) -> AIMessageChunk | None:
    """The chunk that LangChain adds to a stream whose last one is not marked as that."""
    if getattr(message, "chunk_position", None) or not isinstance(message, AIMessageChunk):
        return None
    content: Any = "" if isinstance(message.content, str) else []
    return AIMessageChunk(content=content, chunk_position="last", id=run_id)


def chunks_to_merge(recorder: Recorder, model: BaseChatModel) -> Iterator[ChatGenerationChunk]:
    """Copies of the chunks of a stream. Those whose sum is plain are one already.

    A long answer is merged in a hundredth of the time so.
    """
    is_v1 = getattr(model, "output_version", None) == "v1"
    for chunk, texts in recorder.runs():
        if len(texts) < 2 or (not is_v1 and _adds_only_text(chunk)):
            yield chunk if len(texts) < 2 else with_text(chunk, "".join(texts))
        else:
            yield from (with_text(copy.deepcopy(chunk), text) for text in texts)


def _adds_only_text(chunk: ChatGenerationChunk) -> bool:
    """Whether adding it to one like it adds its text, and nothing else.

    LangChain joins the texts in metadata, all but these (`merge_dicts` of langchain-core).
    """
    message: Any = chunk.message
    others = (chunk.generation_info, message.additional_kwargs, message.name)
    parts = (message.tool_call_chunks, message.usage_metadata, message.chunk_position)
    return not any(others) and not any(parts) and SAID_ONCE.issuperset(message.response_metadata)


def with_text(chunk: ChatGenerationChunk, text: str) -> ChatGenerationChunk:
    """A chunk that has another text. Its message is changed."""
    chunk.message.content = text
    return ChatGenerationChunk(message=chunk.message, generation_info=chunk.generation_info)


def completed(
    chunks: Iterable[ChatGenerationChunk], model: BaseChatModel
) -> Iterator[ChatGenerationChunk]:
    """Chunks as LangChain passes them on: changed in place."""
    complete = Completion(model)
    for chunk in chunks:
        complete(chunk)
        yield chunk


class Completion:
    """Completes the chunks of one stream, as LangChain does."""

    def __init__(self, model: BaseChatModel) -> None:
        """Begin a stream of this model."""
        self._makes_blocks = getattr(model, "output_version", None) == "v1"
        self._index = -1
        self._type = ""

    def __call__(self, chunk: ChatGenerationChunk) -> None:
        """Complete the next chunk, in place."""
        if chunk.generation_info or "response_metadata" not in chunk.message.model_fields_set:
            chunk.message.response_metadata = _metadata(chunk)
        if self._makes_blocks:
            chunk.message = _blocks(chunk.message)
            self._number(chunk.message.content)

    def _number(self, content: Any) -> None:
        for block in content:
            if block["type"] != self._type:
                self._type = block["type"]
                self._index += 1
            if "index" not in block:
                block["index"] = self._index


def chat_generations(generations: Sequence[Generation]) -> list[ChatGeneration]:
    """A cache's answer as a chat model's: one that another program has kept may be plain text."""
    return [
        each
        if isinstance(each, ChatGeneration)
        else ChatGeneration(
            message=AIMessage(content=each.text), generation_info=each.generation_info
        )
        for each in generations
    ]


def as_chunk(generation: ChatGeneration) -> ChatGenerationChunk:
    """An answer as the only chunk of a stream."""
    message = generation.message
    fields = {name: getattr(message, name) for name in ("content", "additional_kwargs", "name")}
    if isinstance(message, AIMessage):
        calls = [(call, json.dumps(call["args"], default=str)) for call in message.tool_calls]
        wrong = [(call, call["args"]) for call in message.invalid_tool_calls]
        fields["tool_call_chunks"] = [
            {
                "type": "tool_call_chunk",
                "name": call["name"],
                "args": args,
                "id": call["id"],
                "index": index,
            }
            for index, (call, args) in enumerate([*calls, *wrong])
        ]
        fields["usage_metadata"] = message.usage_metadata
    chunk = AIMessageChunk(
        **fields,
        id=message.id,
        response_metadata=message.response_metadata,
        chunk_position="last",
    )
    if isinstance(message, AIMessage):
        # A chunk takes the beginning of arguments for arguments.
        chunk.tool_calls = message.tool_calls
        chunk.invalid_tool_calls = message.invalid_tool_calls
    # LangChain puts the generation's before the message's. In another order, the next turn of a
    # conversation had another key.
    info, metadata = generation.generation_info, message.response_metadata
    if info and list(_metadata(generation)) != list(metadata):
        info = {**metadata, **info}
    return ChatGenerationChunk(message=chunk, generation_info=info)


def _sum(
    whole: ChatGenerationChunk | None, batch: list[ChatGenerationChunk]
) -> ChatGenerationChunk:
    parts = batch if whole is None else [whole, *batch]
    return parts[0] if len(parts) == 1 else parts[0] + parts[1:]


def _generation(chunk: ChatGenerationChunk) -> ChatGeneration:
    return ChatGeneration(
        message=message_chunk_to_message(chunk.message),
        generation_info=chunk.generation_info,
    )


def _blocks(message: Any) -> Any:
    # The module has more than this, and takes long to import.
    utils = importlib.import_module("langchain_core.language_models._utils")
    return utils._update_message_content_to_blocks(message, "v1")  # noqa: SLF001


def _metadata(generation: ChatGeneration) -> dict[str, Any]:
    info = generation.generation_info or {}
    own = {name: value for name, value in info.items() if name != GATEWAY}
    return {**own, **generation.message.response_metadata}


def _run_id(run_manager: Any) -> str:
    return f"lc_run--{uuid4() if run_manager is None else run_manager.run_id}"


ENDS = frozenset({"done_reason", "finish_reason", "status", "stop_reason"})
"""Names by which providers tell why an answer ended."""


def says_why_it_ended(generation: ChatGeneration) -> bool:
    """Whether an answer tells why it ended."""
    told = {**(generation.generation_info or {}), **generation.message.response_metadata}
    return any(told.get(name) for name in ENDS)


def has_usage(message: BaseMessage) -> bool:
    """Whether a message says what it has cost."""
    return bool(getattr(message, "usage_metadata", None))
