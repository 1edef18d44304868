"""The names of keys on the server."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from llmemo.errors import ConfigurationError
from llmemo.stores.redis.nodes import BUCKETS

if TYPE_CHECKING:
    from collections.abc import Iterable

PREFIX_BYTES_MAX = 256


def checked_prefix(prefix: object) -> str:
    """A prefix, if it can be one.

    Raises:
        ConfigurationError: It cannot.
    """
    allowed = "allowed is a text without braces and control characters, at most 256 bytes"
    if not isinstance(prefix, str):
        msg = f"prefix of type {type(prefix).__name__}: {allowed}"
        raise ConfigurationError(msg)
    # A brace would begin a hash tag: then scripts touch several slots of a cluster.
    if not prefix or re.search(r"[{}\x00-\x1f\x7f]", prefix):
        msg = f"prefix={prefix!r} cannot be: {allowed}"
        raise ConfigurationError(msg)
    try:
        is_short = len(prefix.encode()) <= PREFIX_BYTES_MAX
    except UnicodeEncodeError:
        is_short = False
    if not is_short:
        msg = f"prefix={prefix!r} cannot be: {allowed}"
        raise ConfigurationError(msg)
    return prefix


class Keys:
    """`prefix:{b}:v:<key>` for an answer, `:l:` for its lease, `prefix:{b}:c` for changes."""

    def __init__(self, prefix: str) -> None:
        """`prefix`: as `checked_prefix` returns it."""
        head = prefix.encode()
        tags = [b"%s:{%02d}:" % (head, bucket) for bucket in range(BUCKETS)]
        self._answers = [tag + b"v:" for tag in tags]
        self._leases = [tag + b"l:" for tag in tags]
        self._changes = [tag + b"c" for tag in tags]
        quoted = re.sub(rb"([][*?\\^-])", rb"\\\1", head)
        self.pattern = quoted + b":{[0-9][0-9]}:v:*"
        """What SCAN finds answers by."""
        self._is_answer = re.compile(re.escape(head) + rb":\{([0-9]{2})\}:v:[0-9a-f]{64}\Z")

    @staticmethod
    def bucket(key: bytes) -> int:
        """The bucket of a key: its last byte, which is that of a digest."""
        return key[-1] % BUCKETS

    def answer(self, key: bytes) -> bytes:
        """Where the answer of a key is."""
        return self._answers[key[-1] % BUCKETS] + key.hex().encode()

    def lease(self, key: bytes) -> bytes:
        """Where the lease of a key is."""
        return self._leases[key[-1] % BUCKETS] + key.hex().encode()

    def pairs(self, keys: Iterable[bytes]) -> list[bytes]:
        """Answer and lease of each key, one after the other."""
        return [name for key in keys for name in (self.answer(key), self.lease(key))]

    def changes(self, bucket: int) -> bytes:
        """Where the changes of a bucket are."""
        return self._changes[bucket]

    def bucket_of(self, name: bytes) -> int | None:
        """The bucket of an answer that SCAN has found; None if it is not our key."""
        found = self._is_answer.match(name)
        return None if found is None else int(found[1])
