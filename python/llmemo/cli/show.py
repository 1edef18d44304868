"""Show one entry in clear: its answer, tool calls and usage.

Nothing that the entry names is imported or run. The prompt is shown if the store keeps requests
(SQLiteStore(..., store_requests=True)). What is encrypted needs LLMEMO_ENCRYPTION_KEY.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from llmemo._core import ValueDamaged
from llmemo.cli import FINE, PROBLEM, wording
from llmemo.cli.answers import lines_of
from llmemo.cli.arguments import add_file, key
from llmemo.inspection.opening import viewed
from llmemo.inspection.values import FOR_STREAMS, RECORDED, ValueReader, plain, reason_of

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from llmemo.cli.output import Output
    from llmemo.inspection.entries import Stored, View
    from llmemo.inspection.values import Opened

EXAMPLES = """\
  llmemo show cache.db 3f2a9c01
  llmemo show cache.db 3f2a9c01 --json"""

MATCHES_SHOWN = 10


def add_arguments(parser: ArgumentParser) -> None:
    """Which entry."""
    add_file(parser)
    parser.add_argument("key", metavar="KEY", type=key, help="the first digits of its key")


def run(arguments: Namespace, output: Output) -> int:
    """Show it."""
    with viewed(arguments.file, prefix=arguments.prefix) as view:
        stored = the_one(view, arguments.key, output)
    if stored is None:
        return PROBLEM
    reader = ValueReader()
    try:
        opened = reader.open(stored)
        question = reader.question(stored)
    except ValueDamaged as error:
        reason, _ = reason_of(error)
        hint = " (set LLMEMO_ENCRYPTION_KEY)" if reason == "unknown_encryption_key" else ""
        output.object({**stored.entry.as_dict(), "unreadable": reason})
        output.note(f"llmemo show: the value cannot be read: {reason}{hint}")
        return PROBLEM
    request = reader.request(stored)
    output.object(_json(stored, opened, request, question))
    output.text("\n".join(_text(stored, opened, request, question)))
    return FINE


def the_one(view: View, prefix: str, output: Output) -> Stored | None:
    """The entry whose key begins like that; None, which is said, if there is none, or several."""
    keys = view.matching(prefix, MATCHES_SHOWN + 1)
    found = list(view.stored(keys)) if len(keys) == 1 else []
    if found:
        return found[0]
    if len(keys) > 1:
        shown = ", ".join(one.hex()[:16] for one in keys[:MATCHES_SHOWN])
        output.note(f"llmemo show: several keys begin with {prefix}: {shown}: give more digits")
    else:
        output.note(f"llmemo show: no key begins with {prefix}: llmemo ls lists them")
    return None


def _json(
    stored: Stored, opened: Opened, request: tuple[str, str] | None, question: str | None
) -> dict[str, Any]:
    return {
        **stored.entry.as_dict(),
        "kind": opened.kind,
        "compressed": opened.is_compressed,
        "encrypted": opened.is_encrypted,
        "recorded": bool(opened.flags & RECORDED),
        "streams_only": bool(opened.flags & FOR_STREAMS),
        "namespace_name": None if request is None else request[0],
        "prompt": None if request is None else request[1],
        "question": question,
        "generations": plain(opened.generations),
    }


def _text(
    stored: Stored, opened: Opened, request: tuple[str, str] | None, question: str | None
) -> list[str]:
    entry, now = stored.entry, time.time()
    how = [
        word
        for word, is_so in (
            ("compressed", opened.is_compressed),
            ("encrypted", opened.is_encrypted),
            ("for streams only", opened.flags & FOR_STREAMS),
        )
        if is_so
    ]
    named = "" if request is None else f" ({request[0]!r})"
    rows = [
        ("key", entry.key.hex()),
        ("namespace", entry.namespace.hex() + named),
        ("made", f"{wording.moment(entry.created)} ({wording.span(now - entry.created)} ago)"),
        ("expires", "never" if entry.expires is None else wording.moment(entry.expires)),
        ("value", ", ".join([opened.kind, wording.size(entry.size), *how])),
    ]
    lines = [wording.table(rows)]
    if request is not None:
        lines += ["", "prompt:", request[1]]
    if question is not None:
        lines += ["", "question:", question]
    for generation in opened.generations:
        lines += ["", *lines_of(generation, opened.kind)]
    return lines
