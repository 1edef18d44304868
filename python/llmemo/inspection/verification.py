"""Whether everything that a store holds can be read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from llmemo.inspection.sqlite_view import DamagedError, SQLiteView
from llmemo.inspection.survey import Contents

if TYPE_CHECKING:
    from collections import Counter

    from llmemo.inspection.entries import View
    from llmemo.inspection.survey import Progress
    from llmemo.inspection.values import ValueReader

PROBLEMS_MAX = 100
"""Problems of a file that are told, at most."""


class Verdict(NamedTuple):
    """What was found."""

    entries: int
    """Entries that were checked."""
    file_problems: list[str]
    """What SQLite says of the file."""
    damaged: Counter[str]
    """Entries that no process can read, by reason."""
    unread: Counter[str]
    """Entries that could not be checked here, by reason."""
    damaged_keys: list[bytes]

    @property
    def is_sound(self) -> bool:
        """Whether nothing is damaged."""
        return not self.file_problems and not self.damaged

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "ok": self.is_sound,
            "entries": self.entries,
            "file_problems": self.file_problems,
            "damaged": dict(self.damaged),
            "damaged_keys": [key.hex() for key in self.damaged_keys],
            "unread": dict(self.unread),
        }


def verify(view: View, reader: ValueReader, progress: Progress) -> Verdict:
    """Read every entry, and have SQLite check its file.

    Raises:
        StoreError: The store cannot be read, for another reason than damage.
    """
    problems = _problems(view) if isinstance(view, SQLiteView) else []
    found, done = Contents(), 0
    try:
        total = view.count()
        for some in view.entries():
            found.add(view, reader, [one.key for one in some])
            done += len(some)
            progress(done, max(total, done))
    except DamagedError as error:
        problems = problems or [error.found]
    return Verdict(done, problems, found.damaged, found.unread, found.damaged_keys)


def _problems(view: SQLiteView) -> list[str]:
    lost = view.lost_wal()
    return [*view.integrity(PROBLEMS_MAX), *([lost] if lost else [])]
