"""Messages as the text that LangChain gives a cache: in Rust, if that gives the same."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from langchain_core.load import dumps

from llmemo.integrations.rust_dumps import trial

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from langchain_core.messages import BaseMessage

_SLOTS = ("__pydantic_fields_set__", "__pydantic_extra__", "__pydantic_private__")


def prompt_of(messages: Sequence[BaseMessage]) -> str:
    """The text of messages, as a chat model gives it to its cache: without their ids."""
    return _dumps()([_without_id(message) for message in messages])


@functools.cache
def _dumps() -> Callable[[list[Any]], str]:
    return trial(dumps) or dumps


def _without_id(message: BaseMessage) -> BaseMessage:
    """As `message.model_copy(update={"id": None})`, which takes many times as long."""
    if message.id is None:
        return message
    cls = type(message)
    new = cls.__new__(cls)
    fields = dict(message.__dict__)
    fields["id"] = None
    object.__setattr__(new, "__dict__", fields)
    for name in _SLOTS:
        object.__setattr__(new, name, getattr(message, name))
    return new
