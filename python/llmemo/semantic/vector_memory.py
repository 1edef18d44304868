"""The vectors of the texts that were embedded last."""

from __future__ import annotations

import hashlib

from llmemo.concurrency import bounded_dict

TEXTS_MAX = 4_096
"""Vectors that are kept at most."""

BYTES_MAX = 8 * 1024 * 1024
"""Bytes that they take at most."""

OVERHEAD = 150
"""Bytes that an entry takes beside its vector: two objects, and a place in a dict."""


class VectorMemory:
    """A bounded LRU map from texts to packed vectors. From any thread, without a lock.

    It holds digests of the texts, so that an entry's size does not depend on its text.
    """

    def __init__(self) -> None:
        """Hold nothing."""
        self._vectors: dict[bytes, bytes] = {}

    def get(self, text: str) -> bytes | None:
        """The vector of a text, which counts as used; None if it is not known."""
        key = _digest(text)
        vector = self._vectors.get(key)
        if vector is not None:
            self._note(key, vector)
        return vector

    def set(self, text: str, vector: bytes) -> None:
        """Keep a vector in place of those used least recently."""
        self._note(_digest(text), vector)

    def _note(self, key: bytes, vector: bytes) -> None:
        # All vectors of one embedder are of one size. After a change there may be more, or less.
        most = min(TEXTS_MAX, BYTES_MAX // (len(vector) + OVERHEAD))
        bounded_dict.note(self._vectors, key, vector, max(1, most))


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
