"""Sessions: which near matches each was given."""

from __future__ import annotations

from llmemo.concurrency.bounded_dict import note

SESSIONS_MAX = 10_000
"""Sessions that are remembered, the last used."""

MATCHES_MAX = 256
"""Matches of one session that are remembered, the last ones."""


class Sessions:
    """The near matches that sessions were given, by key."""

    def __init__(self) -> None:
        """Begin with none."""
        self._given: dict[str, dict[bytes, None]] = {}

    def given(self, session: str | None) -> dict[bytes, None]:
        """The keys of the answers that a session was given as near matches."""
        return {} if session is None else self._given.get(session, {})

    def add(self, session: str | None, key: bytes) -> None:
        """Remember that a session was given an answer."""
        if session is not None:
            given = self._given.get(session, {})
            note(given, key, None, MATCHES_MAX)
            note(self._given, session, given, SESSIONS_MAX)
