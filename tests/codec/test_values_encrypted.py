"""With a key, a store tells nobody an answer, and nobody can put another in its place."""

from __future__ import annotations

import copy
import hashlib
import json
import logging
import os
import random
import sqlite3
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, Generation
from support.doubles import LIMIT, FakeStore, lines
from support.exact import difference
from support.strategies import FACTOR, answers, examples

from llmemo import ConfigurationError, LLMCache, SQLiteStore
from llmemo._core import ValueDamaged, decode, encode
from llmemo.codec.encryption import VARIABLE
from llmemo.codec.envelope import Envelope

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    MakeCache = Callable[..., LLMCache]

NEW, OLD = "canary-key-new", b"canary-key-old" + bytes(18)
KEY = bytes(range(32))


@pytest.fixture(autouse=True)
def no_key_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)


def said(text: str) -> list[Generation]:
    call = {"name": "f", "args": {"where": text}, "id": "1"}
    message = AIMessage(text, response_metadata={"about": text}, tool_calls=[call])
    return [ChatGeneration(message=message), Generation(text=text)]


def opened(store: Any, key: Any = NEW, **settings: Any) -> LLMCache:
    return LLMCache(store, encryption_key=key, max_bytes=0, store_timeout=LIMIT, **settings)


def fill(store: Any, count: int, key: Any = NEW) -> None:
    with opened(store, key) as cache:
        for number in range(count):
            cache.update(str(number), "m", said(f"answer {number}"))
        assert cache.stats().errors == {}


def found(cache: LLMCache, count: int) -> list[int]:
    """Which answers are hits; each is the right one."""
    hits = [cache.lookup(str(number), "m") for number in range(count)]
    for number, hit in enumerate(hits):
        assert hit is None or difference(hit, said(f"answer {number}")) is None
    return [number for number, hit in enumerate(hits) if hit is not None]


def envelope(key: Any = NEW) -> Envelope:
    return Envelope(key, is_needed=True)


def refusal(one: Envelope, stored: bytes, key: bytes = KEY) -> str:
    with pytest.raises(ValueDamaged) as caught:
        decode(one.open(stored, key), key)
    return str(caught.value)


# What is stored.


@pytest.mark.slow
@examples(30)
@given(answers)
def test_an_answer_comes_back(answer: list[Generation]) -> None:
    one, value = envelope(), encode(answer, KEY)
    stored = one.seal(value, KEY)
    assert one.open(stored, KEY) == value
    assert stored[:4] == b"llme"
    assert len(stored) <= len(value) + 44
    assert value[44:-8] not in stored


def test_through_a_cache_and_a_restart(make_cache: MakeCache) -> None:
    for _ in range(2):
        cache = make_cache(encryption_key=NEW, fresh_ids=False, admit=None)
        cache.update("p", "m", said("x" * 10))
        for _ in range(2):
            assert cache.lookup("p", "m") == said("x" * 10)
        assert (cache.stats().errors, cache.stats().skipped) == ({}, {})


@pytest.mark.slow
@pytest.mark.parametrize("given_key", [NEW, OLD, b"short", "x" * 32, "\ud800", "é" * 40])
def test_the_bytes_are_those_that_the_document_says(given_key: str | bytes) -> None:
    """Opened without the library: by docs/values.md alone."""
    if isinstance(given_key, bytes) and len(given_key) == 32:
        key = given_key
    else:
        text = (
            given_key
            if isinstance(given_key, bytes)
            else given_key.encode("utf-8", "surrogatepass")
        )
        salt = b"llmemo: encryption key from text"
        key = hashlib.scrypt(text, salt=salt, n=2**14, r=8, p=1, dklen=32)
    value = encode(said("hello"), KEY)
    stored = envelope(given_key).seal(value, KEY)
    key_id = hashlib.blake2b(b"llmemo: id of a key", key=key, digest_size=8).digest()
    assert stored[:16] == b"llme\1\0\0\0" + key_id
    assert AESGCM(key).decrypt(stored[16:28], stored[28:], stored[:16] + KEY) == value


def test_answers_are_compressed_first() -> None:
    value = encode(said("the same again, " * 300 + str(random.Random(0).randbytes(500))), KEY)
    assert len(envelope().seal(value, KEY)) < len(value) / 2


def test_no_nonce_and_no_ciphertext_comes_twice() -> None:
    one, value = envelope(), encode(said("hello"), KEY)
    stored = {one.seal(value, KEY) for _ in range(10_000)}
    assert len({each[16:28] for each in stored}) == len({each[28:] for each in stored}) == 10_000


TOKENS = [
    f"planted{number:02}{hashlib.sha256(bytes([number])).hexdigest()[:12]}" for number in range(50)
]


def planted(number: int) -> tuple[str, str, list[Generation]]:
    """A request and its answer with a token in each: in every place that a token may be in."""
    token = TOKENS[number]
    big = f"{token} " * (200 if number % 3 == 0 else 1)
    call = {"name": token, "args": {token: [token]}, "id": token}
    message = AIMessage(
        [{"type": "text", "text": big}],
        id=token,
        name=token,
        tool_calls=[call],
        response_metadata={token: token, "bytes": token.encode()},
    )
    llm_string = json.dumps({"kwargs": {"headers": f"Bearer {token}"}}) + "---[('stop', None)]"
    return f"{token}?", llm_string, [ChatGeneration(message=message)]


def told(caplog: pytest.LogCaptureFixture) -> str:
    return "".join(f"{r.getMessage()} {r.args} {r.exc_text}" for r in caplog.records)


def test_nothing_planted_is_in_any_file_or_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for name, stores_requests in (("a", False), ("b", True)):
        store = SQLiteStore(tmp_path / f"{name}.db", store_requests=stores_requests)
        with LLMCache(store, encryption_key=[NEW, OLD], store_timeout=LIMIT) as cache:
            for number in range(50):
                prompt, llm_string, answer = planted(number)
                cache.update(prompt, llm_string, answer)
            files = {file.name: file.read_bytes() for file in tmp_path.glob(f"{name}*")}
            assert set(files) >= {f"{name}.db", f"{name}.db-wal", f"{name}.db-shm"}
            assert len(files[f"{name}.db-wal"]) > 30_000
            cache.explain("planted", planted(1)[1])
        with LLMCache(tmp_path / f"{name}.db", encryption_key=NEW, store_timeout=LIMIT) as cache:
            for number in range(50):
                prompt, llm_string, answer = planted(number)
                assert cache.lookup(prompt, llm_string) == answer
        files["after"] = (tmp_path / f"{name}.db").read_bytes()
        text = b"".join(files.values()) + told(caplog).encode()
        for secret in [*TOKENS, "canary-key", "Bearer"]:
            assert secret.encode() not in text
            assert secret.encode().hex().encode() not in text
    assert any(record.name == "aiosqlite" for record in caplog.records)


def test_answers_are_in_no_log_without_encryption_either(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with LLMCache(tmp_path / "c.db", max_bytes=0, store_timeout=LIMIT) as cache:
        for number in range(50):
            prompt, llm_string, answer = planted(number)
            cache.update(prompt, llm_string, answer)
            assert cache.lookup(prompt, llm_string) is not None
        cache.delete(*planted(0)[:2])
    assert any(record.name == "aiosqlite" for record in caplog.records)
    assert not [token for token in TOKENS if token in told(caplog)]


def test_requests_that_a_store_keeps_are_sealed_too(tmp_path: Path) -> None:
    def store() -> SQLiteStore:
        return SQLiteStore(tmp_path / "c.db", store_requests=True)

    with opened(store()) as cache:
        cache.update("one prompt", "m", said("x"))
    with closing(sqlite3.connect(tmp_path / "c.db")) as connection:
        [(key, value, request)] = connection.execute("SELECT key, value, request FROM entries")
    assert request[:4] == b"llme"
    # It cannot stand in for the answer, nor the answer for it.
    assert refusal(envelope(), request, key) == "not_authentic"
    with opened(store()) as cache:
        # In words, as only the request itself makes possible.
        assert "differs from character 1" in str(cache.explain("another prompt", "m"))
    for wrong in (OLD, None):
        with opened(store(), wrong) as cache:
            [nearest] = cache.explain("another prompt", "m").nearest
            assert nearest.differences == ("prompt",)
    with closing(sqlite3.connect(tmp_path / "c.db")) as connection, connection:
        connection.execute("UPDATE entries SET request = ?", (value,))
    with opened(store()) as cache:
        assert cache.explain("another prompt", "m").nearest[0].differences == ("prompt",)


# What is believed.


def test_no_answer_is_accepted_under_another_key() -> None:
    one, rng = envelope(), random.Random(1)
    keys = [rng.randbytes(32) for _ in range(101)]
    stored = [one.seal(encode(said(str(n)), key), key) for n, key in enumerate(keys)]
    attempts = 0
    for at, value in enumerate(stored):
        for other in keys[:at] + keys[at + 1 :]:
            # Neither as it is, nor with its inside meant for the other key.
            assert refusal(one, value, other) == "not_authentic"
            attempts += 1
    assert attempts >= 10_000
    for key in keys[1:]:
        inside = one.seal(encode(said("x"), keys[0]), key)
        assert refusal(one, inside, key) == "wrong_key"


def test_swapped_rows_are_misses_and_are_removed(tmp_path: Path) -> None:
    path, count = tmp_path / "c.db", 60
    fill(path, count)
    with closing(sqlite3.connect(path)) as connection, connection:
        rows = connection.execute("SELECT key, value FROM entries ORDER BY id").fetchall()
        values = [value for _, value in rows]
        pairs = zip(values[1:] + values[:1], [key for key, _ in rows], strict=True)
        connection.executemany(
            "UPDATE entries SET value = ? WHERE key = ?", list(pairs)[: count - 10]
        )
    with opened(path) as cache:
        assert found(cache, count) == list(range(count - 10, count))
        assert cache.stats().errors == {"value_not_authentic": count - 10}
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM entries").fetchone() == (10,)


def test_every_flipped_bit_and_every_truncation_is_a_miss() -> None:
    one = envelope([NEW, OLD])
    stored = one.seal(encode(said("hello"), KEY), KEY)
    reasons = set()
    for bit in range(8 * len(stored)):
        flipped = bytearray(stored)
        flipped[bit // 8] ^= 1 << bit % 8
        reasons.add(refusal(one, bytes(flipped)))
    left_alone = {"unknown_version", "unknown_encryption_key"}
    assert reasons == {"not_a_value", "not_authentic", *left_alone}
    for size in range(len(stored)):
        assert refusal(one, stored[:size]) in {"not_a_value", *reasons}
        assert refusal(one, stored[:size] + b"\0" + stored[size:]) in reasons
    rng = random.Random(2)
    for _ in range(round(3000 * FACTOR)):
        burst, at = rng.randbytes(rng.randrange(1, 50)), rng.randrange(len(stored))
        changed = (stored[:at] + burst + stored[at + len(burst) :])[: len(stored)]
        assert changed == stored or refusal(one, changed) in {*reasons, "not_encrypted"}


def test_the_id_of_another_key_does_not_help() -> None:
    both, other = envelope([NEW, OLD]), envelope(OLD)
    value = encode(said("hello"), KEY)
    stored, foreign = both.seal(value, KEY), other.seal(value, KEY)
    assert refusal(both, stored[:8] + foreign[8:16] + stored[16:]) == "not_authentic"
    assert both.open(foreign, KEY) == value


def test_rows_that_are_not_encrypted_are_refused_and_left(tmp_path: Path) -> None:
    path = tmp_path / "c.db"
    big = [Generation(text=" ".join(map(str, range(2000))))]
    with opened(path, None) as cache:
        cache.update("0", "m", said("answer 0"))
        cache.update("1", "m", big)
    before = path.read_bytes()
    with opened(path) as cache:
        assert found(cache, 2) == []
        assert cache.stats().errors == {"value_not_encrypted": 2}
        assert "not_encrypted" in str(cache.explain("0", "m"))
    assert path.read_bytes() == before
    with opened(path, None) as cache:
        assert cache.lookup("1", "m") == big
    with opened(path) as cache:
        cache.update("0", "m", said("answer 0"))
        assert found(cache, 1) == [0]


# Keys.


@pytest.mark.parametrize("wrong", ["another key", OLD, None])
def test_a_wrong_key_is_a_miss_a_counter_and_one_line(
    tmp_path: Path, wrong: Any, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "c.db"
    fill(path, 5)
    with opened(path, wrong) as cache:
        assert found(cache, 5) == []
        assert cache.stats().errors == {"value_unknown_encryption_key": 5}
        assert cache.stats().misses == 5
        assert "unknown_encryption_key" in str(cache.explain("0", "m"))
    assert len(lines(caplog)) == 1
    with opened(path) as cache:
        assert found(cache, 5) == list(range(5)), "the rows were left alone"


def test_rotation(tmp_path: Path) -> None:
    path = tmp_path / "c.db"
    fill(path, 3, OLD)
    with opened(path, [NEW, OLD]) as cache:
        assert found(cache, 3) == [0, 1, 2]
        cache.update("1", "m", said("answer 1"))
        assert cache.stats().errors == {}
    with opened(path, (NEW,)) as cache:
        assert found(cache, 3) == [1]
    with opened(path, [OLD, NEW]) as cache:
        assert found(cache, 3) == [0, 1, 2]
    with opened(path, OLD) as cache:
        assert found(cache, 3) == [0, 2]


@pytest.mark.slow
def test_the_environment_names_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path / "c.db", 2, NEW)
    for text, keys in [(NEW, 2), (f" {NEW}\n", 2), (f"newer, {NEW}", 2), (f"{NEW},x", 2), ("x", 0)]:
        monkeypatch.setenv(VARIABLE, text)
        with opened(tmp_path / "c.db", None) as cache:
            assert len(found(cache, 2)) == keys, text
    # What is given counts; and 32 characters there are text.
    with opened(tmp_path / "c.db", NEW) as cache:
        assert found(cache, 2) == [0, 1]
    monkeypatch.setenv(VARIABLE, "a phrase with spaces")
    fill(tmp_path / "phrase.db", 1, None)
    with opened(tmp_path / "phrase.db", "a phrase with spaces") as cache:
        assert found(cache, 1) == [0]
    for nothing in ("", " \n"):
        monkeypatch.setenv(VARIABLE, nothing)
        store = FakeStore()
        fill(store, 1, None)
        assert next(iter(store.records.values())).value[:4] == b"llmv"


def test_the_environment_does_not_reach_caches_without_a_store(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(VARIABLE, "hush,,")
    monkeypatch.setitem(sys.modules, "cryptography.exceptions", None)
    cache = LLMCache()
    cache.update("p", "m", said("x"))
    assert cache.lookup("p", "m") is not None
    # An argument is looked at, so that it cannot be wrong later; it needs no package yet.
    LLMCache(encryption_key=NEW)
    with pytest.raises(ConfigurationError):
        LLMCache(encryption_key="")


@pytest.mark.parametrize(
    "wrong",
    ["", b"", [], (), [""], ["hush", ""], ["hush", 7], 7, {"hush"}, bytearray(b"hush"), True],
)
def test_keys_that_cannot_work_are_not_repeated(wrong: Any) -> None:
    for store in (None, FakeStore()):
        with pytest.raises(
            ConfigurationError, match="encryption_key is not allowed.*token_urlsafe"
        ) as e:
            LLMCache(store, encryption_key=wrong)
        assert "hush" not in str(e.value)


@pytest.mark.parametrize("wrong", ["hush,,x", ",hush", "hush,", ","])
def test_an_environment_that_cannot_work_is_not_repeated(
    wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, wrong)
    with pytest.raises(ConfigurationError, match=f"{VARIABLE} has an empty key") as caught:
        LLMCache(FakeStore())
    assert "hush" not in str(caught.value)


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.exceptions", None)
    with pytest.raises(ConfigurationError, match=r"encryption_key needs .* 'llmemo\[crypto\]'"):
        LLMCache(FakeStore(), encryption_key="hush")
    monkeypatch.setenv(VARIABLE, "hush")
    with pytest.raises(ConfigurationError, match=rf"{VARIABLE} needs .* 'llmemo\[crypto\]'") as e:
        LLMCache(FakeStore())
    assert "hush" not in str(e.value)
    monkeypatch.delenv(VARIABLE)
    LLMCache(FakeStore()).close()


def test_the_package_is_not_loaded_without_a_key() -> None:
    program = "import sys, llmemo; llmemo.LLMCache('c.db'); print('cryptography' in sys.modules)"
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=dict(os.environ))
    assert done.stdout == "False\n"


def visible(thing: object, depth: int = 6) -> str:
    """What `repr` shows of an object and of all that it holds."""
    inside = list(vars(thing).values()) if hasattr(thing, "__dict__") and depth else []
    if isinstance(thing, dict) and depth:
        inside = [*thing.keys(), *thing.values()]
    return "".join([repr(thing), *(visible(each, depth - 1) for each in inside)])


def test_no_key_is_to_be_seen(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with opened(tmp_path / "c.db", [NEW, OLD]) as cache:
        cache.update("p", "m", said("x"))
        shallow, deep = copy.copy(cache), copy.deepcopy({"cache": cache})["cache"]
        assert deep is cache
        assert shallow.lookup("p", "m") == said("x")
        shown = visible(cache) + visible(cache._tiers.envelope) + told(caplog) + str(cache.stats())
    assert "Envelope" in shown
    assert "Keyring" in shown
    derived = hashlib.scrypt(
        NEW.encode(), salt=b"llmemo: encryption key from text", n=2**14, r=8, p=1
    )
    for secret in (NEW, "canary-key", OLD.hex(), repr(derived[:32])[2:-1]):
        assert secret not in shown
