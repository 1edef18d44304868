"""Count what a store holds: entries, bytes, namespaces, and of a sample the kinds of values.

Namespaces are shown as digests: a store keeps no names. Hits, misses and savings are counted by a
running cache, not by its store: see LLMCache.stats().
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from llmemo.cli import FINE, wording
from llmemo.cli.arguments import add_file
from llmemo.cli.terminal import line
from llmemo.inspection.opening import viewed
from llmemo.inspection.survey import SAMPLE, contents, survey
from llmemo.inspection.values import ValueReader
from llmemo.telemetry import numbers
from llmemo.telemetry.progress import ProgressBar

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from llmemo.cli.output import Output
    from llmemo.inspection.survey import Contents, Survey

EXAMPLES = """\
  llmemo stats cache.db
  llmemo stats redis://cache.internal --json"""

NAMESPACES_SHOWN = 10


def add_arguments(parser: ArgumentParser) -> None:
    """What is counted."""
    add_file(parser)
    parser.add_argument("--full", action="store_true", help="read every value, not a sample")


def run(arguments: Namespace, output: Output) -> int:
    """Count, and print."""
    now = time.time()
    reader = ValueReader()
    with viewed(arguments.file, prefix=arguments.prefix) as view:
        facts = view.facts()
        sample = max(view.count(), SAMPLE) if arguments.full else SAMPLE
        with ProgressBar("counting") as bar:
            counted = survey(view, now, bar, sample=sample)
        with ProgressBar("reading") as bar:
            seen = contents(view, reader, counted.keys, bar)
        output.object(_json(view.shown, facts, counted, seen))
        output.text(_text(view.shown, facts, counted, seen, now))
    return FINE


def _json(shown: str, facts: dict[str, Any], counted: Survey, seen: Contents) -> dict[str, Any]:
    return {
        "store": shown,
        **facts,
        "entries": counted.entries,
        "expired": counted.expired,
        "value_bytes": counted.bytes,
        "oldest": counted.oldest,
        "newest": counted.newest,
        "namespaces": [
            {"namespace": name.hex(), "entries": group.entries, "value_bytes": group.bytes}
            for name, group in counted.largest(len(counted.groups))
        ],
        "values_read": seen.seen,
        "kinds": dict(seen.kinds),
        "compressed": round(seen.share(seen.compressed), 4),
        "encrypted": round(seen.share(seen.encrypted), 4),
        "damaged": dict(seen.damaged),
        "unread": dict(seen.unread),
    }


def _text(shown: str, facts: dict[str, Any], counted: Survey, seen: Contents, now: float) -> str:
    rows = [("entries", f"{counted.entries:,}, {counted.expired:,} of them expired")]
    if facts["kind"] == "sqlite":
        sizes = ("file_bytes", "free_bytes", "wal_bytes")
        file, free, wal = (wording.size(facts[name]) for name in sizes)
        rows += [("file", f"{file}, {free} of it free"), ("WAL", wal)]
        rows += [("schema", f"{facts['schema']} (newest: {facts['newest_schema']})")]
        rows += [("questions", f"{facts['questions']:,}")]
    else:
        nodes = numbers.counted(facts["nodes"], "node", "nodes")
        rows += [("server", f"version {facts['version']}, {nodes}")]
    rows += [("values", wording.size(counted.bytes))]
    for name, when in (("oldest", counted.oldest), ("newest", counted.newest)):
        ago = "" if when is None else f" ({wording.span(now - when)} ago)"
        rows.append((name, wording.moment(when) + ago))
    lines = [line(shown), wording.table(rows), "", f"namespaces: {len(counted.groups):,}"]
    lines += _namespaces(counted)
    lines += [
        "",
        f"of {numbers.counted(seen.seen, 'value', 'values')} read:",
        wording.table(_values(seen), " r"),
    ]
    return "\n".join(lines)


def _namespaces(counted: Survey) -> list[str]:
    largest = counted.largest(NAMESPACES_SHOWN)
    if not largest:
        return []
    rows = [
        (
            f"  {name.hex() or '(damaged)'}",
            numbers.entries(group.entries),
            wording.size(group.bytes),
        )
        for name, group in largest
    ]
    left = len(counted.groups) - len(largest)
    return [wording.table(rows, " rr"), *([f"  and {left:,} more"] if left else [])]


def _values(seen: Contents) -> list[tuple[str, str]]:
    rows = [
        (f"  {kind if count == 1 else f'{kind}s'}", f"{count:,}")
        for kind, count in seen.kinds.most_common()
    ]
    rows += [
        ("  compressed", wording.share(seen.share(seen.compressed))),
        ("  encrypted", wording.share(seen.share(seen.encrypted))),
    ]
    for what, reasons in (("damaged", seen.damaged), ("unread here", seen.unread)):
        rows += [(f"  {what}: {reason}", f"{count:,}") for reason, count in reasons.items()]
    return rows
