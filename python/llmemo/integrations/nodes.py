"""A node of a graph as the tiers know it: its namespace, its key, and its result.

The codec (docs/values.md) takes plain values, messages and instances. LangGraph also hands a cache
a deque, and `Send`.
"""

from __future__ import annotations

import functools
import json
from collections import deque
from typing import TYPE_CHECKING, Any

from langchain_core.outputs import Generation
from langgraph.types import Send

from llmemo.keys.model_class import Place as EntryPlace
from llmemo.keys.model_description import mark_of
from llmemo.keys.request import Request
from llmemo.keys.values import plain_describer
from llmemo.pipeline.node_results import Place

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langgraph.cache.base import FullKey, Namespace

NODE = "llmemo: a node of a graph"
"""Stands where the description of a model would: all results have its label."""


def namespace_of(namespace: Namespace) -> str:
    """A namespace as the tiers know it."""
    return f"langgraph:{json.dumps(list(namespace))}"


@functools.lru_cache(maxsize=64)
def _described(tenant: str) -> Request:
    """A request of a tenant's without its key. No model's request has such a supplement."""
    supplement = plain_describer.options(EntryPlace.NODE, {"namespace": tenant})
    return Request("", NODE, supplement, mark_of(supplement), is_text=True, is_node=True)


def place_of(key: FullKey, tenant: str) -> Place:
    """Where the result of LangGraph's key is kept for a tenant."""
    namespace, name = key
    return Place(_described(tenant)._replace(prompt=name), namespace_of(namespace))


def packed(value: object) -> list[Generation]:
    """A value as the codec takes it: what a node writes to its graph's channels, or anything."""
    if type(value) is deque and value.maxlen is None:
        info: dict[str, Any] = {"writes": [_packed_write(write) for write in value]}
    else:
        info = {"value": value}
    return [Generation(text="", generation_info=info)]


def _packed_write(write: Any) -> tuple[Any, ...]:
    if type(write) is tuple and len(write) == 2 and type(write[1]) is Send:
        channel, send = write
        return channel, send.node, send.arg, getattr(send, "timeout", None)
    return (write,)


def unpacked(hit: list[Generation] | None) -> Iterator[object]:
    """The value that `packed` was given; nothing if there is none, or another version made it."""
    info = (hit and hit[0].generation_info) or {}
    if "value" in info:
        yield info["value"]
    elif "writes" in info:
        yield deque(_unpacked_write(*write) for write in info["writes"])


def _unpacked_write(first: Any, *send: Any) -> Any:
    if not send:
        return first
    node, arg, timeout = send
    return first, Send(node, arg) if timeout is None else Send(node, arg, timeout=timeout)
