"""A turn in the words of Anthropic's messages, streamed or not."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from support.stream_server import Turn

    Json = dict[str, Any]

_FAILURE = {"type": "error", "error": {"type": "overloaded_error", "message": "out of order"}}
ERROR = f"event: error\ndata: {json.dumps(_FAILURE)}\n\n"


def _blocks(turn: Turn) -> list[Json]:
    blocks: list[Json] = []
    if turn.thinking:
        blocks.append({"type": "thinking", "thinking": turn.thinking, "signature": "signed"})
    if turn.text:
        blocks.append({"type": "text", "text": turn.text})
    for at, (name, args) in enumerate(turn.calls):
        blocks.append({"type": "tool_use", "id": turn.call_id(at), "name": name, "input": args})
    return blocks


def _received(turn: Turn) -> int:
    return len(turn.words) + 5 * len(turn.calls)


def message(turn: Turn, body: Json) -> Json:
    """The whole answer of `/v1/messages`."""
    return {
        "id": f"msg_{turn.mark}",
        "type": "message",
        "role": "assistant",
        "model": body["model"],
        "content": _blocks(turn),
        "stop_reason": "tool_use" if turn.calls else "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 9, "output_tokens": _received(turn)},
    }


def events(turn: Turn, body: Json) -> list[str]:
    """The events of `/v1/messages`."""
    whole = message(turn, body)
    usage = {"input_tokens": 9, "output_tokens": 1}
    begun = {**whole, "content": [], "stop_reason": None, "usage": usage}
    said: list[Json] = [{"type": "message_start", "message": begun}]
    for index, block in enumerate(_blocks(turn)):
        empty, deltas = _deltas(block, turn)
        said.append({"type": "content_block_start", "index": index, "content_block": empty})
        said += [{"type": "content_block_delta", "index": index, "delta": it} for it in deltas]
        said.append({"type": "content_block_stop", "index": index})
    end = {"stop_reason": whole["stop_reason"], "stop_sequence": None}
    received = {"output_tokens": _received(turn)}
    said += [{"type": "message_delta", "delta": end, "usage": received}, {"type": "message_stop"}]
    return [f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in said]


def _deltas(block: Json, turn: Turn) -> tuple[Json, list[Json]]:
    if block["type"] == "thinking":
        words = [{"type": "thinking_delta", "thinking": it} for it in turn.thoughts]
        empty = {"type": "thinking", "thinking": "", "signature": ""}
        return empty, [*words, {"type": "signature_delta", "signature": "signed"}]
    if block["type"] == "text":
        return {"type": "text", "text": ""}, [
            {"type": "text_delta", "text": word} for word in turn.words
        ]
    text = json.dumps(block["input"])
    pieces = (text[: len(text) // 2], text[len(text) // 2 :])
    return {**block, "input": {}}, [
        {"type": "input_json_delta", "partial_json": piece} for piece in pieces
    ]
