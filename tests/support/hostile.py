"""Payloads that somebody wrote who means harm, and a program that has the library read them.

    python hostile.py SEED COUNT

prints, as JSON, what came of it: see `main`. It runs in a process of its own, so that a crash is an
exit code, a hang is a traceback, and memory can be limited.
"""

from __future__ import annotations

import contextlib
import copy
import faulthandler
import json
import os
import pickle
import random
import struct
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from langchain_core.load import dumps
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, Generation

from llmemo._core import ValueDamaged, decode
from support import payloads as p
from support.hostile_objects import NAMED, Lazy, instance, moment, noting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ALLOWANCE = 256 * 2**20
"""Bytes that the address space may grow by while payloads are read."""
DEEP = 100_000
HUGE = [2**20, 2**30, 2**31 - 1, 2**31, 2**32 - 1]
TAGS = [*range(22), 0x7F, 0x80, 0x81, 0xFE, 0xFF]
CONTAINERS = [p.BIG_INT, p.STR, p.STR_SURROGATES, p.BYTES, p.LIST, p.TUPLE, p.DICT, p.OBJECT]
CONTAINERS += [p.SET, p.FROZENSET]
LURES = [
    '{"lc": 1, "type": "constructor", "id": ["langchain_core", "prompts"], "kwargs": {}}',
    '{"lc": 1, "type": "secret", "id": ["HOME"]}',
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "__reduce__",
    "__import__('os').system('false')",
    pickle.dumps(print).decode("latin-1"),
]


def message(rng: random.Random) -> bytes:
    """An AIMessage whose fields hold what they should not."""
    fields = [(name, soup(rng, 3)) for name in AIMessage.model_fields]
    return p.thing(AIMessage, fields, mask=rng.getrandbits(9), extra=soup(rng, 3))


def soup(rng: random.Random, levels: int = 6) -> bytes:
    """Tokens that mostly follow the grammar, and mostly make no sense."""
    kind = rng.randrange(12)
    if levels == 0 or kind < 4:
        dubious = [
            bytes([rng.choice(TAGS)]),
            p.sized(rng.choice(CONTAINERS[:4]), rng.randbytes(rng.randrange(20))),
            bytes([p.INT]) + rng.randbytes(rng.randrange(12)),
        ]
        plain = [None, True, 0, -1, 2**63, 2**200, 0.5, float("nan"), "", "x", *LURES]
        return rng.choice(dubious) if rng.randrange(80) == 0 else p.token(rng.choice(plain))
    if kind < 9:
        count = rng.randrange(4)
        inner = [soup(rng, levels - 1) for _ in range(2 * count)]
        tag = rng.choice([*[p.LIST, p.TUPLE, p.DICT, p.TEXT] * 3, p.SET, p.FROZENSET])
        if tag == p.TEXT:
            return bytes([tag]) + (p.token("text") if rng.randrange(20) else soup(rng, 0))
        items = inner if tag == p.DICT else inner[:count]
        return p.counted(tag, count) + b"".join(items)
    if kind == 9 and rng.randrange(4) == 0:
        return moment(rng) if rng.randrange(2) else instance(rng, lambda: soup(rng, levels - 1))
    number = rng.choice(list(p.CLASSES))
    names = [name for name, info in p.CLASSES[number].model_fields.items() if info.is_required()]
    names += rng.sample(list(p.CLASSES[number].model_fields), rng.randrange(3))
    if rng.randrange(40) == 0:
        names += ["x", *LURES]
    fields = [(name, soup(rng, levels - 1)) for name in names]
    mask = rng.choice([0, -1, 1, rng.getrandbits(62), -(2**63)])
    return p.thing(number, fields, mask=mask, extra=soup(rng, levels - 1))


def mutated(rng: random.Random) -> bytes:
    """A decent payload with some bytes changed, moved, doubled or gone."""
    fields = [(name, [{"a": (1, "x", 2.5)}, "text", 2**70]) for name in ToolMessage.model_fields]
    inner = p.thing(ToolMessage, fields, mask=7, extra={"e": [1]})
    chat = [("text", "x"), ("generation_info", {"a": 1}), ("type", "x"), ("message", inner)]
    payload = bytearray(p.answer(p.generation({"a": "b"}), p.thing(ChatGeneration, chat, mask=15)))
    for _ in range(rng.randrange(1, 4)):
        at, end = sorted(rng.randrange(len(payload) + 1) for _ in range(2))
        change = rng.choice([0, 0, 0, 1, 2, 3])
        if change == 0:
            payload[at : at + 1] = rng.randbytes(1)
        elif change == 1:
            payload[at:at] = bytes([rng.choice(TAGS)])
        elif change == 2:
            del payload[at : min(end, at + 6)]
        else:
            payload[at:at] = payload[at:end]
    return bytes(payload)


def lying(rng: random.Random) -> bytes:
    """A container or a string that claims more than there is."""
    claim = struct.pack("<BI", rng.choice(CONTAINERS), rng.choice([*HUGE, rng.getrandbits(32)]))
    rest = bytes([rng.choice(TAGS)]) * rng.choice([0, 1, 5, 1000])
    inside = rng.choice([b"", p.counted(p.LIST, 1), p.answer(p.generation())[:-9]])
    return inside + claim + rest if rng.randrange(2) else p.answer(p.generation(claim + rest))


def deep() -> Iterator[bytes]:
    """Far more levels than anybody needs, of one kind or mixed; complete ones and torn ones."""
    steps = [
        p.counted(p.LIST, 1),
        p.counted(p.TUPLE, 1),
        p.counted(p.DICT, 1) + p.NONE,
        p.counted(p.DICT, 1),  # down through the keys
        bytes([p.TEXT]),
        p.counted(p.OBJECT, 1) + b"\x10" + p.token("content"),
        p.counted(p.OBJECT, 1) + b"\x10",  # down through the names
        p.counted(p.OBJECT, 0) + b"\x1c" + p.integer(0),  # down through what is extra
        p.counted(p.OBJECT, 2) + b"\0" + p.token("text") + p.NONE + p.token("generation_info"),
        p.counted(p.FROZENSET, 1),
        bytes([p.PLAIN, 0]) + p.counted(p.TUPLE, 1),
        p.instance(*NAMED[0], b"") + p.counted(p.LIST, 1),
        bytes([p.CLASS, 0]),  # down through the names
        bytes([p.INSTANCE, 0]),
    ]
    for step in [*steps, steps[0] + steps[2] + steps[5], steps[4] + steps[0]]:
        for levels in (150, 199, 200, 201, DEEP):
            for rest in (b"", b"\0" * 2 * levels):
                yield p.answer(p.generation(step * levels + p.NONE + rest))


def wide(rng: random.Random) -> bytes:
    """As many objects as 100 KB can name, each as small as it can be."""
    small = rng.choice(
        [
            p.thing(Generation, [("text", "")]),
            p.thing(AIMessage, [("content", "")]),
            p.counted(p.DICT, 0),
            p.counted(p.SET, 0),
            p.plain(2, 1, 1, 1, 0, 0, 0, 0, None, 0),
            p.token(2**61 * rng.getrandbits(9)),
            p.NONE,
        ]
    )
    count = 100_000 // len(small)
    tag = rng.choice([p.LIST, p.TUPLE, p.SET])
    return p.answer(p.generation(p.counted(tag, count) + small * count))


def random_bytes(rng: random.Random) -> bytes:
    return rng.randbytes(rng.randrange(200))


def lists_of_soup(rng: random.Random) -> bytes:
    return p.answer(*(p.generation(soup(rng), soup(rng, 2)) for _ in range(rng.randrange(1, 4))))


def instances_and_dates(rng: random.Random) -> bytes:
    made = instance(rng, lambda: soup(rng, 3))
    return p.answer(p.generation([made, moment(rng)]), p.generation(moment(rng)))


def messages_of_soup(rng: random.Random) -> bytes:
    return p.answer(p.generation([message(rng)]))


COMMON: list[Callable[[random.Random], bytes]] = [
    *(soup, mutated, mutated, mutated, lying, random_bytes, lists_of_soup, messages_of_soup),
    *(instances_and_dates, instances_and_dates),
]


def payloads(seed: int, count: int) -> Iterator[bytes]:
    """Every deep one, and so many others; one in fifty is large."""
    yield from deep()
    rng = random.Random(seed)
    for number in range(count):
        make = wide if number % 50 == 0 else rng.choice(COMMON)
        yield make(rng)


HARMLESS = ("builtins.id", "object.__getattr__")
"""What Python tells of comparing classes by identity, and of reading a function's bytecode."""


def main(seed: int, count: int) -> None:
    """Read them all, and use what was read."""
    import resource

    faulthandler.enable()
    faulthandler.dump_traceback_later(max(30.0, count / 50), exit=True)
    uses: list[Callable[[Any], object]] = [repr, copy.deepcopy, pickle.dumps, dumps, hash, str]
    events: list[str] = []
    sys.addaudithook(
        lambda event, _: events.append(event) if watching and event not in HARMLESS else None
    )
    sys.modules["lazy"] = Lazy("lazy")
    for method in ("__getitem__", "__contains__", "get"):
        watched = getattr(type(os.environ), method)
        setattr(type(os.environ), method, noting(watched, lambda: watching, events))
    report: dict[str, Any] = {"read": 0, "damaged": 0, "other": [], "slowest": 0.0, "grown": 0}
    watching = False
    decode(p.sealed(p.answer(p.generation())), p.KEY)
    modules = set(sys.modules)
    with open("/proc/self/statm", encoding="utf-8") as statm:  # noqa: PTH123
        size = int(statm.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + ALLOWANCE, -1))
    for number, payload in enumerate(payloads(seed, count)):
        value, result = p.sealed(payload), None
        highest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        began = time.perf_counter()
        watching = True
        try:
            result = decode(value, p.KEY)
        except ValueDamaged:
            report["damaged"] += 1
        except BaseException as error:  # noqa: BLE001 (that is what this looks for)
            report["other"].append((number, type(error).__name__))
        watching = False
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - highest
        report["grown"] = max(report["grown"], grown * 1024)
        report["slowest"] = max(report["slowest"], time.perf_counter() - began)
        if result is not None:
            report["read"] += 1
            assert type(result) is list
            for use in uses if len(payload) < 5_000 else ():
                with contextlib.suppress(Exception):
                    use(result)
    report["imported"] = sorted(set(sys.modules) - modules)
    report["events"] = sorted(set(events))
    print(json.dumps(report))  # noqa: T201


if __name__ == "__main__":
    # Some systems give threads no more than this.
    threading.stack_size(512 * 1024)
    reading = threading.Thread(target=main, args=[int(argument) for argument in sys.argv[1:]])
    reading.start()
    reading.join()
