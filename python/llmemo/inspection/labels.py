"""The digests by which a store tells namespaces apart."""

from __future__ import annotations

import os
import re

from llmemo._core import Memory

DIGEST = re.compile(r"[0-9a-f]{32}")


def namespace_of(given: str) -> bytes:
    """The digest of a namespace: of its name, or itself, as `llmemo stats` prints it.

    A cache with a `secret` has other digests: then only the digest itself leads to them.
    """
    if DIGEST.fullmatch(given):
        return bytes.fromhex(given)
    memory = Memory(0, fingerprint_secret=os.urandom(136))
    return memory.label(given)
