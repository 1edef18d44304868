"""Caches with near matches that are killed at any moment: what is left is right, and whole."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from support import TESTS
from support.doubles import ROUNDS
from support.figures import tell
from support.supervisors import supervise

if TYPE_CHECKING:
    from pathlib import Path

KILLS = 10 * ROUNDS

PROGRAM = """
sys.path.insert(0, TESTS)
from support.near import *

kills, per_file = int(sys.argv[3]), 20

def letters(number):
    return "".join(chr(ord("a") + int(digit)) for digit in str(number))

def write(path, who):
    "Asks of one topic after the other, twice; says what is certain. Forgets each fourth."
    with near_cache(path, semantic=semantic(shadow=1.0)) as cache:
        for number in range(10**6):
            topic = f"{who}x{letters(number)}"
            assert ask(cache, wording(0, topic)) is None
            assert ask(cache, wording(1, topic)) is None
            before = cache.stats()
            assert (before.errors, before.writes_unconfirmed) == ({}, 0), before
            say(topic)
            if number % 4 == 3:
                cache.delete(wording(0, topic), "m")
                cache.delete(wording(1, topic), "m")
                say("-" + topic)

def judge(path, said):
    "Prints the number of verdicts, of near matches, of wrong ones, and of those that lack."
    gone = {each[1:] for each in said if each[0] == "-"}
    unsure = said[-1:]
    right = wrong = missing = 0
    with near_cache(path) as cache:
        for topic in [each for each in said if each[0] != "-"][-30:]:
            found = look(cache, wording(2, topic))
            right += found == said_of(topic) and topic not in gone
            wrong += found is not None and (topic in gone or found != said_of(topic))
            missing += found is None and topic not in gone and topic not in unsure
        look(cache, "explain nothing")
        checks = cache._tiers.semantic.certification.certificate.checks
        assert cache.stats().errors == {}, cache.stats()
    print(checks, right, wrong, missing, flush=True)
    is_sound(path)

def apart(work, *args):
    pid, source = child(work, *args)
    said = rest(source)
    assert ended(pid) == 0, said
    return [int(count) for count in said]

served = wrong = missing = behind = ahead = verdicts = 0
for first in range(0, kills, per_file):
    file, total = f"{path}{first}", 0
    for turn in range(0, min(per_file, kills - first), 2):
        writers = [child(write, file, letters(first + turn) + name) for name in "yz"]
        select.select([writers[0][1]], [], [], 60)
        time.sleep(dice.random() * 0.3)
        for pid, _ in writers:
            os.kill(pid, signal.SIGKILL)
        told = [rest(source) for _, source in writers]
        assert [ended(pid) for pid, _ in writers] == [-signal.SIGKILL] * 2
        known = [sum(each[0] != "-" for each in said) for said in told]
        checks, *counts = apart(judge, file, told[0])
        _, *others = apart(judge, file, told[1])
        # Each may have been killed between a verdict and its word for that.
        behind = max(behind, total + sum(known) - checks)
        ahead = max(ahead, checks - total - sum(known))
        total = checks
        served += counts[0] + others[0]
        wrong += counts[1] + others[1]
        missing += counts[2] + others[2]
    verdicts += total
    for suffix in ("", "-wal", "-shm", "-lock"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(file + suffix)
print(json.dumps(dict(kills=kills, verdicts=verdicts, behind=behind, ahead=ahead, served=served,
                      wrong=wrong, missing=missing), separators=(",", ":")))
""".replace("TESTS", repr(str(TESTS)))


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_what_killed_processes_leave_is_served_as_it_was_said(tmp_path: Path) -> None:
    found = supervise(PROGRAM, tmp_path / "db", 11, KILLS, seconds=1.0 * KILLS)
    tell("SIGKILLs of caches with near matches", **found)
    assert (found["wrong"], found["missing"]) == (0, 0)
    # One batch of a writer each.
    assert found["behind"] <= 2
    assert found["ahead"] <= 2
    assert found["served"] > KILLS
    assert found["verdicts"] > KILLS
