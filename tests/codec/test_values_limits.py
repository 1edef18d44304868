"""What a payload may cost: memory in proportion to its length, and time too."""

from __future__ import annotations

import time
import tracemalloc
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from langchain_core.outputs import Generation
from support import instances
from support import payloads as p
from support.exact import difference

from llmemo._core import ValueDamaged, ValueRefused, decode, encode
from llmemo.codec.classes import record_of

if TYPE_CHECKING:
    from collections.abc import Callable

KEY = bytes(range(32))
SIZE = 64 * 1024
PRIME = 2**61 - 1
"""The period of the hashes of numbers."""
EMPTY_SET = p.counted(p.SET, 0)


def holding(it: Any) -> list[Generation]:
    return [Generation.model_construct(text="x", generation_info=it)]


# Memory.


def named(kind: type, state: object) -> tuple[bytes, Callable[[int], bytes]]:
    """The first instance of a class, and how further ones are written."""
    record = record_of(kind)
    assert record is not None
    return p.instance(*record[:2], state), lambda number: p.another(0, state)


def each_the_same(it: bytes) -> tuple[bytes, Callable[[int], bytes]]:
    return it, lambda number: it


EMPTY_MODEL = [{}, {0: EMPTY_SET, 1: None, 2: None}]
SMALLEST: dict[str, tuple[bytes, Callable[[int], bytes]]] = {
    **{
        kind.__name__: each_the_same(
            p.thing(kind, [(n, "") for n, f in kind.model_fields.items() if f.is_required()])
        )
        for kind in p.CLASSES.values()
    },
    **{
        name: each_the_same(p.token(it))
        for name, it in {"list": [], "dict": {}, "entry": {None: None}, "tuple": (None,)}.items()
    },
    "set": each_the_same(EMPTY_SET),
    "set of one": each_the_same(p.counted(p.SET, 1) + p.NONE),
    "frozenset": each_the_same(p.counted(p.FROZENSET, 1) + p.NONE),
    "none": each_the_same(p.NONE),
    "text": (p.token("x" * 30), lambda number: p.token(f"{number:025}🦀")),
    "accessor": each_the_same(bytes([p.TEXT]) + p.token("x")),
    "half a pair": (b"", lambda number: p.token(f"\udfff{number}")),
    "big integer": each_the_same(p.token(2**70)),
    "date": each_the_same(p.plain(0, 1, 1, 1)),
    "datetime": each_the_same(p.plain(2, 1, 1, 1, 0, 0, 0, 0, None, 0)),
    "delta": each_the_same(p.plain(3, 0, 0, 1)),
    "offset": each_the_same(p.plain(6, 1)),
    "zone": each_the_same(p.plain(5, "Cuba")),
    "decimal": each_the_same(p.plain(7, "1")),
    "uuid": each_the_same(p.plain(8, p.sized(p.BYTES, bytes(16)), "safe")),
    "model": named(instances.Tree, EMPTY_MODEL),
    "message": named(instances.Reply, EMPTY_MODEL),
    "dataclass": named(instances.Point, [{}, {}]),
    "many slots": named(instances.Wide, [None, {}]),
    "member": named(instances.Colour, "RED"),
    "flags": (named(instances.Bits, 1)[0], lambda number: p.another(0, number)),
}


# What is in it costs the same in a tuple: there it is tried with a few.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("first", "further", "tag"),
    [
        *[(*each, p.LIST) for each in SMALLEST.values()],
        *[(*SMALLEST[name], p.TUPLE) for name in ("AIMessage", "tuple", "none", "model")],
    ],
    ids=[*SMALLEST, *[f"{name} in a tuple" for name in ("AIMessage", "tuple", "none", "model")]],
)
def test_64_kib_of_the_smallest_things_take_less_than_16_mib(
    first: bytes, further: Callable[[int], bytes], tag: int
) -> None:
    items, size, number = [first or p.NONE], len(first), 0
    while size < SIZE - 200:
        number += 1
        items.append(further(number))
        size += len(items[-1])
    payload = p.answer(p.generation(p.counted(tag, len(items)) + b"".join(items)))
    value = p.sealed(payload)
    assert SIZE - 1000 < len(value) <= SIZE
    tracemalloc.start()
    try:
        decode(value, p.KEY)
        read = True
    except ValueDamaged:
        read = False
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 16 * 2**20
    assert read or first[:1] == bytes([p.CLASS])


# Time.


def same_hash(number: int) -> int:
    return number * PRIME


COLLIDING: dict[str, Callable[[int], object]] = {
    "ints": same_hash,
    "tuples": lambda number: (same_hash(number),),
    "decimals": lambda number: Decimal(same_hash(number)),
    "uuids": lambda number: UUID(int=same_hash(number)),
    "frozensets": lambda number: frozenset([same_hash(number)]),
    "instances": lambda number: instances.Frozen((same_hash(number),)),
}


@pytest.mark.slow
@pytest.mark.parametrize("make", COLLIDING.values(), ids=COLLIDING)
def test_keys_of_equal_hashes_are_refused_beyond_64(make: Callable[[int], object]) -> None:
    keys = [make(number) for number in range(64)]
    for few in (dict.fromkeys(keys), set(keys), frozenset(keys)):
        encode(holding(few), KEY)
    keys = [make(number) for number in range(1100)]
    for many in (dict.fromkeys(keys), set(keys), frozenset(keys)):
        with pytest.raises(ValueRefused, match=r"^equal_hashes$"):
            encode(holding(many), KEY)


def test_tables_of_equal_hashes_are_not_read() -> None:
    keys = [p.token(same_hash(number)) for number in range(20_000)]
    many = [
        p.counted(p.DICT, len(keys)) + b"".join(key + p.NONE for key in keys),
        p.counted(p.SET, len(keys)) + b"".join(keys),
        p.counted(p.FROZENSET, len(keys)) + b"".join(keys),
    ]
    payloads = [p.answer(p.generation(it)) for it in many]
    fields = [("text", "x")]
    others = p.counted(p.LIST, len(keys)) + b"".join(keys)
    payloads.append(p.answer(p.thing(Generation, fields, others=others)))
    for payload in payloads:
        began = time.process_time()
        with pytest.raises(ValueDamaged, match=r"^malformed$"):
            p.read(payload)
        assert time.process_time() - began < 1


def test_large_tables_of_usual_keys_come_back() -> None:
    numbers: list[Any] = [*range(-5_000, 5_000), *(n / 8 for n in range(1, 5_000, 2))]
    texts = [f"key {n}" for n in range(10_000)]
    mixed = [(n, str(n)) for n in range(5_000)]
    for keys in (numbers, texts, mixed):
        for table in (dict.fromkeys(keys, 1), set(keys), frozenset(keys)):
            value = encode(holding(table), KEY)
            it = decode(value, KEY)[0].generation_info
            assert type(it) is type(table)
            assert it == table
            if isinstance(table, dict):
                assert difference(it, table) is None


def test_a_set_whose_items_are_equal_is_not_read() -> None:
    for tag in (p.SET, p.FROZENSET):
        for items in ([1, 1], [1, True], [0.0, -0.0], ["x", "x"]):
            payload = p.counted(tag, 2) + b"".join(map(p.token, items))
            with pytest.raises(ValueDamaged):
                p.read(p.answer(p.generation(payload)))


def test_a_value_names_at_most_256_classes() -> None:
    kinds = [type(f"C{n}", (instances.Point,), {"__module__": "m"}) for n in range(257)]
    answer = holding([kind() for kind in kinds[:256]])
    assert difference(decode(encode(answer, KEY), KEY), answer) is None
    with pytest.raises(ValueRefused, match=r"^too_many_classes$"):
        encode(holding([kind() for kind in kinds]), KEY)


@pytest.mark.slow
def test_flags_that_were_stored_do_not_fill_their_class() -> None:
    name = record_of(instances.Bits)
    assert name is not None
    for number in range(1, 9_000):
        payload = p.answer(p.generation(p.instance(*name[:2], number)))
        try:
            (it,) = p.read(payload)
            assert it.generation_info.value == number
        except ValueDamaged:
            break
    assert 4000 < number < 4200
