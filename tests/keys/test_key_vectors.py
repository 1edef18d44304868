"""The golden keys of tests/vectors/keys.json: the core has them, and so does the oracle."""

from __future__ import annotations

import functools
import json
import random
from typing import Any

import pytest
from support import TESTS
from support.key_vectors import FINGERPRINTS, given, of_core, of_oracle
from support.strategies import FACTOR

from llmemo._core import Memory, RequestBypassed
from llmemo.keys.request import Request

VECTORS: list[dict[str, Any]] = json.loads((TESTS / "vectors" / "keys.json").read_bytes())
GROUPS = (
    *("messages", "conversations", "models", "classes"),
    *("variants", "objects", "seen", "thin", "parts"),
)
REASONS = {"address", "unknown_repr", "truncated", "too_deep", "unknown_class", "thin_text"}


def test_there_are_enough_of_every_kind() -> None:
    assert len(VECTORS) >= 1_000
    assert {row["group"] for row in VECTORS} == set(GROUPS)
    reasons = {row["bypass"][0] for row in VECTORS if "bypass" in row}
    assert reasons == REASONS


@pytest.mark.parametrize("group", GROUPS)
def test_the_keys_are_those_that_were_given_once(group: str) -> None:
    for row in VECTORS:
        if row["group"] == group:
            expected = row["key"] if "key" in row else tuple(row["bypass"])
            assert (of_core(row), of_oracle(row)) == (expected, expected), row


SYNTAX = "[](){}<>'\"\\,: -.0x1eubn\xff\ud800\0\x7f"


@pytest.mark.slow
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
    assert len(seen) == len(REASONS) + 1, seen


# Objects in a prompt.

SHOWN = '{"lc": 1, "type": "not_implemented", "id": ["m", "T"], "repr": "<T at 0x7f>"}'
SHORT = SHOWN.replace("<T at 0x7f>", "T([0, ..., 1])")
KNOWN = SHOWN.replace('["m", "T"]', '["builtins", "bytes"]').replace("<T at 0x7f>", "b'x'")
QUIET = '{"lc": 1, "type": "not_implemented", "id": ["m", "T"], "repr": "T(1)"}'


@pytest.mark.parametrize(
    ("kwargs", "reason"),
    [
        (f'"content": "", "additional_kwargs": {{"a": {SHOWN}}}', "address"),
        (f'"content": "", "additional_kwargs": {SHOWN}', "address"),
        (f'"content": {SHOWN}', "address"),
        (f'"content": [{{"type": "x", "v": [{SHOWN}]}}]', "address"),
        (f'"content": [{SHOWN}]', "address"),
        (f'"content": "", "additional_kwargs": {{"a": {QUIET}, "b": {SHOWN}}}', "address"),
        (f'"content": "", "additional_kwargs": {{"a": {SHOWN}, "b": {QUIET}}}', "address"),
        (f'"content": "", "additional_kwargs": {{"a": {QUIET}}}', "unknown_repr"),
        (f'"content": "", "additional_kwargs": {{"a": {QUIET}, "b": {SHORT}}}', "truncated"),
        (f'"content": [{KNOWN}, {SHORT}]', "truncated"),
        (f'"content": [{KNOWN}]', None),
        (f'"content": "", "artifact": {SHOWN}', None),
        (f'"content": "", "usage_metadata": {QUIET}', None),
        ('"content": "<T at 0x7f> ..."', None),
    ],
)
def test_an_object_bypasses_wherever_it_counts(kwargs: str, reason: str | None) -> None:
    path = '["langchain", "schema", "messages", "ToolMessage"]'
    prompt = f'[{{"lc": 1, "type": "constructor", "id": {path}, "kwargs": {{{kwargs}}}}}]'
    row: dict[str, Any] = {"prompt": prompt, "llm_string": "l", "namespace": ""}
    found = of_core(row)
    assert found == of_oracle(row)
    assert (found if isinstance(found, tuple) else None) == (reason and (reason, "messages"))
    # Where somebody has seen the objects, none of them is in the way.
    row["objects"] = True
    assert isinstance(of_core(row), str)
    assert of_core(row) == of_oracle(row)


@pytest.mark.slow
def test_what_was_read_before_changes_nothing() -> None:
    # Memories remember the llm_strings that they have read, and the digests of these.
    memories = {
        secret: Memory(2**20, fingerprint_secret=FINGERPRINTS, secret=secret)
        for secret in {given(row)[0] for row in VECTORS}
    }
    twice = [row for row in VECTORS for _ in range(2)]
    for row in [*twice, *VECTORS]:
        secret, schemas, seen = given(row)
        memory = memories[secret]
        asked = (Request(row["prompt"], row["llm_string"], **seen), row["namespace"], schemas)
        if isinstance(name := of_oracle(row), tuple):
            for read in (memory.key, functools.partial(memory.describe, tail=2)):
                with pytest.raises(RequestBypassed) as bypass:
                    read(*asked)
                assert bypass.value.args == name
            continue
        fresh = Memory(2**20, fingerprint_secret=FINGERPRINTS, secret=secret)
        parts = (bytes.fromhex(name), fresh.llm_label(row["llm_string"]))
        outline = fresh.outline(*asked, tail=2)
        assert memory.key(*asked) == parts[0]
        assert memory.seek(*asked)[0] == parts[0]
        assert memory.describe(*asked, tail=2) == (*parts, outline)
