"""A WSGI program for gunicorn: each request calls a model through one cache, as its query says.

    /call?kind=ainvoke&text=…&namespace=…     /metrics, as the documents have it     /healthz

The answer tells which worker it was, and what the cache said of the call.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import threading
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import parse_qsl

import openai
from langchain_core.globals import set_llm_cache
from langchain_openai import ChatOpenAI
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from pydantic import SecretStr

from llmemo import LLMCache, PrometheusCollector, cached, options, track

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

    Start = Callable[[str, list[tuple[str, str]]], object]

PRICES = {"gpt-4o-mini": (1_000.0, 100_000.0)}


def _tell_who_calls(client: Any) -> None:
    """Send the process id along, without a setting that would count in a key."""
    build = client._build_request

    def built(self: Any, *args: Any, **options: Any) -> Any:
        request = build(self, *args, **options)
        request.headers["x-caller"] = str(os.getpid())
        return request

    client._build_request = built


_tell_who_calls(openai.OpenAI)
_tell_who_calls(openai.AsyncOpenAI)

# As in a program with --preload: all of this is made before the workers are forked.
cache = LLMCache(os.environ["CACHE"], prices=PRICES, store_timeout=60)
set_llm_cache(cache)
model = ChatOpenAI(
    model="gpt-4o-mini",
    base_url=os.environ["MODEL_URL"] + "/v1",
    api_key=SecretStr("x"),
    max_retries=0,
    stream_usage=True,
)
remembering = cached(model, cache)
PrometheusCollector(cache, "app")

_loops: dict[int, asyncio.AbstractEventLoop] = {}
_lock = threading.Lock()


def _awaited(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine in the event loop of this worker."""
    with _lock:
        loop = _loops.get(os.getpid())
        if loop is None:
            loop = _loops[os.getpid()] = asyncio.new_event_loop()
            threading.Thread(target=loop.run_forever, daemon=True).start()
    return asyncio.run_coroutine_threadsafe(coroutine, loop).result()


async def _drained(text: str) -> None:
    async for _ in remembering.astream(text):
        pass


def _call(kind: str, text: str, namespace: str) -> list[Any]:
    """Make one call. Returns what the cache said of it."""

    async def in_loop(work: Callable[[], Coroutine[Any, Any, Any]], events: list[Any]) -> None:
        # (The context of this thread's options does not come along to another one.)
        with options(namespace=namespace), track() as tracker:
            try:
                await work()
            finally:
                events += tracker.events

    if kind in {"ainvoke", "astream"}:
        events: list[Any] = []
        work = (lambda: model.ainvoke(text)) if kind == "ainvoke" else (lambda: _drained(text))
        with contextlib.suppress(openai.APIError):
            _awaited(in_loop(work, events))
        return events
    mode: Literal["bypass", "default"] = "bypass" if kind == "bypass" else "default"
    survived = contextlib.suppress(openai.APIError)
    with options(namespace=namespace, mode=mode), track() as tracker, survived:
        if kind == "stream":
            list(remembering.stream(text))
        elif kind == "raw":
            list(model.stream(text))
        else:
            model.invoke(text)
    return tracker.events


def _metrics() -> bytes:
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)


def app(environ: dict[str, Any], start_response: Start) -> Iterable[bytes]:
    """See the module."""
    path, query = environ["PATH_INFO"], dict(parse_qsl(environ["QUERY_STRING"]))
    if path == "/metrics":
        body, kind = _metrics(), CONTENT_TYPE_LATEST
    elif path == "/healthz":
        body, kind = json.dumps({"status": cache.health().status}).encode(), "application/json"
    else:
        events = _call(query["kind"], query["text"], query["namespace"])
        told = [(event.outcome, event.tier or "", *event.worth) for event in events]
        body = json.dumps({"pid": os.getpid(), "events": told}).encode()
        kind = "application/json"
    start_response("200 OK", [("content-type", kind), ("content-length", str(len(body)))])
    return [body]
