"""What an entry in memory knows: its times, its worth, and what it is after its end."""

from __future__ import annotations

import gc
import random
import sys
import types

import pytest
from langchain_core.outputs import Generation

from llmemo._core import Memory, ValueDamaged, encode
from llmemo.keys.request import Request

REQUEST = ("p", "l", "n")
SAID = [Generation(text="said")]


class Clock:
    """Time that a test sets."""

    now = 1_000.5

    def __call__(self) -> float:
        return self.now


def memory_of(clock: Clock, grace: float = 0.0) -> Memory:
    secret = bytes(range(192))
    return Memory(2**20, fingerprint_secret=secret, grace=grace, clock=clock)


def named(request: tuple[str, str, str]) -> tuple[Request, str]:
    """What it takes to make a key of a request: prompt, `llm_string`, namespace."""
    prompt, llm_string, namespace = request
    return Request(prompt, llm_string), namespace


def worth_of(memory: Memory) -> tuple[int, int, float]:
    counts = memory.counts()
    return counts.input_tokens, counts.output_tokens, counts.money


def put(memory: Memory, **settings: object) -> bytes:
    key = memory.key(*named(REQUEST))
    assert memory.put(*REQUEST, key, encode(SAID, key), **settings)  # type: ignore[arg-type]
    return key


def test_an_entry_knows_when_it_was_made_and_when_it_ends() -> None:
    clock = Clock()
    memory = memory_of(clock)
    key = put(memory)
    assert memory.about(key) == (1_000.5, None, False)
    put(memory, expires=2_000.25, created=7.125, early=10.0)
    assert memory.about(key) == (7.125, 2_000.25, False)
    clock.now = 2_000.25 - 370
    assert memory.about(key) == (7.125, 2_000.25, True)
    assert memory.about(b"x" * 32) is None
    counts = memory.counts()
    assert counts.hits == counts.evictions == counts.expired == 0


def test_a_request_has_the_key_that_lookup_would_answer_from() -> None:
    clock = Clock()
    memory = memory_of(clock)
    assert memory.known(*REQUEST) is None
    key = put(memory, expires=1_001.0)
    assert memory.known(*REQUEST) == key
    assert memory.known("p", "l", "another") is None
    clock.now = 1_001.0
    assert memory.known(*REQUEST) is None
    long = ("long" * 5_000, "l", "n")
    key = memory.key(*named(long))
    memory.put(*long, key, encode(SAID, key))
    assert memory.known(*long) == key
    assert memory.counts().hits == 0


def test_near_its_end_lookup_refuses_now_and_then_and_lookup_by_key_never() -> None:
    clock = Clock()
    memory = memory_of(clock)
    for prompt in ("p", "longer than what a sketch is made of " * 200):
        request = (prompt, "l", "n")
        key = memory.key(*named(request))
        memory.put(*request, key, encode(SAID, key), expires=2_000.0, early=1.0)
        clock.now = 1_900.0
        assert all(memory.lookup(*request) == SAID for _ in range(100))
        clock.now = 1_999.0
        outcomes = [memory.lookup(*request) for _ in range(5_000)]
        # One in e: of a prompt that is found by its sketch, too.
        assert 1_650 < sum(outcome is None for outcome in outcomes) < 2_030
        assert all(memory.lookup_key(*request, key) == SAID for _ in range(100))
        assert memory.known(*request) == key


def test_what_has_expired_is_given_to_whoever_asks_for_it_while_its_grace_lasts() -> None:
    clock = Clock()
    memory = memory_of(clock, grace=60.0)
    key = put(memory, expires=1_010.0)
    assert memory.stale(*REQUEST, key) == SAID
    clock.now = 1_069.0
    for _ in range(3):
        assert memory.lookup(*REQUEST) is memory.lookup_key(*REQUEST, key) is None
        assert memory.stale(*REQUEST, key) == SAID
        assert not memory.holds(key)
    assert memory.about(key) == (1_000.5, 1_010.0, True)
    counts = memory.counts()
    assert (counts.hits, counts.evictions, counts.expired, counts.entries) == (0, 0, 1, 1)
    clock.now = 1_070.0
    assert memory.about(key) is None
    assert memory.stale(*REQUEST, key) is None
    counts = memory.counts()
    assert (counts.hits, counts.evictions, counts.expired, counts.entries) == (0, 0, 1, 0)


def test_hits_add_up_what_they_are_worth() -> None:
    memory = memory_of(Clock())
    key = put(memory, worth=(100, 7, 0.25))
    for _ in range(3):
        memory.lookup(*REQUEST)
    memory.lookup_key(*REQUEST, key)
    memory.stale(*REQUEST, key)
    assert memory.counts().hits == 4
    assert worth_of(memory) == (400, 28, 1.0)
    with pytest.raises(OverflowError):
        put(memory, worth=(-1, 0, 0.0))


@pytest.mark.slow
def test_a_hit_that_cannot_be_read_is_worth_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("somewhere")
    monkeypatch.setitem(sys.modules, "somewhere", module)
    exec("import enum\nclass It(enum.Enum):\n    A = 1", vars(module))
    memory = memory_of(Clock())
    key = memory.key(*named(REQUEST))
    value = encode([Generation(text="", generation_info={"parsed": module.It.A})], key)
    memory.put(*REQUEST, key, value, worth=(100, 7, 0.25))
    assert memory.lookup(*REQUEST) is not None
    vars(module).clear()
    gc.collect()
    with pytest.raises(ValueDamaged):
        memory.lookup(*REQUEST)
    assert memory.counts().hits == 1
    assert worth_of(memory) == (100, 7, 0.25)


def test_a_request_that_memory_does_not_have_is_sought_under_an_epoch() -> None:
    clock = Clock()
    memory = memory_of(clock, grace=10.0)
    key = memory.key(*named(REQUEST))
    assert memory.seek(*named(REQUEST)) == (key, memory.epoch(key))
    memory.remove(key)
    assert memory.seek(*named(REQUEST)) == (key, memory.epoch(key))
    put(memory, expires=1_001.0)
    # `lookup` may refuse it, or never see it: there is more to find out then.
    assert memory.seek(*named(REQUEST)) == (key, None)
    clock.now = 1_002.0
    assert memory.seek(*named(REQUEST)) == (key, None)
    memory.clear()
    assert memory.seek(*named(REQUEST)) == (key, memory.epoch(key))


def test_keys_do_not_depend_on_what_was_asked_before() -> None:
    requests = [
        (prompt, f"[('n', {number})]", namespace)
        for prompt in ("p", "q")
        for namespace in ("", "tenant", "tenant-2")
        for number in range(12)  # more than are remembered
    ] * 2
    random.Random(1).shuffle(requests)
    one, another = memory_of(Clock()), Memory(2**20, fingerprint_secret=bytes(192), secret=b"s")
    for request in requests:
        key = memory_of(Clock()).key(*named(request))
        assert one.key(*named(request)) == one.seek(*named(request))[0] == key
        assert one.describe(*named(request), tail=4)[0] == key
        assert another.key(*named(request)) != key
