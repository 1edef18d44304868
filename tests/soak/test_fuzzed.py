"""What the fuzzers have found, read again: `fuzz/run.py` keeps it in tests/data/fuzz."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from support import TESTS
from support import payloads as p
from support.key_vectors import of_core, of_oracle

from llmemo._core import ValueDamaged, ValueRefused, decode, encode

if TYPE_CHECKING:
    from collections.abc import Iterator

FOUND = TESTS / "data" / "fuzz"


def inputs(name: str) -> Iterator[bytes]:
    for path in sorted((FOUND / name).iterdir()):
        yield path.read_bytes()


def test_payloads_are_answers_or_damage() -> None:
    read = damaged = 0
    for payload in inputs("decoder"):
        try:
            answer = p.read(payload)
        except ValueDamaged:
            damaged += 1
            continue
        read += 1
        try:
            written = encode(answer, p.KEY)
        except ValueRefused:
            continue
        assert type(decode(written, p.KEY)) is list
    assert min(read, damaged) > 20


def test_core_and_oracle_agree_on_texts() -> None:
    keys = bypasses = 0
    for found in inputs("canonical"):
        try:
            text = found.decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            continue
        rows: list[dict[str, Any]] = [
            {"prompt": text, "llm_string": "m", "namespace": ""},
            {"prompt": "p", "llm_string": text, "namespace": ""},
        ]
        for row in rows:
            expected = of_oracle(row)
            assert of_core(row) == expected, row
            keys += isinstance(expected, str)
            bypasses += not isinstance(expected, str)
    assert min(keys, bypasses) > 20
