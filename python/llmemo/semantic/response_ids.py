"""Answers without the ids by which a provider finds a response again.

With such an id a client may continue a conversation that the server has stored: OpenAI's with
`previous_response_id`, Anthropic's in a `container`. For a near match that is the conversation of
another question. So what is served for another question keeps none of them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from langchain_core.outputs import ChatGeneration, ChatGenerationChunk

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage
    from langchain_core.outputs import Generation

_NAMES_A_RESPONSE = re.compile(
    "(?:^|[_-])id$|[a-z]Id$|requestid$|^(?:container|conversation|session|thread)$"
)
"""Keys of metadata whose values name a response, or what the server has of one."""

_NAMES_A_MODEL = {"inference_profile_id", "model_id"}

_OF_LANGCHAIN = ("lc_", "run-")
"""How the ids of messages begin that LangChain has made: no provider knows these."""


def remove_ids(part: Generation) -> None:
    """Remove the ids of a response from a generation, or a chunk of one, that is the caller's own.

    A chunk is left without an id: LangChain gives it that of its run.
    """
    if part.generation_info:
        part.generation_info = _without(part.generation_info)
    if isinstance(part, ChatGeneration):
        is_chunk = isinstance(part, ChatGenerationChunk)
        _remove_from(part.message, None if is_chunk else f"lc_run--{uuid4()}")


def _remove_from(message: BaseMessage, own: str | None) -> None:
    message.response_metadata = _without(message.response_metadata)
    if message.id and not message.id.startswith(_OF_LANGCHAIN):
        message.id = own
    if isinstance(message.content, list):
        message.content = [
            _without(block) if isinstance(block, dict) else block for block in message.content
        ]


def _without(told: dict[Any, Any]) -> dict[Any, Any]:
    """A dict without the keys that name a response, and so all dicts in it."""
    return {
        name: _without(value) if isinstance(value, dict) else value
        for name, value in told.items()
        if not _is_id(name)
    }


def _is_id(name: object) -> bool:
    return (
        isinstance(name, str)
        and name not in _NAMES_A_MODEL
        and _NAMES_A_RESPONSE.search(name) is not None
    )
