"""The golden keys of tests/vectors/keys.json: the core has them, and so does the oracle."""

from __future__ import annotations

import functools
import json
import random
from pathlib import Path
from typing import Any

import oracle
import pytest
from strategies import FACTOR

from llmemo._core import Memory, RequestBypassed

VECTORS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parent / "vectors" / "keys.json").read_bytes()
)
GROUPS = ("messages", "conversations", "models", "classes", "variants", "parts")
FINGERPRINTS = bytes(range(7, 199))


def of_core(row: dict[str, Any]) -> str | tuple[str, str | None]:
    secret, schemas = given(row)
    memory = Memory(2**20, fingerprint_secret=FINGERPRINTS, secret=secret)
    try:
        return memory.key(row["prompt"], row["llm_string"], row["namespace"], schemas).hex()
    except RequestBypassed as bypass:
        reason, parameter = bypass.args
        return reason, parameter


def of_oracle(row: dict[str, Any]) -> str | tuple[str, str | None]:
    secret, schemas = given(row)
    request = (row["prompt"], row["llm_string"], row["namespace"])
    try:
        return oracle.key(*request, secret=secret, schemas=schemas).hex()
    except oracle.Bypass as bypass:
        reason, parameter = bypass.args
        return reason, parameter


def given(row: dict[str, Any]) -> tuple[bytes | None, dict[str, bytes] | None]:
    secret = bytes.fromhex(row["secret"]) if "secret" in row else None
    schemas = row.get("schemas")
    return secret, schemas and {name: bytes.fromhex(it) for name, it in schemas.items()}


def test_there_are_enough_of_every_kind() -> None:
    assert len(VECTORS) >= 1_000
    assert {row["group"] for row in VECTORS} == set(GROUPS)
    reasons = {row["bypass"][0] for row in VECTORS if "bypass" in row}
    assert reasons == {"address", "unknown_repr", "truncated", "too_deep", "unknown_class"}


@pytest.mark.parametrize("group", GROUPS)
def test_the_keys_are_those_that_were_given_once(group: str) -> None:
    for row in VECTORS:
        if row["group"] == group:
            expected = row["key"] if "key" in row else tuple(row["bypass"])
            assert (of_core(row), of_oracle(row)) == (expected, expected), row


SYNTAX = "[](){}<>'\"\\,: -.0x1eubn\xff\ud800\0\x7f"


def test_core_and_oracle_agree_on_damaged_texts() -> None:
    rng, seen = random.Random(11), dict[str, int]()
    for _ in range(round(8_000 * FACTOR)):
        row = dict(rng.choice(VECTORS))
        part = rng.choice(["llm_string", "prompt"])
        text = list(row[part])
        for _ in range(rng.randrange(1, 4)):
            at, other = (rng.randrange(len(text) + 1) for _ in range(2))
            action = rng.randrange(4)
            if action == 0:
                text[at : at + 1] = rng.choice(SYNTAX)
            elif action == 1:
                text.insert(at, rng.choice(SYNTAX))
            elif action == 2:
                text[at:at] = text[other : other + rng.randrange(30)]
            else:
                del text[at : at + rng.choice([1, 1, 5, 1000])]
        row[part] = "".join(text)
        expected = of_oracle(row)
        assert of_core(row) == expected, row
        kind = expected[0] if isinstance(expected, tuple) else "key"
        seen[kind] = seen.get(kind, 0) + 1
    assert len(seen) == 6, seen


# Objects in a prompt.

SHOWN = '{"lc": 1, "type": "not_implemented", "id": ["m", "T"], "repr": "<T at 0x7f>"}'
QUIET = '{"lc": 1, "type": "not_implemented", "id": ["m", "T"], "repr": "T(1)"}'


@pytest.mark.parametrize(
    ("kwargs", "is_bypassed"),
    [
        (f'"content": "", "additional_kwargs": {{"a": {SHOWN}}}', True),
        (f'"content": "", "additional_kwargs": {SHOWN}', True),
        (f'"content": {SHOWN}', True),
        (f'"content": [{{"type": "x", "v": [{SHOWN}]}}]', True),
        (f'"content": [{SHOWN}]', True),
        (f'"content": "", "additional_kwargs": {{"a": {QUIET}, "b": {SHOWN}}}', True),
        (f'"content": "", "additional_kwargs": {{"a": {SHOWN}, "b": {QUIET}}}', True),
        (f'"content": "", "additional_kwargs": {{"a": {QUIET}}}', False),
        (f'"content": "", "artifact": {SHOWN}', False),
        (f'"content": "", "usage_metadata": {SHOWN}', False),
        ('"content": "<T at 0x7f>"', False),
    ],
)
def test_an_address_bypasses_wherever_it_counts(kwargs: str, is_bypassed: bool) -> None:
    path = '["langchain", "schema", "messages", "ToolMessage"]'
    prompt = f'[{{"lc": 1, "type": "constructor", "id": {path}, "kwargs": {{{kwargs}}}}}]'
    row = {"prompt": prompt, "llm_string": "l", "namespace": ""}
    expected = ("address", "messages")
    assert (of_oracle(row) == expected) is is_bypassed
    assert of_core(row) == of_oracle(row)


def test_what_was_read_before_changes_nothing() -> None:
    # Memories remember the llm_strings that they have read, and the digests of these.
    memories = {
        secret: Memory(2**20, fingerprint_secret=FINGERPRINTS, secret=secret)
        for secret in {given(row)[0] for row in VECTORS}
    }
    twice = [row for row in VECTORS for _ in range(2)]
    for row in [*twice, *VECTORS]:
        secret, schemas = given(row)
        memory = memories[secret]
        request = (row["prompt"], row["llm_string"], row["namespace"], schemas)
        if isinstance(name := of_oracle(row), tuple):
            for read in (memory.key, functools.partial(memory.describe, tail=2)):
                with pytest.raises(RequestBypassed) as bypass:
                    read(*request)
                assert bypass.value.args == name
            continue
        fresh = Memory(2**20, fingerprint_secret=FINGERPRINTS, secret=secret)
        parts = (bytes.fromhex(name), fresh.llm_label(row["llm_string"]))
        outline = fresh.outline(*request, tail=2)
        assert memory.key(*request) == parts[0]
        assert memory.describe(*request, tail=2) == (*parts, outline)
