"""Questions that a provider refuses with an error: their near matches count as wrong."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("langchain_openai")

from support.cached_calls import CLIENTS, PATHS, finish
from support.near import near_cache, told, topic_of, wording
from support.scripted import Scripted, ScriptedLLM
from support.stream_server import Ask, StreamServer, Turn

from llmemo import LLMCache, cached

if TYPE_CHECKING:
    from collections.abc import Callable

client_tests = pytest.mark.clients

FILTERED = (400, "content_filter")

TROUBLE = [
    (429, "rate_limit_error"),
    (500, "server_error"),
    (401, "invalid_api_key"),
    (529, "busy"),
]


def failing(server: StreamServer, error: tuple[int, str], topic: str) -> Callable[[Ask], Turn]:
    def turn(ask: Ask) -> Turn:
        found = topic_of(ask.text)
        return Turn(f"all about {found}", error=error if found == topic else None)

    return turn


def ask(model: Any, path: str, question: str) -> None:
    with contextlib.suppress(Exception):
        finish(PATHS[path](model, question, None))


def rehearsed(model: Any, path: str = "invoke") -> Any:
    """Two checks of a model that were right; with three a near match would be served."""
    for number in range(3):
        ask(model, path, wording(number, "rehearsals"))
    return model


@client_tests
@pytest.mark.parametrize(
    ("client", "path", "is_cached_model"),
    [
        *(("openai", path, False) for path in ("invoke", "ainvoke", "batch", "abatch")),
        *(("openai", path, True) for path in ("invoke", "ainvoke", "stream", "astream")),
        *((client, "invoke", False) for client in ("responses", "anthropic")),
        *((client, "stream", True) for client in ("responses", "anthropic")),
    ],
)
def test_a_refusal_counts_as_wrong(
    server: StreamServer, client: str, path: str, *, is_cached_model: bool
) -> None:
    with near_cache() as cache:
        options = {} if is_cached_model else {"cache": cache}
        plain = CLIENTS[client](server.url, **options)
        server.turn = failing(server, FILTERED, "nothing")
        model = rehearsed(cached(plain, cache) if is_cached_model else plain)
        assert (told(cache).checks, told(cache).wrong) == (2, 0)
        server.turn = failing(server, FILTERED, "rehearsals")
        ask(model, path, wording(3, "rehearsals"))
        assert (told(cache).checks, told(cache).wrong) == (3, 1)
        # It counts once.
        ask(model, path, wording(3, "rehearsals"))
        assert (told(cache).checks, told(cache).wrong) == (4, 2)


@client_tests
@pytest.mark.parametrize("client", ["openai", "anthropic"])
@pytest.mark.parametrize("path", ["invoke", "astream"])
@pytest.mark.parametrize("trouble", TROUBLE)
def test_trouble_on_the_way_says_nothing(
    server: StreamServer, client: str, path: str, trouble: tuple[int, str]
) -> None:
    with near_cache() as cache:
        model = rehearsed(cached(CLIENTS[client](server.url), cache))
        before = told(cache).checks
        server.turn = failing(server, trouble, "rehearsals")
        ask(model, path, wording(3, "rehearsals"))
        assert told(cache).checks == before
        # The answer, once it comes, is compared as always.
        server.reset()
        ask(model, path, wording(3, "rehearsals"))
        assert told(cache).checks == before + 1


@client_tests
@pytest.mark.parametrize("fails_at", [{"hangs_up_at": 2}, {"fails_at": 2}])
def test_a_broken_stream_says_nothing(server: StreamServer, fails_at: dict[str, int]) -> None:
    with near_cache() as cache:
        model = rehearsed(cached(CLIENTS["openai"](server.url), cache))
        server.turn = lambda _: Turn("all about rehearsals", **fails_at)  # type: ignore[arg-type]
        ask(model, "stream", wording(3, "rehearsals"))
        assert told(cache).checks == 2


def wary(text: str) -> str:
    if "blasting" in text:
        msg = "content policy"
        raise ValueError(msg)
    return "all about it"


def completes(cache: LLMCache) -> Any:
    return ScriptedLLM(act=wary, cache=cache, asked=[])


def chats(cache: LLMCache) -> Any:
    return Scripted(act=wary, cache=cache, asked=[])


@pytest.mark.parametrize("is_alone", [False, True])
@pytest.mark.parametrize("make", [completes, chats])
@pytest.mark.parametrize("is_async", [False, True])
def test_what_a_model_always_refuses_is_not_served(
    make: Callable[[LLMCache], Any], *, is_async: bool, is_alone: bool
) -> None:
    """Refused and allowed questions in turn: half of the checks are wrong, so none is served."""
    with near_cache(single_flight=not is_alone) as cache:
        model = make(cache)

        def run(text: str) -> None:
            with contextlib.suppress(ValueError):
                _ = asyncio.run(model.ainvoke(text)) if is_async else model.invoke(text)

        run("explain rehearsals")
        for number in range(1, 20):
            run(f"{wording(number, 'rehearsals')} blasting")
            run(wording(number, "rehearsals"))
        refused = [text for text in model.asked if "blasting" in text]
        assert len(refused) == 19
        assert told(cache).wrong == 19


def test_a_cancelled_call_says_nothing() -> None:
    async def main(cache: LLMCache) -> None:
        begun = asyncio.Event()

        async def hang() -> str:
            begun.set()
            await asyncio.Event().wait()
            raise AssertionError

        slow = Scripted(act=lambda _: hang(), cache=cache, asked=[])
        call = asyncio.create_task(slow.ainvoke(wording(3, "rehearsals")))
        await begun.wait()
        call.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await call

    with near_cache() as cache:
        rehearsed(Scripted(act=lambda _: "all about it", cache=cache, asked=[]))
        asyncio.run(main(cache))
        assert told(cache).checks == 2
