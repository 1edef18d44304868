"""The vectors of the texts that were embedded last."""

from __future__ import annotations

import contextlib
import hashlib

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
        # All vectors of one embedder are of one size, unless it has changed.
        most = min(TEXTS_MAX, BYTES_MAX // (len(vector) + OVERHEAD))
        self._vectors.pop(key, None)
        self._vectors[key] = vector
        while len(self._vectors) > max(1, most):
            # Other threads do the same at the same time.
            with contextlib.suppress(RuntimeError, StopIteration):
                self._vectors.pop(next(iter(self._vectors)), None)


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
