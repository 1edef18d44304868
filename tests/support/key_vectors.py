"""Keys of the rows of tests/vectors/keys.json, by the core and by the oracle."""

from __future__ import annotations

from typing import Any

from llmemo._core import Memory, RequestBypassed
from llmemo.keys.request import Request
from support import oracle

FINGERPRINTS = bytes(range(7, 199))


def of_core(row: dict[str, Any]) -> str | tuple[str, str | None]:
    secret, schemas, seen = given(row)
    memory = Memory(2**20, fingerprint_secret=FINGERPRINTS, secret=secret)
    request = Request(row["prompt"], row["llm_string"], **seen)
    try:
        return memory.key(request, row["namespace"], schemas).hex()
    except RequestBypassed as bypass:
        reason, parameter = bypass.args
        return reason, parameter


def of_oracle(row: dict[str, Any]) -> str | tuple[str, str | None]:
    secret, schemas, seen = given(row)
    request = (row["prompt"], row["llm_string"], row["namespace"])
    try:
        return oracle.key(*request, secret=secret, schemas=schemas, **seen).hex()
    except oracle.Bypass as bypass:
        reason, parameter = bypass.args
        return reason, parameter


def given(row: dict[str, Any]) -> tuple[bytes | None, dict[str, bytes] | None, dict[str, Any]]:
    secret = bytes.fromhex(row["secret"]) if "secret" in row else None
    schemas = row.get("schemas")
    seen: dict[str, Any] = {name: row[name] for name in ("is_text", "objects") if name in row}
    if "supplement" in row:
        seen["supplement"] = bytes.fromhex(row["supplement"])
    return secret, schemas and {name: bytes.fromhex(it) for name, it in schemas.items()}, seen
