"""`llmemo export` and `llmemo import` at full length, by the command, also while services write."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from langchain_core.outputs import Generation
from support.doubles import FAST, LIMIT, ROUNDS, expect_on_disk
from support.every_kind import hits_of_all, keep_all, kinds
from support.figures import tell
from support.moved import rows
from support.writers import WRITERS, writers

from llmemo import LLMCache

if TYPE_CHECKING:
    from pathlib import Path

EACH = min(2_000 * ROUNDS, 100_000)
"""Answers of each kind: 100,000 in a soak."""


class Ran(NamedTuple):
    """What came of a command."""

    code: int
    printed: str
    said: str
    seconds: float
    peak: int
    """Bytes of memory; 0 where the system does not say."""


COMMAND = """
import sys
from llmemo.cli import main
code = main(sys.argv[2:])
try:
    with open("/proc/self/status") as status, open(sys.argv[1], "w") as peak:
        # Not `ru_maxrss`: a process inherits that of the one that started it.
        peak.writelines(line.split()[1] for line in status if line.startswith("VmHWM:"))
except FileNotFoundError:
    pass
sys.exit(code)
"""


def llmemo(folder: Path, *arguments: object, stdout: Any = subprocess.PIPE) -> Ran:
    """Run the command to its end. `folder`: for a file of this function's own."""
    start, peak = time.monotonic(), folder / "peak"
    done = subprocess.run(
        [*FAST, "-c", COMMAND, str(peak), *map(str, arguments)],
        check=False,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        timeout=LIMIT * ROUNDS,
    )
    seconds = time.monotonic() - start
    kib = int(peak.read_text()) if peak.exists() else 0
    return Ran(done.returncode, done.stdout or "", done.stderr, seconds, kib * 1024)


@pytest.mark.slow
@pytest.mark.process
def test_the_same_hits_after_a_move_and_nothing_more_after_another(tmp_path: Path) -> None:
    every = EACH * kinds()
    keep_all(tmp_path / "a.db", EACH)
    with (tmp_path / "x.jsonl").open("wb") as lines:
        there = llmemo(tmp_path, "export", tmp_path / "a.db", stdout=lines)
    assert (there.code, there.said.startswith(f"{every:,} answers exported")) == (0, True), there
    first = llmemo(tmp_path, "import", tmp_path / "b.db", tmp_path / "x.jsonl", "--json")
    report = json.loads(first.printed)
    assert (first.code, first.said, report["imported"], report["already"]) == (0, "", every, 0)
    assert hits_of_all(tmp_path / "b.db", EACH) == every
    before = (tmp_path / "b.db").read_bytes()
    again = llmemo(tmp_path, "import", tmp_path / "b.db", tmp_path / "x.jsonl", "--json")
    report = json.loads(again.printed)
    assert (again.code, report["imported"], report["already"]) == (0, 0, every)
    assert (tmp_path / "b.db").read_bytes() == before
    tell(
        f"export and import of {every:,} answers, {(tmp_path / 'x.jsonl').stat().st_size:,} bytes",
        export_s=there.seconds,
        import_s=first.seconds,
        again_s=again.seconds,
        export_peak_mb=there.peak / 2**20,
        import_peak_mb=first.peak / 2**20,
    )


@pytest.mark.slow
@pytest.mark.process
def test_services_write_on_meanwhile_and_none_of_their_calls_fails(tmp_path: Path) -> None:
    path, count = tmp_path / "cache.db", 100 * min(ROUNDS, 20)
    keep_all(tmp_path / "other.db", count)
    with (tmp_path / "other.jsonl").open("wb") as lines:
        assert llmemo(tmp_path, "export", tmp_path / "other.db", stdout=lines).code == 0
    with writers(path) as said:
        for turn in range(min(ROUNDS, 20)):
            with (tmp_path / "x.jsonl").open("wb") as lines:
                there = llmemo(tmp_path, "export", path, stdout=lines)
            assert there.code == 0, there
            # What was exported amid the writes is whole.
            fresh = tmp_path / f"{turn}.db"
            back = llmemo(tmp_path, "import", fresh, tmp_path / "x.jsonl")
            assert (back.code, back.said) == (0, ""), back
            new = llmemo(tmp_path, "import", path, tmp_path / "other.jsonl", "--json")
            assert (new.code, new.said) == (0, ""), new
    for report in said:
        assert report["calls"] == report["updates"] > 0
        assert (report["wrong"], report["misses"], report["troubles"]) == ([], 0, [{}, {}, 0])
    assert hits_of_all(path, count) == count * kinds()
    with LLMCache(fresh, max_bytes=0) as cache:
        for who in range(WRITERS):
            hit = cache.lookup(f"w{who}-1", "m")
            assert hit is not None
            assert hit[0].text == f"answer to w{who}-1"
    tell("exports and imports beside 4 writers", updates=sum(each["calls"] for each in said))


@pytest.mark.slow
@pytest.mark.process
def test_an_interrupted_import_leaves_a_sound_file_and_can_be_repeated(tmp_path: Path) -> None:
    path, keys = tmp_path / "b.db", [f"k{n}" for n in range(1_000)]
    with LLMCache(tmp_path / "a.db", max_bytes=0) as cache:
        for key in keys:
            cache.update(key, "m", [Generation(text=f"answer to {key}")])
    with (tmp_path / "x.jsonl").open("wb") as lines:
        assert llmemo(tmp_path, "export", tmp_path / "a.db", stdout=lines).code == 0
    data = (tmp_path / "x.jsonl").read_bytes()
    with subprocess.Popen(
        [*FAST, "-m", "llmemo", "import", str(path), "-"],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        # More than one batch, and no end: it waits for the rest.
        process.stdin.write(data[: len(data) // 2])
        process.stdin.flush()
        end = time.monotonic() + LIMIT
        while time.monotonic() < end and not (path.exists() and _count(path)):
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=LIMIT)[1].decode()
    assert process.returncode == 130
    assert said.startswith("interrupted: ")
    assert said.count("\n") == 1, said
    number = _count(path)
    assert f" {number:,} answers" in said
    assert 0 < number < len(keys)
    assert llmemo(tmp_path, "import", path, tmp_path / "x.jsonl").code == 0
    expect_on_disk(path, keys)


def _count(path: Path) -> int:
    return len(rows(path)) if path.stat().st_size else 0
