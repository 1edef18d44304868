"""A certificate as bytes: exact, and never certified by damage.

    magic    4 bytes  "llmc"
    version  1 byte   2
    CRC-32   4 bytes  of all that follows
    rule     3 float64: max_error, confidence, min_score
    totals   4 uint64: checks, wrong, resets, epoch
    detector 4 float64
    counts   2 uint64 (checks, wrong) and 1 byte (is_held: 0 or 1) for each of 13 thresholds;
             then as much for the stretches, and for the bands

All little-endian.
"""

from __future__ import annotations

import math
import struct
import zlib
from typing import TYPE_CHECKING, Final

from llmemo.semantic.certificate import Certificate, Count

if TYPE_CHECKING:
    from llmemo.semantic.rule import Rule

_HEAD: Final = struct.Struct("<4sBI")
_TOTALS: Final = struct.Struct("<3d4Q4d")
_COUNT: Final = struct.Struct("<QQ?")
_MAGIC: Final = b"llmc"
_VERSION: Final = 2
_KINDS: Final = 3
"""Of counts: the whole, the stretches, the bands."""


def dumps(certificate: Certificate) -> bytes:
    """Return the bytes of a certificate."""
    rule = certificate.rule
    kinds = certificate.counts, certificate.stretches, certificate.bands
    body = _TOTALS.pack(
        *(rule.max_error, rule.confidence, rule.min_score),
        *(certificate.checks, certificate.wrong, certificate.resets, certificate.epoch),
        *certificate.detector,
    ) + b"".join([_COUNT.pack(*count) for kind in kinds for count in kind])
    return _HEAD.pack(_MAGIC, _VERSION, zlib.crc32(body)) + body


def loads(rule: Rule, stored: bytes | None) -> Certificate:
    """Return the certificate of some bytes; a fresh one where they are none of this rule.

    Args:
        rule: The rule in force. Bytes of another rule prove nothing for it.
        stored: What `dumps` gave. None, damaged bytes and foreign ones raise no error.
    """
    found = None if stored is None else _parsed(rule, stored)
    return Certificate.fresh(rule) if found is None else found


def _parsed(rule: Rule, stored: bytes) -> Certificate | None:
    size = _HEAD.size + _TOTALS.size + _COUNT.size * len(rule.thresholds) * _KINDS
    if len(stored) != size:
        return None
    magic, version, checksum = _HEAD.unpack_from(stored)
    body = stored[_HEAD.size :]
    if (magic, version, checksum) != (_MAGIC, _VERSION, zlib.crc32(body)):
        return None
    max_error, confidence, min_score, *rest = _TOTALS.unpack_from(body)
    if (max_error, confidence, min_score) != (rule.max_error, rule.confidence, rule.min_score):
        return None
    counts = [Count(*fields) for fields in _COUNT.iter_unpack(body[_TOTALS.size :])]
    each = len(rule.thresholds)
    wholes, stretches, bands = (tuple(counts[at * each :][:each]) for at in range(_KINDS))
    checks, wrong, resets, epoch, *detector = rest
    if not all(math.isfinite(value) and value >= 0 for value in detector):
        return None
    return Certificate(
        rule, wholes, stretches, bands, tuple(detector), checks, wrong, resets, epoch
    )
