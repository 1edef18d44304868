"""The envelope of stored values: compressed, then encrypted.

    encode ──► value ──► compressed, if that pays ──► encrypted, if there is a key ──► store

Memory holds plain values, so a hit in memory opens no envelope.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmemo._core import ValueDamaged, ValueUnknown, compress, decompress
from llmemo.codec.encryption import VARIABLE, Keyring, is_encrypted, keys_of, keys_of_environment

if TYPE_CHECKING:
    from collections.abc import Sequence

PLAIN = (b"llmv", b"llmz")
"""How unencrypted values begin: plain, and compressed."""

REQUEST = b"request"
"""Tells the encrypted request of a key from the answer to it."""

QUESTION = b"question"
"""The same of its question, for semantic lookups."""

STATE = b"state"
"""Tells a state that processes share from all of these."""


class Envelope:
    """Seals values for a store, and opens what the store returns. Shows no key."""

    def __init__(
        self, encryption_key: str | bytes | Sequence[str | bytes] | None, *, is_needed: bool
    ) -> None:
        """Take the keys from the argument, or from the environment if it is None.

        Args:
            encryption_key: See `LLMCache`.
            is_needed: Whether there is a store; otherwise the argument is only checked.

        Raises:
            ConfigurationError: A key cannot work, or the package cryptography is missing.
        """
        name = VARIABLE if encryption_key is None else "encryption_key"
        keys: list[str | bytes] = []
        if encryption_key is not None:
            keys = keys_of(encryption_key)
        elif is_needed:
            keys = keys_of_environment()
        self._keyring = Keyring(keys, name) if keys and is_needed else None

    @property
    def is_encrypting(self) -> bool:
        """Whether values are encrypted."""
        return self._keyring is not None

    def seal(self, value: bytes, key: bytes) -> bytes:
        """Compress and encrypt the answer to the request of this key."""
        stored = compress(value)
        return stored if self._keyring is None else self._keyring.encrypt(stored, key)

    def open(self, stored: bytes, key: bytes) -> bytes:
        """The answer that was sealed for this key.

        Raises:
            ValueDamaged: It cannot be read, or is not authentic.
        """
        return decompress(self.decrypted(stored, key))

    def seal_request(self, request: bytes, key: bytes) -> bytes:
        """Encrypt a request."""
        return request if self._keyring is None else self._keyring.encrypt(request, key + REQUEST)

    def open_request(self, stored: bytes, key: bytes) -> bytes | None:
        """The request that was sealed for this key; None if it cannot be read."""
        if self._keyring is None and not is_encrypted(stored):
            return stored
        try:
            return self.decrypted(stored, key + REQUEST)
        except ValueDamaged:
            return None

    def seal_question(self, packed: bytes, key: bytes) -> bytes:
        """Encrypt a question. Unencrypted, it must not begin as encrypted content does."""
        return packed if self._keyring is None else self._keyring.encrypt(packed, key + QUESTION)

    def open_question(self, stored: bytes, key: bytes) -> bytes:
        """The question that was sealed for this key.

        Raises:
            ValueDamaged: It is not authentic, or not encrypted where it has to be. What is stored
                in plaintext is returned as it is.
        """
        return self.decrypted(stored, key + QUESTION)

    def seal_state(self, state: bytes, name: bytes) -> bytes:
        """Encrypt a state that processes share, for this name."""
        return state if self._keyring is None else self._keyring.encrypt(state, name + STATE)

    def open_state(self, stored: bytes, name: bytes) -> bytes:
        """The state that was sealed for this name.

        Raises:
            ValueDamaged: It is not authentic, or not encrypted where it has to be.
        """
        return self.decrypted(stored, name + STATE)

    def decrypted(self, stored: bytes, belongs_to: bytes) -> bytes:
        """The content, which may still be compressed. Raises as `open`."""
        if is_encrypted(stored):
            if self._keyring is None:
                raise ValueUnknown("unknown_encryption_key")
            return self._keyring.decrypt(stored, belongs_to)
        if self._keyring is not None:
            # Another program that can write to the store could have put it there.
            if stored.startswith(PLAIN):
                raise ValueUnknown("not_encrypted")
            raise ValueDamaged("not_a_value")
        return stored
