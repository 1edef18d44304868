"""A turn in the words of OpenAI's chat completions and of its responses, streamed or not."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.stream_server import Turn

    Json = dict[str, Any]

ERROR: Json = {"error": {"message": "out of order", "type": "server_error", "code": "broken"}}
ERROR_EVENT = f"data: {json.dumps(ERROR)}\n\n"


def completion(turn: Turn, body: Json) -> Json:
    """The whole answer of `/v1/chat/completions`."""
    choices = [_choice(turn, index) for index in range(body.get("n") or 1)]
    return {
        **_head(turn, body),
        "object": "chat.completion",
        "choices": choices,
        "usage": _usage(turn),
    }


def _head(turn: Turn, body: Json) -> Json:
    return {
        "id": f"chatcmpl-{turn.mark}",
        "created": 1,
        "model": body["model"],
        "system_fingerprint": "fp_1",
        "service_tier": "default",
    }


def _usage(turn: Turn) -> Json:
    received = len(turn.words) + 5 * len(turn.calls)
    return {
        "prompt_tokens": 9,
        "completion_tokens": received,
        "total_tokens": 9 + received,
        "prompt_tokens_details": {"cached_tokens": 4},
        "completion_tokens_details": {"reasoning_tokens": 0},
    }


def _finish(turn: Turn) -> str:
    return turn.finish or ("tool_calls" if turn.calls else "stop")


def _choice(turn: Turn, index: int) -> Json:
    text = turn.text + (f" ({index})" if index else "")
    message: Json = {"role": "assistant", "content": text, "refusal": None, "annotations": []}
    if turn.calls:
        message["tool_calls"] = [
            {
                "id": turn.call_id(at),
                "type": "function",
                "function": {"name": name, "arguments": json.dumps(args)},
            }
            for at, (name, args) in enumerate(turn.calls)
        ]
    return {"index": index, "message": message, "logprobs": None, "finish_reason": _finish(turn)}


def chunks(turn: Turn, body: Json) -> list[str]:
    """The events of `/v1/chat/completions`."""
    head = {**_head(turn, body), "object": "chat.completion.chunk"}
    parts = []
    for delta in _deltas(turn):
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}
        if body.get("logprobs") and delta.get("content"):
            token = {"token": delta["content"], "logprob": -0.5, "bytes": None, "top_logprobs": []}
            choice["logprobs"] = {"content": [token], "refusal": None}
        parts.append({**head, "choices": [choice]})
    last = {"index": 0, "delta": {}, "logprobs": None, "finish_reason": _finish(turn)}
    parts.append({**head, "choices": [last]})
    if (body.get("stream_options") or {}).get("include_usage"):
        parts.append({**head, "choices": [], "usage": _usage(turn)})
    return [f"data: {each}\n\n" for each in [*map(json.dumps, parts), "[DONE]"]]


def _deltas(turn: Turn) -> Iterator[Json]:
    yield {"role": "assistant", "content": "", "refusal": None}
    for word in turn.words:
        yield {"content": word}
    for at, (name, args) in enumerate(turn.calls):
        function = {"name": name, "arguments": ""}
        yield {
            "tool_calls": [
                {"index": at, "id": turn.call_id(at), "type": "function", "function": function}
            ]
        }
        text = json.dumps(args)
        for piece in (text[: len(text) // 2], text[len(text) // 2 :]):
            yield {"tool_calls": [{"index": at, "function": {"arguments": piece}}]}


def response(turn: Turn, body: Json, *, status: str = "completed") -> Json:
    """The whole answer of `/v1/responses`."""
    done = status == "completed"
    received = len(turn.words) + 5 * len(turn.calls)
    usage = {
        "input_tokens": 9,
        "input_tokens_details": {"cached_tokens": 4},
        "output_tokens": received,
        "output_tokens_details": {"reasoning_tokens": 2 if turn.thinking else 0},
        "total_tokens": 9 + received,
    }
    return {
        "id": f"resp_{turn.mark}",
        "object": "response",
        "created_at": 1,
        "status": status,
        "error": None,
        "incomplete_details": None,
        "model": body["model"],
        "output": _items(turn) if done else [],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "text": body.get("text") or {"format": {"type": "text"}},
        "metadata": {},
        "usage": usage if done else None,
    }


def _items(turn: Turn) -> list[Json]:
    items: list[Json] = []
    if turn.thinking:
        summary = [{"type": "summary_text", "text": turn.thinking}]
        items.append({"type": "reasoning", "id": f"rs_{turn.mark}", "summary": summary})
    if turn.text:
        content = {"type": "output_text", "text": turn.text, "annotations": [], "logprobs": []}
        items.append(
            {
                "type": "message",
                "id": f"msg_{turn.mark}",
                "role": "assistant",
                "status": "completed",
                "content": [content],
            }
        )
    for at, (name, args) in enumerate(turn.calls):
        items.append(
            {
                "type": "function_call",
                "id": f"fc_{turn.mark}_{at}",
                "call_id": turn.call_id(at),
                "name": name,
                "arguments": json.dumps(args),
                "status": "completed",
            }
        )
    return items


def response_events(turn: Turn, body: Json) -> list[str]:
    """The events of `/v1/responses`."""
    events: list[Json] = [
        {"type": f"response.{kind}", "response": response(turn, body, status="in_progress")}
        for kind in ("created", "in_progress")
    ]
    for at, item in enumerate(_items(turn)):
        events += _item_events(at, item, turn)
    events.append({"type": "response.completed", "response": response(turn, body)})
    return [
        f"event: {event['type']}\ndata: {json.dumps({**event, 'sequence_number': number})}\n\n"
        for number, event in enumerate(events)
    ]


def _item_events(at: int, item: Json, turn: Turn) -> Iterator[Json]:
    where = {"output_index": at, "item_id": item["id"]}
    began = {**item, "status": "in_progress"}
    if item["type"] == "reasoning":
        part = {"type": "summary_text", "text": ""}
        yield _added(at, {**item, "summary": []})
        inside = {**where, "summary_index": 0}
        yield {"type": "response.reasoning_summary_part.added", **inside, "part": part}
        for word in turn.thoughts:
            yield {"type": "response.reasoning_summary_text.delta", **inside, "delta": word}
    elif item["type"] == "message":
        yield _added(at, {**began, "content": []})
        inside = {**where, "content_index": 0}
        begun: Json = {"type": "output_text", "text": "", "annotations": []}
        yield {"type": "response.content_part.added", **inside, "part": begun}
        for word in turn.words:
            yield {"type": "response.output_text.delta", **inside, "delta": word, "logprobs": []}
        done = {**inside, "text": turn.text, "logprobs": []}
        yield {"type": "response.output_text.done", **done}
    else:
        yield _added(at, {**began, "arguments": ""})
        text = item["arguments"]
        for piece in (text[: len(text) // 2], text[len(text) // 2 :]):
            yield {"type": "response.function_call_arguments.delta", **where, "delta": piece}
    yield {"type": "response.output_item.done", "output_index": at, "item": item}


def _added(at: int, item: Json) -> Json:
    return {"type": "response.output_item.added", "output_index": at, "item": item}
