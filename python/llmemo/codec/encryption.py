"""Encryption of stored answers (AES-256-GCM): unreadable and unforgeable without the key.

    offset  size  what
    0       4     magic, "llme"
    4       1     version of this form
    5       3     zero
    8       8     id of the key
    16      12    nonce, random
    28      n     ciphertext, as long as what is inside
    28 + n  16    tag

Authenticated with the ciphertext: the first 16 bytes, and the name of what the content belongs to,
so that an answer cannot be passed off as the answer to another request.
"""

from __future__ import annotations

import functools
import hashlib
import os
import secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from llmemo._core import ValueDamaged, ValueUnknown
from llmemo.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable

VARIABLE = "LLMEMO_ENCRYPTION_KEY"
"""The environment variable that is used without the argument."""

KEY_SIZE = 32
"""Bytes of a key of AES-256."""

MAGIC = b"llme"
VERSION = 1
HEADER, NONCE, TAG = 16, 12, 16

SALT = b"llmemo: encryption key from text"
"""Fixed, since every process has to derive the same key from the same text alone."""


class Cipher(Protocol):
    """Authenticated encryption, as in the package cryptography."""

    def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes, /) -> bytes:
        """The ciphertext and its tag."""

    def decrypt(self, nonce: bytes, data: bytes, associated_data: bytes, /) -> bytes:
        """The plaintext; raises `InvalidTag`."""


class Keyring:
    """Keys: the newest encrypts, all decrypt. Shows none of them."""

    def __init__(self, keys: Iterable[str | bytes], name: str) -> None:
        """Of keys as `keys_of` returns them. `name`: the argument or variable that they are from.

        Raises:
            ConfigurationError: The package cryptography is missing.
        """
        try:
            from cryptography.exceptions import InvalidTag  # noqa: PLC0415 (an extra)
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415
        except ImportError as error:
            msg = f"{name} needs the package cryptography: pip install 'llmemo[crypto]'"
            raise ConfigurationError(msg) from error
        self._invalid = InvalidTag
        self._ciphers: dict[bytes, Cipher] = {}
        for key in map(_key_of, keys):
            self._ciphers.setdefault(_id_of(key), AESGCM(key))
        self._newest = next(iter(self._ciphers))

    def encrypt(self, content: bytes, belongs_to: bytes) -> bytes:
        """The encrypted form."""
        header = MAGIC + bytes([VERSION, 0, 0, 0]) + self._newest
        nonce = secrets.token_bytes(NONCE)
        cipher = self._ciphers[self._newest]
        return header + nonce + cipher.encrypt(nonce, content, header + belongs_to)

    def decrypt(self, stored: bytes, belongs_to: bytes) -> bytes:
        """What `encrypt` was given with the same `belongs_to`.

        Raises:
            ValueUnknown: The key is not in this ring, or the version is a newer one.
            ValueDamaged: The bytes are damaged.
        """
        header, nonce = stored[:HEADER], stored[HEADER : HEADER + NONCE]
        if header[4:5] != bytes([VERSION]):
            if header[4:5]:
                raise ValueUnknown("unknown_version")
            raise ValueDamaged("not_a_value")
        if len(stored) < HEADER + NONCE + TAG or header[5:8] != bytes(3):
            raise ValueDamaged("not_a_value")
        cipher = self._ciphers.get(header[8:])
        if cipher is None:
            raise ValueUnknown("unknown_encryption_key")
        try:
            return cipher.decrypt(nonce, stored[HEADER + NONCE :], header + belongs_to)
        except self._invalid:
            raise ValueDamaged("not_authentic") from None


def is_encrypted(stored: bytes) -> bool:
    """Whether these bytes begin like an encrypted value."""
    return stored.startswith(MAGIC)


def keys_of(given: object) -> list[str | bytes]:
    """The keys of the argument `encryption_key`.

    Raises:
        ConfigurationError: It holds no key, or something else.
    """
    several = given if isinstance(given, Sequence) else [given]
    keys = [given] if isinstance(given, (str, bytes)) else list(several)
    if not keys or not all(isinstance(key, (str, bytes)) and key for key in keys):
        # The argument stays out of the message.
        msg = (
            "encryption_key is not allowed: give a str or bytes that is not empty (from "
            "secrets.token_urlsafe(32), say), a sequence of these, the newest first, or None"
        )
        raise ConfigurationError(msg)
    return keys


def keys_of_environment() -> list[str | bytes]:
    """The keys that the environment names, the newest first; none if it names none.

    Raises:
        ConfigurationError: One of several is empty.
    """
    text = os.environ.get(VARIABLE, "").strip()
    keys: list[str | bytes] = [key.strip() for key in text.split(",")] if text else []
    if not all(keys):
        msg = f"{VARIABLE} has an empty key: write one key, or several separated by commas"
        raise ConfigurationError(msg)
    return keys


def _key_of(secret: str | bytes) -> bytes:
    if isinstance(secret, str):
        return _stretched(secret.encode("utf-8", "surrogatepass"))
    return secret if len(secret) == KEY_SIZE else _stretched(secret)


@functools.lru_cache(maxsize=32)
def _stretched(secret: bytes) -> bytes:
    """Derive a key from any text by scrypt (RFC 7914): each guess costs 16 MB and about 50 ms."""
    from cryptography.hazmat.primitives.kdf.scrypt import Scrypt  # noqa: PLC0415

    return Scrypt(salt=SALT, length=KEY_SIZE, n=2**14, r=8, p=1).derive(secret)


def _id_of(key: bytes) -> bytes:
    """The public id of a key: 8 bytes that reveal nothing about it."""
    return hashlib.blake2b(b"llmemo: id of a key", key=key, digest_size=8).digest()
