"""Writers of questions that are killed at any moment: no question is without its answer."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from support.doubles import ROUNDS
from support.figures import tell
from support.supervisors import supervise

if TYPE_CHECKING:
    from pathlib import Path

KILLS = 10 * ROUNDS

PROGRAM = """
from llmemo import SQLiteStore
from llmemo.stores import Record, Selection
from llmemo.stores.records import StoredQuestion
from llmemo.stores.sqlite import upkeep

kills, per_file = int(sys.argv[3]), 20
PARTITION = b"p" * 32

def record(number, made):
    "Of an even number: one with a question."
    question = None if number % 2 else StoredQuestion(PARTITION, os.urandom(400))
    expires = None if number % 5 else made + 0.05
    return Record(number.to_bytes(32, "big"), os.urandom(dice.randrange(3_000)), b"n" * 16,
                  b"%016d" % (number % 4), made, expires, b"", None, question)

async def use(path, who):
    dice.seed(who)
    upkeep.PAUSE = 0.0
    store = SQLiteStore(path, max_store_bytes=600_000)
    await store.open()
    name, count = who.encode(), 0
    while True:
        some = [record(number, time.time()) for number in dice.sample(range(400), 20)]
        kind = dice.random()
        if kind < 0.6:
            await store.set(some)
        elif kind < 0.7:
            await store.add(some)
        elif kind < 0.8:
            await store.delete([one.key for one in some])
        elif kind < 0.85:
            await store.discard(some)
        elif kind < 0.9:
            await store.invalidate(Selection(None, some[0].llm, None))
        elif kind < 0.92:
            await store.delete(None)
        else:
            await store.upkeep()
        count += 1
        state = await store.vectors.amend(name, lambda it: b"%d" % (int(it or b"0") + 1))
        assert int(state) == count, (state, count)
        say(state.decode())

def write(path, who):
    asyncio.run(use(path, who))

def judge(path):
    "Prints how many questions are without an answer, and answers without their question."
    with contextlib.closing(sqlite3.connect(path, timeout=60)) as connection:
        execute = connection.execute
        execute("BEGIN")
        has = {key for (key,) in execute("SELECT key FROM entries")}
        asked = {key for (key,) in execute("SELECT key FROM questions")}
        expected = {key for key in has if not key[-1] % 2}
        print(len(asked - has), len(expected - asked), len(asked), flush=True)
    is_sound(path)

async def state_of(path, who):
    store = SQLiteStore(path)
    await store.open()  # Its writer may have been killed before there were tables.
    state = await store.vectors.state(who.encode())
    await store.close()
    return int(state or b"0")

def apart(work, *args):
    pid, source = child(work, *args)
    said = rest(source)
    assert ended(pid) == 0, said
    return [int(count) for count in said]

def tell_state(path, who):
    print(asyncio.run(state_of(path, who)), flush=True)

orphans = unasked = seen = behind = changes = 0
for first in range(0, kills, per_file):
    file, writers = f"{path}{first}", {}
    left = min(per_file, kills - first)
    for turn in range(left):
        while len(writers) < min(3, left - turn):
            name = f"{first}-{turn}-{len(writers)}"
            pid, source = child(write, file, name)
            writers[pid] = source, name
        victim = dice.choice(list(writers))
        if dice.random() < 0.9:
            select.select([writers[victim][0]], [], [], 60)
        time.sleep(dice.random() * 0.1)
        os.kill(victim, signal.SIGKILL)
        source, name = writers.pop(victim)
        said = rest(source)
        assert ended(victim) == -signal.SIGKILL
        if not os.path.exists(file):
            continue
        # What was said is stored, and at most one more that was killed before it could say so.
        [stored] = apart(tell_state, file, name)
        behind += not len(said) <= stored <= len(said) + 1
        changes += stored
        counts = apart(judge, file)
        orphans, unasked, seen = orphans + counts[0], unasked + counts[1], seen + counts[2]
    for suffix in ("", "-wal", "-shm", "-lock"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(file + suffix)
print(json.dumps(dict(kills=kills, orphans=orphans, unasked=unasked, behind=behind,
                      questions=seen, changes=changes), separators=(",", ":")))
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_writers_that_are_killed_leave_questions_and_answers_together(tmp_path: Path) -> None:
    found = supervise(PROGRAM, tmp_path / "db", 9, KILLS, seconds=0.5 * KILLS)
    tell("SIGKILLs across 3 writers of questions", **found)
    assert (found["orphans"], found["unasked"], found["behind"]) == (0, 0, 0)
    assert found["questions"] > KILLS
    assert found["changes"] > 3 * KILLS
