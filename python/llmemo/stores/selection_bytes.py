"""A selection as bytes, for logs of changes that hold keys or selections."""

from __future__ import annotations

import struct

from llmemo.stores.records import Selection

KEY_BYTES = 32
"""A key has this length, and no selection."""

_SELECTION = struct.Struct("<3?16s16sd")


def packed(selection: Selection) -> bytes:
    """A selection in the place of a key: which parts are given, and all parts."""
    namespace, llm, before = selection
    given = [part is not None for part in selection]
    return _SELECTION.pack(*given, namespace or b"", llm or b"", before or 0.0)


def unpacked(key: bytes) -> bytes | Selection:
    """What stands in the place of a key."""
    if len(key) != _SELECTION.size:
        return key
    has_namespace, has_llm, has_before, namespace, llm, before = _SELECTION.unpack(key)
    return Selection(
        namespace if has_namespace else None,
        llm if has_llm else None,
        before if has_before else None,
    )
