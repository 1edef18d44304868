"""`make bench`: run the benches, print one table of ratios, write it into the documents.

Usage: python benches/run.py [--quick] [--only GROUP]
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from statistics import median

# Run as a file, Python would look for modules in benches/ only.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from rich.console import Console
from rich.progress import Progress

from benches import find, fleet, memory, semantic_pairs
from benches.report import (
    COLLECTION,
    FIND,
    FLEET,
    FOUND,
    PAIRS,
    WEIGHT,
    Group,
    MissingMarkersError,
    console_table,
    fleet_markdown,
    machine,
    markdown,
    splice,
    user_table,
)

ROOT = Path(__file__).resolve().parent.parent
BENCHMARKS = ROOT / "docs" / "benchmarks.md"
DOCUMENTS = {ROOT / "README.md": user_table, BENCHMARKS: markdown}
"""Where tables go, and what makes them."""
NO_TESTS_COLLECTED = 5
PYTEST = (
    *("-m", "pytest", str(ROOT / "benches"), "-v", "--no-header", "--color=no"),
    # The first brings a `benchmark` fixture of its own, the second wants a setting of its own.
    *("-p", "no:codspeed", "-p", "no:asyncio", "-p", "no:cacheprovider"),
    *("--benchmark-quiet", "--benchmark-disable-gc"),
    # `--only` may name a group that is measured without pytest.
    *("-W", "ignore:Not saving anything, no benchmarks have been run"),
)


class BenchFailedError(Exception):
    """A bench did not do what it times; the message is pytest's output."""


def run_pytest(options: list[str], console: Console) -> list[Group]:
    """Run the benches that pytest-benchmark times.

    Raises:
        BenchFailedError: One of them failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        figures = Path(folder) / "benchmark.json"
        command = [sys.executable, *PYTEST, f"--benchmark-json={figures}", *options]
        output: list[str] = []
        with (
            Progress(console=console, transient=True, disable=not console.is_terminal) as progress,
            subprocess.Popen(
                command,
                cwd=ROOT,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            ) as pytest,
        ):
            task = progress.add_task("starting", total=100)
            for line in pytest.stdout or ():
                output.append(line)
                if done := re.match(r"\S+::(\w+)\[.*\[ *(\d+)%\]$", line):
                    progress.update(task, description=done[1], completed=int(done[2]))
        if pytest.returncode == NO_TESTS_COLLECTED:
            return []
        if pytest.returncode != 0:
            raise BenchFailedError("".join(output))
        return merge(json.loads(figures.read_text())["benchmarks"])


def merge(benchmarks: list[dict[str, object]]) -> list[Group]:
    """One group for all its turns: each rival's median over the rounds of them all."""
    samples: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for each in benchmarks:
        group, extra, stats = each["group"], each["extra_info"], each["stats"]
        assert isinstance(group, str)
        assert isinstance(extra, dict)
        assert isinstance(stats, dict)
        samples[group][extra["rival"]] += [
            seconds / extra["operations"] for seconds in stats["data"]
        ]
    return [
        Group(group, medians={rival: median(taken) for rival, taken in rivals.items()})
        for group, rivals in samples.items()
    ]


def weigh(repeats: int, console: Console) -> list[Group]:
    """Weigh the entries of the caches that can hold so many, in fresh processes, in turns."""
    weights: dict[str, list[memory.Weight]] = defaultdict(list)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        for name in progress.track(
            memory.NAMES * repeats, description=f"weighing {memory.ENTRIES:,} entries"
        ):
            weights[name].append(memory.weigh(name))
    collection, weight = Group(COLLECTION), Group(WEIGHT, unit="bytes")
    for name, samples in weights.items():
        collection.medians[name] = median(sample.gc_seconds for sample in samples)
        weight.medians[name] = median(sample.entry_bytes for sample in samples)
    return [collection, weight]


def time_core(repeats: int, console: Console) -> list[Group]:
    """Time what is measured without Python.

    Raises:
        BenchFailedError: Cargo could not build or run it.
    """
    with console.status("finding entries (the first time, this is built)"):
        try:
            return find.find(repeats)
        except subprocess.CalledProcessError as error:
            raise BenchFailedError(error.stderr) from error


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, prog="benches/run.py")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="few rounds, figures rough; no document is written",
    )
    parser.add_argument(
        "--only",
        metavar="GROUP",
        help="groups whose name contains GROUP; no document is written",
    )
    arguments = parser.parse_args()
    only: str = arguments.only or ""
    # Not at a terminal (in a log, say) the table should be as wide as it is.
    console = Console(width=None if sys.stdout.isatty() else 160)
    errors = Console(stderr=True)
    documents = {} if arguments.quick or only else DOCUMENTS
    try:
        for document in documents:  # before the minutes that follow, not after them
            splice(document.read_text(encoding="utf-8"), "")
        if documents:
            for name in (PAIRS, FLEET):
                splice(BENCHMARKS.read_text(encoding="utf-8"), "", name)
            console.print("This takes about a quarter of an hour.")
        options = ["--turns=2", "--rounds=2"] if arguments.quick else []
        groups = run_pytest([*options, f"--only={only}"], console)
        if only in COLLECTION or only in WEIGHT:
            weighed = weigh(1 if arguments.quick else 3, console)
            groups += [group for group in weighed if only in group.name]
        groups += fleet.measure(console, only, 1 if arguments.quick else 5)
        if any(only in FIND.format(size) for size in FOUND):
            core = time_core(1 if arguments.quick else 5, console)
            groups += [group for group in core if only in group.name]
        tables = semantic_pairs.measure(console) if only in PAIRS else []
        if not groups and not tables:
            errors.print(f"make bench: no group's name contains {only!r}", markup=False)
            return 2
        console.print(console_table(groups))
        for questions, found in tables:
            console.print(semantic_pairs.table(questions, found))
        console.print(machine(), markup=False)
        for document, table in documents.items():
            text = splice(document.read_text(encoding="utf-8"), table(groups))
            document.write_text(text, encoding="utf-8")
        if documents:
            text = BENCHMARKS.read_text(encoding="utf-8")
            text = splice(text, semantic_pairs.markdown(tables), PAIRS)
            text = splice(text, fleet_markdown(groups), FLEET)
            BENCHMARKS.write_text(text, encoding="utf-8")
    except (BenchFailedError, MissingMarkersError, FileNotFoundError) as error:
        errors.print(f"make bench: {error}", markup=False, highlight=False, soft_wrap=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
