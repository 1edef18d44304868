"""Remove entries, after a confirmation. Running services forget them within a second, too.

Removes the entries of the given keys, or those that match all of the options.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from llmemo.cli import FINE, PROBLEM, USAGE
from llmemo.cli.arguments import add_file, duration, key
from llmemo.cli.ls import matching
from llmemo.cli.terminal import line
from llmemo.inspection.labels import namespace_of
from llmemo.inspection.opening import viewed
from llmemo.inspection.removal import remove_all, remove_keys, remove_matching
from llmemo.telemetry import numbers
from llmemo.telemetry.progress import ProgressBar

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from llmemo.cli.output import Output
    from llmemo.inspection.entries import View

EXAMPLES = """\
  llmemo rm cache.db 3f2a9c01
  llmemo rm cache.db --namespace tenant-a --older-than 7d --yes
  llmemo rm cache.db --expired --yes
  llmemo rm cache.db --all"""


def add_arguments(parser: ArgumentParser) -> None:
    """Which entries."""
    add_file(parser)
    parser.add_argument("keys", metavar="KEY", nargs="*", type=key, help="first digits of a key")
    parser.add_argument("--namespace", metavar="NAME", help="those of this one (name, or digest)")
    parser.add_argument("--older-than", metavar="AGE", type=duration, help="such as 12h or 7d")
    parser.add_argument("--expired", action="store_true", help="what has expired")
    parser.add_argument("--all", action="store_true", help="every entry")
    parser.add_argument("--yes", action="store_true", help="do not ask")


def run(arguments: Namespace, output: Output) -> int:
    """Ask, and remove."""
    selects = arguments.namespace is not None or arguments.older_than is not None
    ways = [bool(arguments.keys), selects or arguments.expired, arguments.all]
    if sum(ways) != 1:
        text = "name keys, or select by --namespace, --older-than and --expired, or give --all"
        output.note(f"llmemo rm: {text}")
        return USAGE
    with viewed(arguments.file, prefix=arguments.prefix) as view:
        view.writable()  # which a file may not be: before any question
        now = time.time()
        sizes: dict[bytes, int] | None = None
        if arguments.keys:
            sizes = _keys_of(view, arguments.keys, output)
        elif arguments.expired:
            sizes = _selected(view, arguments, now)
        if sizes is not None and not sizes:
            output.object({"removed": 0})
            output.text("removed 0 entries")
            return PROBLEM if arguments.keys else FINE
        if not (arguments.yes or _agrees(view, arguments, sizes, now, output)):
            return USAGE
        removed = _remove(view, arguments, sizes, now)
    output.object({"removed": removed})
    output.text(f"removed {numbers.entries(removed)}")
    return FINE


def _remove(view: View, arguments: Namespace, sizes: dict[bytes, int] | None, now: float) -> int:
    if sizes is not None:
        return remove_keys(view, sizes)
    if arguments.all:
        return remove_all(view)
    namespace = None if arguments.namespace is None else namespace_of(arguments.namespace)
    age = arguments.older_than
    # As of the question: what has become old since was not in it.
    return remove_matching(view, namespace, None if age is None else now - age)


def _keys_of(view: View, prefixes: list[str], output: Output) -> dict[bytes, int]:
    """The keys that these stand for, with bytes; none, which is said, unless each is one."""
    found: dict[bytes, None] = {}
    for prefix in prefixes:
        keys = view.matching(prefix, 2)
        if len(keys) != 1:
            many = "several keys begin with" if keys else "no key begins with"
            output.note(f"llmemo rm: {many} {prefix}: nothing was removed")
            return {}
        found.update(dict.fromkeys(keys))
    return {one.entry.key: one.entry.size for one in view.stored(list(found))}


def _selected(view: View, arguments: Namespace, now: float) -> dict[bytes, int]:
    with ProgressBar("looking") as bar:
        return {one.key: one.size for some in matching(view, arguments, now, bar) for one in some}


def _agrees(
    view: View,
    arguments: Namespace,
    sizes: dict[bytes, int] | None,
    now: float,
    output: Output,
) -> bool:
    if sys.stdin is None or not sys.stdin.isatty():
        output.note("llmemo rm: there is no terminal to ask: give --yes")
        return False
    count = view.count() if arguments.all else len(sizes or _selected(view, arguments, now))
    output.note(f"Remove {numbers.entries(count)} of {line(view.shown)}? [y/N]")
    if sys.stdin.readline().strip().lower() in {"y", "yes"}:
        return True
    output.note("llmemo rm: nothing was removed")
    return False
