"""Whatever is under our keys on the server: a miss at worst, and the key is used again."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from support.doubles import ROUNDS, answer
from support.fleet import within
from support.slices import some

from llmemo import LLMCache, RedisStore, options
from llmemo.stores.redis.frames import VALUE_AT
from llmemo.stores.redis.keys import Keys
from llmemo.stores.redis.nodes import BUCKETS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.servers import Replies

KEYS = Keys("llmemo")


@pytest.fixture
def cache(redis_url: str) -> Iterator[LLMCache]:
    with LLMCache(redis_url, max_bytes=0) as cache:
        yield cache


def name_of(cache: LLMCache, ask: Replies, prompt: str) -> bytes:
    """The name on the server of the answer to a prompt, which is stored now."""
    cache.update(prompt, "m", answer(prompt))
    made = cache._tiers.key(prompt, "m")
    assert made is not None
    name = KEYS.answer(bytes(made))
    assert ask("EXISTS", name) == 1
    return name


def damaged(cache: LLMCache) -> int:
    """How many values could not be read; there was no other trouble."""
    errors = cache.stats().errors
    assert all(reason.startswith("value_") for reason in errors), errors
    return sum(errors.values())


def expect_usable(cache: LLMCache, prompt: str) -> None:
    cache.update(prompt, "m", answer(prompt))
    assert cache.lookup(prompt, "m") == answer(prompt)
    assert cache.stats().writes_unconfirmed == 0


def test_each_byte_that_is_flipped_makes_a_miss(cache: LLMCache, ask: Replies) -> None:
    name = name_of(cache, ask, "p")
    good: bytes = ask("GET", name)
    places = range(len(good)) if ROUNDS > 1 else [*range(VALUE_AT), *range(VALUE_AT, len(good), 3)]
    for place in places:
        for flip in (0x01, 0x80) if ROUNDS > 1 else (0x10,):
            bad = bytearray(good)
            bad[place] ^= flip
            ask("SET", name, bytes(bad))
            assert cache.lookup("p", "m") is None, place
            cache.update("p", "m", answer("p"))
            assert cache.lookup("p", "m") == answer("p"), place
    assert damaged(cache) == len(places) * (2 if ROUNDS > 1 else 1)


@pytest.mark.parametrize("length", [0, 1, 4, 50, VALUE_AT - 1, VALUE_AT, VALUE_AT + 1, -1])
def test_what_is_cut_is_a_miss_and_removed(length: int, cache: LLMCache, ask: Replies) -> None:
    name = name_of(cache, ask, "p")
    good: bytes = ask("GET", name)
    ask("SET", name, good[:length])
    assert cache.lookup("p", "m") is None
    assert damaged(cache) == 1
    within(3, lambda: not ask("EXISTS", name))
    expect_usable(cache, "p")


@pytest.mark.parametrize("junk", [b"x", b"llr1", b"\x00" * 500, b"llr1" + b"\xff" * 300])
def test_what_is_not_of_ours_is_a_miss_and_removed(
    junk: bytes, cache: LLMCache, ask: Replies
) -> None:
    name = name_of(cache, ask, "p")
    ask("SET", name, junk)
    assert cache.lookup("p", "m") is None
    within(3, lambda: not ask("EXISTS", name))
    expect_usable(cache, "p")


def test_another_keys_value_is_a_miss_and_removed(cache: LLMCache, ask: Replies) -> None:
    good, name = name_of(cache, ask, "good"), name_of(cache, ask, "p")
    ask("SET", name, ask("GET", good))
    for _ in range(10):
        # It stops no other lookup.
        assert cache.lookup("good", "m") == answer("good")
    assert cache.lookup("p", "m") is None
    assert cache.lookup("good", "m") == answer("good")
    within(3, lambda: not ask("EXISTS", name))
    expect_usable(cache, "p")
    assert damaged(cache) == 1


def test_another_keys_value_among_many(redis_url: str, cache: LLMCache, ask: Replies) -> None:
    names = [name_of(cache, ask, f"p{n}") for n in range(20)]
    ask("SET", names[3], ask("GET", names[4]))
    keys = [bytes.fromhex(name.rpartition(b":")[2].decode()) for name in names]

    async def read() -> int:
        other = RedisStore(redis_url)
        await other.open()
        try:
            found = await other.get(keys)
            return sum(found[key].value[:8] != b"damaged " for key in keys)
        finally:
            await other.close()

    assert asyncio.run(read()) == 19


FOREIGN = {
    "list": ["RPUSH", "x"],
    "hash": ["HSET", "f", "x"],
    "set": ["SADD", "x"],
    "sorted set": ["ZADD", "1", "x"],
    "stream": ["XADD", "*", "f", "x"],
    "number": ["SET", "7"],
}


def plant(ask: Replies, name: bytes, kind: str) -> None:
    command, *words = FOREIGN[kind]
    ask("DEL", name)
    ask(command, name, *words)


@pytest.mark.parametrize("kind", FOREIGN)
def test_another_type_in_place_of_an_answer_is_a_miss(
    kind: str, cache: LLMCache, ask: Replies
) -> None:
    name_of(cache, ask, "good")
    name = name_of(cache, ask, "p")
    plant(ask, name, kind)
    assert cache.lookup("p", "m") is None
    assert cache.lookup("good", "m") == answer("good")
    expect_usable(cache, "p")
    plant(ask, name, kind)
    assert cache.invalidate(llm_string="m") == 1
    cache.clear()
    assert ask("EXISTS", name) == 0
    assert damaged(cache) <= 1


@pytest.mark.parametrize("kind", FOREIGN)
def test_another_type_in_place_of_a_lease_holds_up_nothing(
    kind: str, cache: LLMCache, ask: Replies
) -> None:
    name = name_of(cache, ask, "p")
    ask("DEL", name)
    plant(ask, name.replace(b":v:", b":l:"), kind)
    assert cache.lookup("p", "m") is None
    expect_usable(cache, "p")
    ask("DEL", name)
    assert cache.lookup("p", "m") is None
    plant(ask, name.replace(b":v:", b":l:"), kind)
    cache.update("p", "m", answer("p"))
    # Its lease was another's to have: it need not be stored.
    assert cache.lookup("p", "m") in (answer("p"), None)
    expect_usable(cache, "p")
    assert cache.stats().errors == {}


@pytest.mark.parametrize("kind", some(list(FOREIGN), 3))
def test_another_type_in_place_of_a_stream_clears_memory(
    kind: str, redis_url: str, ask: Replies
) -> None:
    with LLMCache(redis_url) as here, LLMCache(redis_url) as there:
        here.update("p", "m", answer("p"))
        assert there.lookup("p", "m") == answer("p")
        for bucket in range(BUCKETS):
            plant(ask, KEYS.changes(bucket), kind)
        within(1.5, lambda: here.stats().entries == there.stats().entries == 0)
        assert there.lookup("p", "m") == answer("p")
        with options(mode="refresh"):
            here.update("p", "m", answer("new"))
        within(1.5, lambda: there.lookup("p", "m") == answer("new"))
        assert here.delete("p", "m")
        assert (here.stats().errors, there.stats().errors) == ({}, {})


def test_streams_of_another_type_are_replaced_at_the_start(redis_url: str, ask: Replies) -> None:
    for bucket in range(BUCKETS):
        plant(ask, KEYS.changes(bucket), "list")
    with LLMCache(redis_url) as cache:
        expect_usable(cache, "p")
        assert cache.stats().errors == {}
    assert ask("TYPE", KEYS.changes(0)) == b"stream"
