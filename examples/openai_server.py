"""A small OpenAI-compatible server on 127.0.0.1, for the demo and the tests.

It lets real clients run over a real socket without a key, an internet connection or a bill:

    with OpenAIServer(latency=0.25) as server:
        model = ChatOpenAI(base_url=server.url, api_key="unused", model="any")
        model.invoke("hello")
        assert server.requests == 1

What it answers is a function of the request alone, and differs between requests; `id`, `created`
and the ids of tool calls differ each time, as the real service's do. Standard library only.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import socket
import socketserver
import sys
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Iterator

    from typing_extensions import Self

Json = dict[str, Any]


def _digest(*parts: object) -> str:
    """Eight hex digits that stand for `parts`."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:8]


def _text(content: Any) -> str:
    """The text of a message's content, which is a string or a list of parts."""
    if isinstance(content, list):
        return " ".join(part.get("text", "") for part in content)
    return content or ""


class _Filler:
    """Makes a value for a JSON schema, out of the names and numbers that a text mentions."""

    def __init__(self, schema: Json, text: str) -> None:
        self._text = text
        self._defs: Json = schema.get("$defs", {})
        # A capital at the start of a sentence is no name.
        self._names = iter(re.findall(r"(?<!^)(?<![.?!:]\s)\b[A-Z][a-z]+", text))
        self._numbers = iter(re.findall(r"-?\d+(?:\.\d+)?", text))
        self.value = self._fill(schema, "value")

    def _fill(self, schema: Json, name: str) -> Any:
        while "anyOf" in schema or "$ref" in schema:  # Optional[X] is anyOf [X, null]
            at = schema.get("$ref", "").rsplit("/", 1)[-1]
            schema = self._defs[at] if at else schema["anyOf"][0]
        kind = schema.get("type", "object" if "properties" in schema else "string")
        if options := schema.get("enum", [schema["const"]] if "const" in schema else []):
            said = (each for each in options if str(each).lower() in self._text.lower())
            return next(said, options[0])
        if kind == "object":
            return {key: self._fill(each, key) for key, each in schema["properties"].items()}
        if kind == "array":
            return [self._fill(schema.get("items", {}), name)]
        if kind in {"integer", "number"}:
            number = float(next(self._numbers, "1"))
            return int(number) if kind == "integer" else number
        return True if kind == "boolean" else next(self._names, f"{name} {_digest(self._text)}")


def _turn(messages: list[Json]) -> tuple[str, list[str], list[str]]:
    """The last user message, and since then: the tools called, and what they returned."""
    question, called, results = "", list[str](), list[str]()
    for message in messages:
        if message["role"] == "user":
            question, called, results = _text(message["content"]), [], []
        elif message["role"] == "tool":
            results.append(_text(message["content"]))
        called += [call["function"]["name"] for call in message.get("tool_calls") or []]
    return question, called, results


def _wanted(body: Json, question: str, called: list[str]) -> list[str]:
    """The tools to call now: those that the question mentions, in its order, one at a time."""
    choice = body.get("tool_choice", "auto")
    if isinstance(choice, dict):
        return [choice["function"]["name"]]
    tools = [] if choice == "none" else [tool["function"]["name"] for tool in body.get("tools", [])]
    places: dict[str, int] = {}
    for name in tools:
        # Of get_weather, "weather" says what the tool is for.
        words = [word for word in (name, *name.split("_")) if len(word) > 4]
        found = [question.lower().find(word.lower()) for word in words]
        if name not in called and max(found, default=-1) >= 0:
            places[name] = min(place for place in found if place >= 0)
    names = sorted(places, key=places.__getitem__) or (tools if choice == "required" else [])
    return names if body.get("parallel_tool_calls") else names[:1]


def _choice(body: Json, index: int) -> Json:
    """The assistant's message number `index` (of `n`), as a choice."""
    question, called, results = _turn(body["messages"])
    message: Json = {"role": "assistant", "content": None, "refusal": None, "annotations": []}
    choice: Json = {"index": index, "message": message, "logprobs": None, "finish_reason": "stop"}
    if names := _wanted(body, question, called):
        # The results come first: the next tool usually works on what the last one said.
        source = "\n".join([*results, question])
        tools = {tool["function"]["name"]: tool["function"] for tool in body["tools"]}
        message["tool_calls"] = calls = list[Json]()
        for name in names:
            arguments = json.dumps(_Filler(tools[name].get("parameters", {}), source).value)
            call_id, function = secrets.token_hex(12), {"name": name, "arguments": arguments}
            calls.append({"id": f"call_{call_id}", "type": "function", "function": function})
        if not isinstance(body.get("tool_choice"), dict):  # a forced call "stops", as there
            choice["finish_reason"] = "tool_calls"
        return choice
    mark = _digest({k: v for k, v in body.items() if not k.startswith("stream")}, index)
    wanted = body.get("response_format") or {"type": "text"}
    if wanted["type"] != "text":
        schema = wanted.get("json_schema", {}).get("schema")
        if schema is None:  # in JSON mode the schema is part of the prompt
            prompt = " ".join(_text(each["content"]) for each in body["messages"])
            schema = json.JSONDecoder().raw_decode(prompt, prompt.index("{"))[0]
        message["content"] = json.dumps(_Filler(schema, question).value)
    elif results:
        message["content"] = f"According to the tools: {' '.join(results)} (reply {mark})"
    else:
        message["content"] = f"You said {question!r}. (reply {mark})"
    return choice


def _envelope(kind: str, prefix: str, body: Json, choices: list[Json]) -> Json:
    """What surrounds the choices; a token is four characters."""
    sent = len(json.dumps(body.get("messages", body.get("prompt")))) // 4
    received = len(json.dumps(choices)) // 4
    return {
        "id": f"{prefix}-{secrets.token_hex(14)}",
        "object": kind,
        "created": int(time.time()),
        "model": body["model"],
        "system_fingerprint": f"fp_{_digest(body['model'])}",
        "choices": choices,
        "usage": {
            "prompt_tokens": sent,
            "completion_tokens": received,
            "total_tokens": sent + received,
            "prompt_tokens_details": {"cached_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0},
        },
    }


def _chat(body: Json) -> Json | list[Json]:
    """The answer to `POST /v1/chat/completions`: one object, or with `stream` its chunks."""
    choices = [_choice(body, index) for index in range(body.get("n") or 1)]
    answer = _envelope("chat.completion", "chatcmpl", body, choices)
    return list(_chunks(body, answer)) if body.get("stream") else answer


def _completion(body: Json) -> Json | list[Json]:
    """The answer to `POST /v1/completions`: `n` texts for each prompt, in the prompts' order."""
    prompts = [body["prompt"]] if isinstance(body["prompt"], str) else body["prompt"]
    count = body.get("n") or 1
    if (body.get("best_of") or count) < count or body.get("stream"):
        raise ValueError("best_of below n, or a stream (this server streams chats only)")
    asked = [({**body, "prompt": prompt}, i) for prompt in prompts for i in range(count)]
    texts = [f" You wrote {each['prompt']!r}. (reply {_digest(each, i)})" for each, i in asked]
    rest: Json = {"logprobs": None, "finish_reason": "stop"}
    choices = [{"index": index, "text": text, **rest} for index, text in enumerate(texts)]
    return _envelope("text_completion", "cmpl", body, choices)


def _chunks(body: Json, answer: Json) -> Iterator[Json]:
    """The chunks of a streamed answer, a word or a tool call each."""
    usage = answer.pop("usage")
    answer["object"] = "chat.completion.chunk"
    for choice in answer.pop("choices"):
        message = choice["message"]
        deltas: list[Json] = [{"role": "assistant", "content": ""}]
        deltas += [{"content": word} for word in re.findall(r"\s*\S+", message["content"] or "")]
        for index, call in enumerate(message.get("tool_calls", [])):
            deltas.append({"tool_calls": [{"index": index, **call}]})
        for delta in [*deltas, {}]:
            part = {"delta": delta, "finish_reason": None if delta else choice["finish_reason"]}
            yield {**answer, "choices": [{"index": choice["index"], **part}]}
    if (body.get("stream_options") or {}).get("include_usage"):
        yield {**answer, "choices": [], "usage": usage}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # keep-alive, as the clients expect of the service
    disable_nagle_algorithm = True  # or an answer may wait 40 ms for a delayed ACK
    wbufsize = -1  # status, headers and body leave in one packet

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        answer = {"/v1/chat/completions": _chat, "/v1/completions": _completion}.get(self.path)
        if answer is None:
            self._send(404, f"unknown path {self.path}")
        elif status := cast("OpenAIServer", self.server).arrive():
            self._send(status, "a failure that was asked for")
        else:
            try:
                reply = answer(json.loads(raw))
            except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
                self._send(400, f"malformed request: {error!r}")
            else:
                self._send(200, reply)

    def _send(self, status: int, reply: Json | list[Json] | str) -> None:
        """Send one JSON object, a list of them as server-sent events, or an error message."""
        if isinstance(reply, str):
            reply = {"error": {"message": reply, "type": "demo", "param": None, "code": None}}
        kind, parts = "application/json", [json.dumps(reply)]
        if isinstance(reply, list):
            events = [*map(json.dumps, reply), "[DONE]"]
            kind, parts = "text/event-stream", [f"data: {each}\n\n" for each in events]
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(sum(map(len, parts))))  # json.dumps writes ASCII
        self.end_headers()
        for part in parts:
            self.wfile.write(part.encode())
            if len(parts) > 1:
                cast("OpenAIServer", self.server).pause(self.wfile)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Stay silent: who wants to know asks for `OpenAIServer.requests`."""


class OpenAIServer(ThreadingHTTPServer):
    """The server, as a context manager; each model request takes `latency` seconds.

    Each chunk of a stream takes `pace` seconds more; with 0, all leave together.
    `url` is the base URL for a client, `requests` the number of model requests that have arrived,
    those that were made to fail included.
    """

    daemon_threads = False  # so that closing waits for the handlers, and leaves no socket open
    request_queue_size = 128  # `gather` opens many connections at once

    def __init__(self, latency: float = 0.0, pace: float = 0.0) -> None:
        self.latency, self._pace = latency, pace
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._connections: set[Any] = set()
        self.requests, self._failures = 0, list[int]()
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}/v1"

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self.shutdown()
        self._thread.join()
        for connection in list(self._connections):  # kept alive, they wait for a next request
            with suppress(OSError):  # the client was faster
                connection.shutdown(socket.SHUT_RDWR)
        self.server_close()

    def reset(self) -> None:
        """Count from 0 again, and forget the failures asked for."""
        with self._lock:
            self.requests, self._failures = 0, []

    def fail_next(self, status: int, times: int = 1) -> None:
        """Answer the next `times` model requests with this HTTP status."""
        with self._lock:
            self._failures += [status] * times

    def arrive(self) -> int:
        """Count a model request and take its time; returns the status to fail with, or 0."""
        with self._lock:
            self.requests += 1
            status = self._failures.pop(0) if self._failures else 0
        self._closing.wait(self.latency)  # a sleep that closing ends
        return status

    def pause(self, sent: Any) -> None:
        """Send what was written, and wait as long as the next chunk takes."""
        if self._pace:
            sent.flush()
            self._closing.wait(self._pace)

    def server_bind(self) -> None:  # HTTPServer's would ask a resolver for the host's full name
        socketserver.TCPServer.server_bind(self)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError):  # a cancelled client hangs up
            super().handle_error(request, client_address)
