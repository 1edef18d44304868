"""Real clients over a real socket: a cached model beside an uncached one, cold and warm."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from support import TESTS

pytest.importorskip("langchain_openai")

from support import cached_calls as calls
from support.cached_calls import CLIENTS, PATHS
from support.stream_server import Ask, StreamServer, Turn, turn_of

from llmemo import LLMCache, cached

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.clients]

THINKS = {"type": "enabled", "budget_tokens": 1024}
VARIANTS: dict[str, tuple[str, dict[str, Any], bool]] = {
    "openai": ("openai", {}, False),
    "openai tools": ("openai", {}, True),
    "openai usage": ("openai", {"stream_usage": True}, False),
    "openai streaming": ("openai", {"streaming": True, "stream_usage": True}, True),
    "openai v1": ("openai", {"output_version": "v1", "stream_usage": True}, True),
    "openai logprobs": ("openai", {"logprobs": True}, False),
    "responses": ("responses", {}, True),
    "responses v1": ("responses", {"output_version": "v1", "reasoning": {"effort": "low"}}, False),
    "anthropic": ("anthropic", {}, True),
    "anthropic thinks": ("anthropic", {"thinking": THINKS}, True),
    "anthropic v1": ("anthropic", {"output_version": "v1"}, False),
    "anthropic no usage": ("anthropic", {"stream_usage": False}, False),
}
"""Name: a client, its settings, and whether it has tools, which it then calls in parallel."""


def thoughtful(ask: Ask) -> Turn:
    """Think first, where the request asks for that."""
    turn = turn_of(ask)
    if "reasoning" in ask.body or "thinking" in ask.body:
        turn = replace(turn, thinking="Let me think.")
    return turn


@pytest.fixture
def server(server: StreamServer) -> StreamServer:
    server.turn = thoughtful
    return server


def build(variant: str, server_url: str, cache: LLMCache | None) -> Any:
    """A variant's model; uncached if there is no cache."""
    client, options, has_tools = VARIANTS[variant]
    plain = CLIENTS[client](server_url, **options)
    model = plain if cache is None else cached(plain, cache)
    return model.bind_tools([calls.weather, calls.clock]) if has_tools else model


@pytest.mark.parametrize("variant", VARIANTS)
def test_each_path_is_as_without_a_cache(variant: str, server: StreamServer) -> None:
    plain = build(variant, server.url, None)
    for path in PATHS:
        with LLMCache() as cache:
            model = cached(plain, cache)
            expected, heard = calls.told(path, plain)
            server.bodies.clear()
            for _ in range(2):
                got, told = calls.told(path, model)
                assert got == expected, path
                assert told == heard, path
            assert server.requests == 1, path
            # No handler: llmemo has a way of its own for that.
            assert calls.run(path, model) == expected
            assert server.requests == 1, path
            stats = cache.stats()
        assert (stats.hits, stats.misses, stats.updates) == (2, 1, 1), path
        assert (stats.skipped, stats.bypassed, stats.errors) == ({}, {}, {})


@pytest.mark.parametrize("variant", ["openai usage", "responses", "anthropic thinks"])
def test_a_cold_call_without_handlers(variant: str, server: StreamServer) -> None:
    plain = build(variant, server.url, None)
    for path in PATHS:
        with LLMCache() as cache:
            expected = calls.run(path, plain)
            server.bodies.clear()
            assert calls.run(path, cached(plain, cache)) == expected
            assert server.requests == cache.stats().misses == cache.stats().updates == 1


@pytest.mark.parametrize("variant", ["openai usage", "responses v1", "anthropic thinks"])
def test_another_cache_on_the_same_file(variant: str, server: StreamServer, tmp_path: Path) -> None:
    plain = build(variant, server.url, None)
    expected = {path: calls.told(path, plain, path) for path in PATHS}
    server.bodies.clear()
    file = tmp_path / "cache.db"
    with LLMCache(file) as cache:
        model = build(variant, server.url, cache)
        for path in PATHS:
            assert calls.told(path, model, path) == expected[path]
    assert server.requests == len(PATHS)
    with LLMCache(file) as cache:
        model = build(variant, server.url, cache)
        for path in PATHS:
            assert calls.told(path, model, path) == expected[path]
        assert cache.stats().store_hits == len(PATHS)
    assert server.requests == len(PATHS)


PROGRAM = """
import json, sys
sys.path[:0] = [{tests!r}, {here!r}]
import test_cached_clients as here
from llmemo import LLMCache
told = {{}}
with LLMCache({file!r}, store_timeout=60) as cache:
    for variant in {variants!r}:
        model = here.build(variant, {url!r}, cache)
        for path in here.PATHS:
            told[variant + path] = here.calls.told(path, model, path)
    json.dump([told, cache.stats().store_hits], sys.stdout)
"""


@pytest.mark.slow
def test_another_process_sends_nothing(server: StreamServer, tmp_path: Path) -> None:
    file, variants = tmp_path / "cache.db", ["openai tools", "responses", "anthropic thinks"]
    expected = {}
    with LLMCache(file) as cache:
        for variant in variants:
            model = build(variant, server.url, cache)
            for path in PATHS:
                expected[variant + path] = calls.told(path, model, path)
    sent = server.requests
    program = PROGRAM.format(
        tests=str(TESTS),
        here=str(TESTS / "integrations"),
        file=str(file),
        variants=variants,
        url=server.url,
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert (done.returncode, done.stderr) == (0, "")
    told, store_hits = json.loads(done.stdout)
    assert told == json.loads(json.dumps(expected))
    assert store_hits == len(variants) * len(PATHS) == sent == server.requests
