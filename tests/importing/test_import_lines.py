"""Imports of an export: nothing that is damaged, foreign or forged gets in, and all else does."""

from __future__ import annotations

import base64
import os
import random
import sqlite3
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.outputs import Generation
from support.doubles import LIMIT
from support.langchain_files import answer
from support.moved import exported, fields_of, imported, line, rows, summed

from llmemo import ConfigurationError, LLMCache, StoreError, options
from llmemo.exporting import sqlite_source
from llmemo.importing import line_reader
from llmemo.importing.target import target_of
from llmemo.stores.sqlite import upkeep

if TYPE_CHECKING:
    from pathlib import Path

LLM = "m"
COUNT = 30


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("export") / "a.db"
    with LLMCache(path, ttl=1e6) as cache:
        for number in range(COUNT):
            text = answer(number)[0].text * (1 if number % 5 else 300)
            cache.update(f"{number}", LLM, [Generation(text=text)])
    return exported(path)[0]


def wrong_hits(path: Path) -> list[int]:
    """Requests that have another answer than was exported."""
    wrong = []
    with LLMCache(path, max_bytes=0) as cache:
        for number in range(COUNT):
            found = cache.lookup(f"{number}", LLM)
            text = answer(number)[0].text * (1 if number % 5 else 300)
            if found not in (None, [Generation(text=text)]):
                wrong.append(number)
        assert not cache.stats().errors
    return wrong


@pytest.mark.slow
def test_a_flipped_bit_is_noticed_wherever_it_is(lines: bytes, tmp_path: Path) -> None:
    dice = random.Random(3)
    header = lines.index(b"\n") + 1
    for at in [*range(0, header, 40), *(dice.randrange(header, len(lines)) for _ in range(60))]:
        damaged = bytearray(lines)
        damaged[at] ^= 1 << dice.randrange(8)
        path = tmp_path / f"{at}.db"
        try:
            report = imported(bytes(damaged), path)
        except (StoreError, ConfigurationError):
            assert at < header
            assert not path.exists()
            continue
        assert at >= header, at
        assert not report.is_whole, at
        assert report.imported >= COUNT - 2
        assert wrong_hits(path) == []


@pytest.mark.slow
def test_what_is_whole_of_a_truncated_export_is_imported(lines: bytes, tmp_path: Path) -> None:
    dice = random.Random(4)
    header = lines.index(b"\n") + 1
    for at in [header, len(lines) - 1, *(dice.randrange(header, len(lines)) for _ in range(30))]:
        report = imported(lines[:at], tmp_path / f"{at}.db")
        assert report.missing is None
        assert not report.is_whole
        whole = lines[:at].count(b"\n") - 1
        assert report.imported == min(whole, COUNT)
        cut = lines[:at].endswith(b"\n")
        assert report.damaged == ({} if cut else {"cut_off": 1})


def test_a_line_that_is_missing_in_between_is_noticed(lines: bytes, tmp_path: Path) -> None:
    parts = lines.splitlines(keepends=True)
    report = imported(b"".join(parts[:5] + parts[6:]), tmp_path / "b.db")
    assert (report.imported, report.missing, report.is_whole) == (COUNT - 1, 1, False)


def test_lines_that_come_twice_or_late(lines: bytes, tmp_path: Path) -> None:
    parts = lines.splitlines(keepends=True)
    report = imported(b"".join([*parts[:-1], parts[3], parts[-1], parts[4]]), tmp_path / "b.db")
    assert (report.imported, report.already) == (COUNT, 1)
    assert report.damaged == {"after_the_end": 1}


def test_ends_of_lines_may_be_those_of_windows(lines: bytes, tmp_path: Path) -> None:
    assert imported(lines.replace(b"\n", b"\r\n"), tmp_path / "b.db").is_whole


REFUSED: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "is empty"),
    "a note": (b"hello\n", "no export of llmemo"),
    "another's lines": (b'{"prompt": "p", "answer": "a"}\n', "no export of llmemo"),
    "a list": (b"[1]\n", "no export of llmemo"),
    "a database": (b"SQLite format 3\0" + b"\0" * 5_000, "no export of llmemo"),
    "nested": (b"[" * 100_000 + b"\n", "no export of llmemo"),
    "newer": (line(kind="header", format="llmemo-export", version=2), "newer llmemo .version 2"),
    "no version": (line(kind="header", format="llmemo-export"), "no export of llmemo"),
    "no labels": (
        line(kind="header", format="llmemo-export", version=1, namespaces=["x"], encrypted=[]),
        "damaged",
    ),
    "no sum": (b'{"format": "llmemo-export", "version": 1}\n', "damaged"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_no_export_is_refused_and_nothing_is_made(what: str, tmp_path: Path) -> None:
    given, text = REFUSED[what]
    with pytest.raises((StoreError, ConfigurationError), match=text) as caught:
        imported(given, tmp_path / "b.db")
    assert "x.jsonl" in str(caught.value)
    assert not os.listdir(tmp_path)


def forged(lines: bytes, **changes: Any) -> bytes:
    """The first answer with other fields, and a right checksum."""
    fields = {**fields_of(lines.splitlines()[1]), **changes}
    return line(**{name: value for name, value in fields.items() if value is not ...})


def base64_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


FORGED: dict[str, tuple[dict[str, Any], str]] = {
    "another kind": ({"kind": "program"}, "not_an_entry"),
    "a kind of another type": ({"kind": []}, "not_an_entry"),
    "no key": ({"key": ...}, "not_an_entry"),
    "a short key": ({"key": "00"}, "not_an_entry"),
    "another key": ({"key": "00" * 32}, "value_wrong_key"),
    "a key that is no text": ({"key": 7}, "not_an_entry"),
    "a short label": ({"namespace": "00"}, "not_an_entry"),
    "no time": ({"created": None}, "not_an_entry"),
    "a time of text": ({"created": "now"}, "not_an_entry"),
    "a time without end": ({"expires": float("inf")}, "not_an_entry"),
    "no number": ({"created": float("nan")}, "not_an_entry"),
    "a huge number": ({"created": 10**400}, "not_an_entry"),
    "true": ({"created": True}, "not_an_entry"),
    "a value that is none": ({"value": base64_of(b"x" * 99)}, "value_not_a_value"),
    "an empty value": ({"value": ""}, "value_not_a_value"),
    "a value of a list": ({"value": [1, 2]}, "not_an_entry"),
    "a value that is no base64": ({"value": "*"}, "not_an_entry"),
    "a bomb": ({"value": base64_of(b"llmz\1\0\0\0\xff\xff\xff\x03" + b"x" * 99)}, "value_"),
    "another version": ({"value": base64_of(b"llmv\x09" + b"x" * 99)}, "value_unknown_version"),
    "half encrypted": ({"value": base64_of(b"llme\1\0\0\0" + b"x" * 9)}, "value_not_a_value"),
    "encrypted, another version": (
        {"value": base64_of(b"llme\2\0\0\0" + b"x" * 99)},
        "value_unknown_version",
    ),
    "a large outline": ({"outline": base64_of(b"x" * (2**20 + 1))}, "not_an_entry"),
    "a question of text": ({"question": "why"}, "not_an_entry"),
    "a question that is none": (
        {"question": {"partition": "00" * 32, "sealed": "AAAA"}},
        "value_not_a_question",
    ),
    "half a question": ({"question": {"partition": "00" * 32}}, "not_an_entry"),
}


@pytest.mark.parametrize("what", FORGED)
def test_a_forged_line_is_left_out(what: str, lines: bytes, tmp_path: Path) -> None:
    changes, reason = FORGED[what]
    parts = lines.splitlines(keepends=True)
    report = imported(b"".join([parts[0], forged(lines, **changes), *parts[2:]]), tmp_path / "b.db")
    assert report.imported == COUNT - 1
    [(found, count)] = report.damaged.items()
    assert (found.startswith(reason), count) == (True, 1), found
    assert wrong_hits(tmp_path / "b.db") == []


BODIES = {
    "no JSON": b'{"kind": }',
    "a list": b'["kind"',
    "nested": b'{"kind": ' + b"[" * 100_000,
    "digits": b'{"kind": ' + b"9" * 10_000,
    "no UTF-8": b'{"kind": "\xff"',
}


@pytest.mark.parametrize("what", BODIES)
def test_what_is_no_object_is_left_out(what: str, lines: bytes, tmp_path: Path) -> None:
    parts = lines.splitlines(keepends=True)
    report = imported(b"".join([*parts[:-1], summed(BODIES[what]), parts[-1]]), tmp_path / "b.db")
    assert (report.imported, report.damaged) == (COUNT, {"not_an_entry": 1})


def test_a_line_that_is_too_long_is_left_out(
    lines: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    longest = max(map(len, lines.splitlines()[:3]))
    monkeypatch.setattr(line_reader, "LINE_BYTES_MAX", longest + 10)
    parts = lines.splitlines(keepends=True)
    long = b'{"kind": "' + b"x" * (3 * 2**20) + b'"}\n'
    report = imported(b"".join([*parts[:2], long, *parts[2:]]), tmp_path / "b.db")
    assert report.damaged["too_long"] >= 1
    assert report.imported + report.damaged["too_long"] == COUNT + 1


def test_an_answer_that_is_there_stays(lines: bytes, tmp_path: Path) -> None:
    with LLMCache(tmp_path / "b.db") as cache:
        cache.update("3", LLM, answer("own"))
    report = imported(lines, tmp_path / "b.db")
    assert (report.imported, report.already) == (COUNT - 1, 1)
    with LLMCache(tmp_path / "b.db") as cache:
        assert cache.lookup("3", LLM) == answer("own")


def test_an_answer_that_has_expired_makes_way(lines: bytes, tmp_path: Path) -> None:
    with LLMCache(tmp_path / "b.db", ttl=10, clock=lambda: 1e9) as cache:
        cache.update("3", LLM, answer("old"))
    report = imported(lines, tmp_path / "b.db")
    assert (report.imported, report.already) == (COUNT, 0)
    assert wrong_hits(tmp_path / "b.db") == []


def test_what_has_expired_since_the_export_is_left_out(lines: bytes, tmp_path: Path) -> None:
    report = imported(lines, tmp_path / "b.db", clock=lambda: 1e11)
    assert (report.imported, report.expired, report.is_whole) == (0, COUNT, True)
    assert not (tmp_path / "b.db").exists()


@pytest.mark.anyio
async def test_what_services_keep_for_stale_if_error_is_left_to_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "PAUSE", -1.0)
    with LLMCache(tmp_path / "b.db", ttl=10, stale_if_error=1e9, clock=lambda: 1e9) as cache:
        cache.update("old", LLM, answer("old"))
    store, is_there = target_of(str(tmp_path / "b.db"))
    assert is_there
    await store.open()
    await store.upkeep()
    await store.close()
    assert len(rows(tmp_path / "b.db")) == 1


def test_a_running_service_finds_them_at_once(lines: bytes, tmp_path: Path) -> None:
    with LLMCache(tmp_path / "b.db", store_timeout=LIMIT) as cache:
        assert cache.lookup("3", LLM) is None
        cache.update("own", LLM, answer("own"))
        imported(lines, tmp_path / "b.db")
        assert cache.lookup("3", LLM) == answer(3)
        assert cache.lookup("own", LLM) == answer("own")
        assert not cache.stats().errors


def test_answers_under_another_secret_are_refused_unless_asked_for(
    lines: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "b.db"
    with LLMCache(path, secret="s") as cache:
        cache.update("p", LLM, answer("p"))
    before = rows(path)
    with pytest.raises(StoreError, match="another `secret`.*--anyway"):
        imported(lines, path)
    assert rows(path) == before
    assert imported(lines, path, anyway=True).imported == COUNT
    # Not the other way round, either; and of one secret all is well.
    for secret, is_same in (("s", True), ("t", False)):
        other = tmp_path / f"{secret}.db"
        with LLMCache(other, secret=secret) as cache:
            cache.update("q", LLM, answer("q"))
        from_here = exported(other)[0]
        with LLMCache(tmp_path / f"to {secret}.db", secret="s") as cache:
            cache.update("p", LLM, answer("p"))
        if is_same:
            assert imported(from_here, tmp_path / f"to {secret}.db").imported == 1
        else:
            with pytest.raises(StoreError, match="secret"):
                imported(from_here, tmp_path / f"to {secret}.db")


def test_a_namespace_that_is_rare_in_the_store_shows_that_the_secret_is_the_same(
    lines: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_source, "SAMPLE", 3)
    path = tmp_path / "b.db"
    with LLMCache(path) as cache:
        for number in range(9):
            if number == 5:
                with pytest.raises(StoreError, match="secret"):
                    imported(lines, path)
            with options(namespace="" if number == 5 else "tenant"):
                cache.update(f"of {number}", LLM, answer(number))
    assert imported(lines, path).imported == COUNT


@pytest.mark.parametrize("is_encrypted", [True, False])
def test_encrypted_answers_and_others_do_not_mix(is_encrypted: bool, tmp_path: Path) -> None:
    key = "a key for the tests"
    keys = (key, None) if is_encrypted else (None, key)
    for name, each in zip("ab", keys, strict=True):
        with LLMCache(tmp_path / f"{name}.db", encryption_key=each) as cache:
            cache.update(name, LLM, answer(name))
    given = exported(tmp_path / "a.db")[0]
    with pytest.raises(StoreError, match="are encrypted|are not encrypted"):
        imported(given, tmp_path / "b.db")
    assert imported(given, tmp_path / "b.db", anyway=True).imported == 1


@pytest.mark.parametrize("what", ["truncated", "overwritten"])
def test_a_damaged_store_is_left_as_it_is(what: str, lines: bytes, tmp_path: Path) -> None:
    path = tmp_path / "b.db"
    imported(lines, path)
    data = path.read_bytes()
    half = len(data) // 2
    path.write_bytes(data[:half] if what == "truncated" else data[:half] + b"\xff" * half)
    before = path.read_bytes()
    with pytest.raises(StoreError, match="damaged"):
        imported(lines, path)
    assert path.read_bytes() == before
    assert not [name for name in os.listdir(tmp_path) if "damaged" in name]


def test_a_store_of_a_newer_version_is_left_as_it_is(lines: bytes, tmp_path: Path) -> None:
    path = tmp_path / "b.db"
    imported(lines, path)
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    before = path.read_bytes()
    with pytest.raises((StoreError, ConfigurationError), match="newer llmemo"):
        imported(lines, path)
    assert path.read_bytes() == before


def test_a_read_only_file_is_left_as_it_is(lines: bytes, tmp_path: Path) -> None:
    path = tmp_path / "b.db"
    imported(lines, path)
    before = path.read_bytes()
    path.chmod(0o444)
    with pytest.raises(ConfigurationError, match="read-only|written by this user"):
        imported(lines, path)
    assert path.read_bytes() == before


def test_memory_is_for_a_batch_and_not_for_the_export(tmp_path: Path) -> None:
    with LLMCache(tmp_path / "a.db") as cache:
        for number in range(400):
            raw = {"raw": os.urandom(64 * 1024)}
            cache.update(f"{number}", LLM, [Generation(text="raw", generation_info=raw)])
    given = exported(tmp_path / "a.db")[0]
    assert len(given) > 32 * 2**20
    tracemalloc.start()
    try:
        report = imported(given, tmp_path / "b.db")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert report.imported == 400
    assert peak < 24 * 2**20


def test_a_line_that_is_there_twice_makes_up_for_none(lines: bytes, tmp_path: Path) -> None:
    first, *answers, last = lines.splitlines(keepends=True)
    report = imported(b"".join([first, *answers[1:], answers[1], last]), tmp_path / "a.db")
    assert (report.imported, report.missing, report.is_whole) == (COUNT - 1, 1, False)
    # In another order they are all there.
    report = imported(b"".join([first, *reversed(answers), last]), tmp_path / "b.db")
    assert (report.imported, report.is_whole) == (COUNT, True)
