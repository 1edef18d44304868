"""List the entries of a store, the newest first.

Keys are digests of requests, and namespaces digests of their names.
"""

from __future__ import annotations

import heapq
import time
from typing import TYPE_CHECKING, Any

from llmemo._core import ValueDamaged
from llmemo.cli import FINE, wording
from llmemo.cli.arguments import add_file, duration, whole
from llmemo.inspection.labels import namespace_of
from llmemo.inspection.opening import viewed
from llmemo.inspection.values import ValueReader, reason_of
from llmemo.telemetry import numbers
from llmemo.telemetry.progress import ProgressBar

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Iterable, Iterator, Sequence

    from llmemo.cli.output import Output
    from llmemo.inspection.entries import Entry, View

EXAMPLES = """\
  llmemo ls cache.db --limit 10
  llmemo ls cache.db --namespace tenant-a --older-than 7d
  llmemo ls cache.db --limit 0 --json | jq -r .key"""

LIMIT = 50
AT_ONCE = 100

SHORT = 12
"""Digits of a key, or a namespace, in the table."""


def add_arguments(parser: ArgumentParser) -> None:
    """Which entries are listed."""
    add_file(parser)
    parser.add_argument("--namespace", metavar="NAME", help="only of this one (name, or digest)")
    parser.add_argument("--older-than", metavar="AGE", type=duration, help="such as 12h or 7d")
    parser.add_argument("--expired", action="store_true", help="only what has expired")
    parser.add_argument(
        "--limit", metavar="N", type=whole, default=LIMIT, help="at most (default 50; 0: all)"
    )


def run(arguments: Namespace, output: Output) -> int:
    """List, and print."""
    now = time.time()
    reader = ValueReader()
    with viewed(arguments.file, prefix=arguments.prefix) as view:
        total, chosen = chosen_of(view, arguments, now)
        for at in range(0, len(chosen), AT_ONCE):
            some = chosen[at : at + AT_ONCE]
            kinds = _kinds(view, reader, some)
            for one in some:
                output.object(_json(one, kinds.get(one.key)))
            if some and not output.is_json:
                output.text(_text(some, kinds, now, has_head=at == 0))
    if total > len(chosen):
        output.note(f"{len(chosen):,} of {numbers.entries(total)}: --limit 0 lists all")
    return FINE


def chosen_of(view: View, arguments: Namespace, now: float) -> tuple[int, list[Entry]]:
    """How many entries match, and those to list, the newest first."""
    found: list[Entry] = []
    total = 0
    limit = arguments.limit or None
    with ProgressBar("looking") as bar:
        for some in matching(view, arguments, now, bar):
            total += len(some)
            found += some
            if limit is not None and len(found) > limit:
                # The heads of all others go at once.
                found = heapq.nlargest(limit, found, key=lambda one: one.created)
    return total, sorted(found, key=lambda one: one.created, reverse=True)


def matching(
    view: View, arguments: Namespace, now: float, progress: ProgressBar
) -> Iterator[Sequence[Entry]]:
    """The entries that the arguments select, some at a time."""
    namespace = None if arguments.namespace is None else namespace_of(arguments.namespace)
    before = None if arguments.older_than is None else now - arguments.older_than
    done, total = 0, view.count()
    for some in view.entries():
        done += len(some)
        progress(done, max(done, total))
        yield [
            one
            for one in some
            if (namespace is None or one.namespace == namespace)
            and (before is None or one.created < before)
            and (not arguments.expired or one.is_expired(now))
        ]


def _kinds(view: View, reader: ValueReader, entries: Iterable[Entry]) -> dict[bytes, str]:
    found = {}
    for stored in view.stored([one.key for one in entries]):
        try:
            found[stored.entry.key] = reader.open(stored).kind
        except ValueDamaged as error:
            reason, is_damage = reason_of(error)
            found[stored.entry.key] = f"damaged ({reason})" if is_damage else f"({reason})"
    return found


def _json(entry: Entry, kind: str | None) -> dict[str, Any]:
    return {**entry.as_dict(), "used": entry.used, "kind": kind}


def _text(entries: Sequence[Entry], kinds: dict[bytes, str], now: float, *, has_head: bool) -> str:
    head = [("KEY", "NAMESPACE", "AGE", "EXPIRES", "SIZE", "KIND")]
    rows = [
        (
            one.key.hex()[:SHORT],
            one.namespace.hex()[:SHORT],
            f"{wording.span(now - one.created):>5}",
            "never" if one.expires is None else f"{wording.span(one.expires - now):>5}",
            f"{wording.size(one.size):>10}",
            kinds.get(one.key, "(gone)"),
        )
        for one in entries
    ]
    return wording.table([*head, *rows] if has_head else rows)
