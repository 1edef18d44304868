"""Requests that differ never share an entry, and a request is called the same everywhere.

The oracle (oracle.py) derives keys from docs/keys.md, and shares no code with the library.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.outputs import Generation
from support import TESTS, oracle
from support.strategies import TEXTS, examples, hard_texts

from llmemo import LLMCache
from llmemo._core import Memory, encode
from llmemo.keys.request import Request

if TYPE_CHECKING:
    from collections.abc import Callable

    MakeCache = Callable[..., LLMCache]
    Triple = tuple[str, str, str]

SECRET = bytes(range(7, 199))
"""A fingerprint secret; keys must not depend on it."""
CANARY = "canary-7f3a"
HERE = TESTS


def memory(secret: bytes | None = None, fingerprint_secret: bytes = SECRET) -> Memory:
    return Memory(2**26, fingerprint_secret=fingerprint_secret, secret=secret)


def said(text: str) -> list[Generation]:
    return [Generation(text=text)]


def oracle_key(triple: Triple, secret: bytes | None) -> bytes:
    namespace, llm_string, prompt = triple
    return oracle.key(prompt, llm_string, namespace, secret=secret)


adversarial = st.sampled_from(
    [
        *TEXTS,
        "---",
        "\0---\0",
        "\1\0\0\0\0\0\0\0",
        "a\0",
        "[]",
        "[{}]---[('a', 1)]",
        "\ud83d\ude00",
        "😀",
    ]
)
parts = st.lists(adversarial | hard_texts, max_size=3).map("".join)
triples = st.tuples(parts, parts, parts)
secrets = st.none() | st.binary(min_size=1, max_size=200)


@pytest.mark.slow
@examples(400)
@given(triples, secrets)
def test_keys_and_labels_are_those_of_the_oracle(triple: Triple, secret: bytes | None) -> None:
    namespace, llm_string, prompt = triple
    tier = memory(secret)
    assert tier.key(Request(prompt, llm_string), namespace) == oracle_key(triple, secret)
    assert tier.label(prompt) == oracle.label(prompt, secret)


@pytest.mark.parametrize(
    "size", [0, 1, 63, 64, 65, 1023, 1024, 1025, 4096, 4097, 65_537, 2**20 + 1]
)
def test_long_parts_are_keyed_as_by_the_oracle(size: int) -> None:
    for text in ("x" * size, "é" * (size // 2), "\ud800" * (size // 3), "ab\0" * (size // 3)):
        for secret in (None, b"s"):
            triple = (text[:50], text[::-1], text)
            assert memory(secret).key(Request(triple[2], triple[1]), triple[0]) == oracle_key(
                triple, secret
            )


def test_keys_that_were_given_once_stay() -> None:
    # A change of these makes every stored answer a miss: it needs a new version of the framing.
    # tests/vectors has many more.
    key, secret_key = (memory(secret).key(Request("p", "l"), "n") for secret in (None, b"s"))
    label = memory().label("n")
    assert key.hex() == "b6796dda818200eab9b2a7b85416312e98b75657ca6a5979f8fb0fab3fafb2e5"
    assert secret_key.hex() == "29305f11503cfdf5447efeb13d22392d912699fee536ced3a1b62fb452594398"
    assert label.hex() == "3c96b07714577d9fc8e743261f3cc229"


@pytest.mark.slow
@examples(100)
@given(triples, triples, secrets, secrets)
def test_keys_are_equal_exactly_if_requests_and_secrets_are(
    one: Triple, other: Triple, secret: bytes | None, another: bytes | None
) -> None:
    def key(triple: Triple, secret: bytes | None, fingerprints: bytes = SECRET) -> bytes:
        return memory(secret, fingerprints).key(Request(triple[2], triple[1]), triple[0])

    assert (key(one, secret) == key(other, secret)) == (one == other)
    assert (key(one, secret) == key(one, another)) == (secret == another)
    assert key(one, secret) == key(one, secret, SECRET[::-1])


# Framing.

LENGTH_LIKE = "\1\0\0\0\0\0\0\0a\2\0\0\0\0\0\0\0bc\0\0\0\0\0\0\0\0"
SPLIT = ["\0" * 150, "---" * 50, "a" * 150, LENGTH_LIKE * 6, "a\0---\1b" * 22, "é\ud800\0" * 50]
SPLIT += [
    "[('model', 'm')]---[{\"lc\": 1}]\0" * 5,
    "\ud83d\ude00😀" * 50,
    "".join(map(chr, range(150))),
]


def splits(text: str) -> list[Triple]:
    cuts = itertools.combinations_with_replacement(range(len(text) + 1), 2)
    return [(text[:i], text[i:j], text[j:]) for i, j in cuts]


@pytest.mark.slow
def test_no_two_splits_of_a_text_share_a_key() -> None:
    tier, count = memory(), 0
    for text in SPLIT:
        made = splits(text)
        assert len(set(made)) == len(made)
        keys = {tier.key(Request(prompt, llm), namespace) for namespace, llm, prompt in made}
        assert len(keys) == len(made), repr(text[:20])
        count += len(made)
    assert count >= 100_000


def test_no_two_splits_of_a_text_share_an_entry_in_memory() -> None:
    for text in SPLIT:
        tier, made = memory(), splits(text[:40])
        for number, (namespace, llm, prompt) in enumerate(made):
            assert tier.lookup(prompt, llm, namespace) is None
            key = tier.key(Request(prompt, llm), namespace)
            assert tier.put(prompt, llm, namespace, key, encode(said(str(number)), key))
        for number, (namespace, llm, prompt) in enumerate(made):
            assert tier.lookup(prompt, llm, namespace) == said(str(number))


def test_equal_texts_are_one_text_however_they_are_held() -> None:
    class Text(str):
        __slots__ = ()

        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = str.__hash__

        def __str__(self) -> str:
            return "other"

    cache = LLMCache()
    for text in ("plain", "é", "\ud800", "x" * 5_000, "x" * 200_000):
        cache.update(text, "l", said(text))
        for same in (Text(text), (text + "😀")[:-1], "".join(list(text))):
            assert cache.lookup(same, "l") == said(text)
        assert cache.lookup(Text(text + "!"), "l") is None
        assert cache.lookup(text, Text("m")) is None


class Shifty(str):
    """Encodes itself as something else."""

    __slots__ = ()

    def encode(self, encoding: str = "", errors: str = "") -> bytes:
        return b"same"


def test_a_text_is_what_it_holds_not_what_it_says() -> None:
    assert memory().key(Request(Shifty("\ud800"), "l"), "") == oracle_key(("", "l", "\ud800"), None)


# What is no text.

NO_TEXTS: list[Any] = [b"bytes", None, 1, 1.5, ["a"], bytearray(b"x"), ("a",), object(), {}]


def test_what_is_no_text_bypasses_the_cache(
    make_cache: MakeCache, caplog: pytest.LogCaptureFixture
) -> None:
    cache = make_cache()
    cache.update("b'bytes'", "None", said("text"))

    async def asynchronously(prompt: Any, llm_string: Any) -> None:
        assert await cache.alookup(prompt, llm_string) is None
        await cache.aupdate(prompt, llm_string, said(CANARY))

    with caplog.at_level(logging.DEBUG, "llmemo"):
        for count, it in enumerate(NO_TEXTS, start=1):
            pairs: list[tuple[Any, Any]] = [(it, "l"), ("p", it), (it, it)]
            for pair in pairs:
                assert cache.lookup(*pair) is None
                cache.update(*pair, said(CANARY))
                asyncio.run(asynchronously(*pair))
            assert cache.stats().bypassed == {"not_text": 12 * count}
    stats = cache.stats()
    assert (stats.updates, stats.skipped, stats.errors) == (1, {}, {})
    assert len([line for line in caplog.records if line.name == "llmemo"]) == 1
    assert CANARY not in caplog.text


# Processes and namespaces.

PRINT_KEYS = """
import sys
from llmemo._core import Memory
from llmemo.keys.request import Request
import test_keys as t
for secret in (None, b"secret"):
    tier = t.memory(secret, bytes([int(sys.argv[1])] * 96 + list(range(96))))
    for text in t.SPLIT:
        print(tier.key(Request(text, text[:9]), text[9:]).hex(), tier.label(text).hex())
"""


def test_keys_are_the_same_in_every_process() -> None:
    outputs, processes = [], []
    for seed in ("1", "4294967295"):
        command = [sys.executable, "-c", PRINT_KEYS, seed[:1]]
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(TESTS)}
        processes.append(
            subprocess.Popen(
                command,
                env=environment,
                cwd=Path(__file__).parent,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
    for process in processes:
        outputs.append(process.communicate()[0].split())
        assert process.returncode == 0
    expected = []
    for secret in (None, b"secret"):
        for text in SPLIT:
            expected.append(oracle_key((text[9:], text[:9], text), secret).hex())
            expected.append(oracle.label(text, secret).hex())
    assert outputs == [expected] * 2


@pytest.mark.slow
def test_namespaces_never_share(make_cache: MakeCache) -> None:
    names = [*TEXTS, "a", "b", "ab", "a\0", "A"]
    caches = {name: make_cache(namespace=name) for name in names}
    requests = [("p", "l"), ("", ""), ("a", "b"), ("b", "a"), ("ab", "")]
    for name, cache in caches.items():
        for request in requests:
            assert cache.lookup(*request) is None, repr(name)
            cache.update(*request, said(ascii((name, *request))))
    for name, cache in caches.items():
        for request in requests:
            assert cache.lookup(*request) == said(ascii((name, *request)))
