"""Check a store: the file itself (PRAGMA integrity_check), and every entry.

Each value is decrypted, decompressed, compared with its checksum and its key, and taken apart.
Nothing is changed: services remove damaged entries when they meet them. A file takes some seconds
for each GB. What is encrypted is checked with LLMEMO_ENCRYPTION_KEY alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmemo.cli import FINE, PROBLEM
from llmemo.cli.arguments import add_file
from llmemo.cli.terminal import line
from llmemo.inspection.opening import viewed
from llmemo.inspection.values import ValueReader
from llmemo.inspection.verification import verify
from llmemo.telemetry import numbers
from llmemo.telemetry.progress import ProgressBar

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from llmemo.cli.output import Output
    from llmemo.inspection.verification import Verdict

EXAMPLES = """\
  llmemo verify cache.db
  llmemo verify redis://cache.internal --json"""

KEYS_SHOWN = 5


def add_arguments(parser: ArgumentParser) -> None:
    """What is checked."""
    add_file(parser)


def run(arguments: Namespace, output: Output) -> int:
    """Check, and print what was found."""
    reader = ValueReader()
    with viewed(arguments.file, prefix=arguments.prefix) as view, ProgressBar("checking") as bar:
        verdict = verify(view, reader, bar)
        shown = view.shown
    output.object({"store": shown, **verdict.as_dict()})
    output.text(_text(shown, verdict))
    return FINE if verdict.is_sound else PROBLEM


def _text(shown: str, verdict: Verdict) -> str:
    lines = [f"{line(shown)}: {numbers.entries(verdict.entries)} checked"]
    lines += [f"  the file: {line(problem)}" for problem in verdict.file_problems]
    for reason, count in verdict.damaged.items():
        lines.append(f"  damaged ({reason}): {count:,}")
    if verdict.damaged_keys:
        some = verdict.damaged_keys[:KEYS_SHOWN]
        more = len(verdict.damaged_keys) - len(some)
        keys = ", ".join(key.hex()[:16] for key in some) + (f" and {more:,} more" if more else "")
        lines.append(f"  damaged keys: {keys}: a service removes them when it meets them")
    for reason, count in verdict.unread.items():
        hint = ": set LLMEMO_ENCRYPTION_KEY" if reason == "unknown_encryption_key" else ""
        lines.append(f"  not checked ({reason}): {count:,}{hint}")
    lines.append("ok" if verdict.is_sound else "problems were found")
    return "\n".join(lines)
