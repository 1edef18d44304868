"""Whether a stored answer is whole, told without decoding it."""

from __future__ import annotations

from llmemo._core import ValueDamaged, ValueUnknown, recording_of, unpack_question
from llmemo.codec.encryption import HEADER, NONCE, TAG, VERSION, is_encrypted


def check_stored(stored: bytes, key: bytes) -> None:
    """Raise unless these bytes are a whole answer to the request of this key.

    Of an encrypted answer only the form is looked at: the rest takes its key.

    Raises:
        ValueUnknown: They are of another version, which may be whole.
        ValueDamaged: They are damaged, or the answer to another request.
    """
    if is_encrypted(stored):
        _check_form(stored)
    else:
        recording_of(stored, key)


def check_question(stored: bytes, key: bytes) -> None:
    """The same of the question that similar lookups find this answer by. Raises as above."""
    if is_encrypted(stored):
        _check_form(stored)
    else:
        unpack_question(stored, key)


def _check_form(stored: bytes) -> None:
    if stored[4:5] != bytes([VERSION]):
        raise ValueUnknown("unknown_version")
    if len(stored) < HEADER + NONCE + TAG or stored[5:8] != bytes(3):
        raise ValueDamaged("not_a_value")
