"""Settings that a cache ignores: keys are equal exactly if all the rest is."""

from __future__ import annotations

import functools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import oracle
from support.strategies import examples

from llmemo._core import Memory
from llmemo.keys.model_class import Place
from llmemo.keys.request import Request
from llmemo.keys.values import plain_describer

SECRET = bytes(range(7, 199))
PASSED_ON = ("model_kwargs", "extra_body")

names = st.sampled_from(["user", "metadata", "h_headers", "X-Id", "x-id", "a.b", "model_kwargs"])
leaves = st.sampled_from([None, True, 0, 1, "a", "b", [], [{"user": 1}]])
values = st.recursive(
    leaves,
    lambda inner: (
        st.dictionaries(names, inner, max_size=3)
        | st.lists(st.tuples(names, inner).map(list), min_size=1, max_size=2)
    ),
    max_leaves=6,
)
settings = st.dictionaries(names | st.just("extra_body"), values, max_size=4)
paths = st.lists(names | st.just("a"), min_size=1, max_size=3).map(".".join)


def left(tree: dict[str, Any], ignored: tuple[str, ...]) -> dict[str, Any]:
    """The rest of some settings, by the rules of docs/keys.md: without what is ignored."""
    found = {}
    for name, value in tree.items():
        kept = _left(name, value, [(path, False) for path in ignored], ignored, 0)
        if kept is not ...:
            found[name] = kept
    return found


def _left(
    name: str, value: Any, rests: list[tuple[str, bool]], ignored: tuple[str, ...], passed_on: int
) -> Any:
    inside = []
    for rest, has_no_case in rests:
        begin, end = rest[: len(name)], rest[len(name) :]
        if begin == name or (has_no_case and begin.lower() == name.lower()):
            if not end:
                return ...
            if end[0] == ".":
                inside.append((end[1:], name.lower().endswith("headers")))
    if name in PASSED_ON and passed_on < 2:
        inside += [(path, False) for path in ignored]
        passed_on += 1
    else:
        passed_on = 2
    if inside and isinstance(value, list) and value and all(_is_pair(it) for it in value):
        pairs = [(pair, _left(pair[0], pair[1], inside, ignored, passed_on)) for pair in value]
        return [type(pair)((pair[0], it)) for pair, it in pairs if it is not ...] or ...
    if not inside or not isinstance(value, dict):
        return value
    kept = {key: _left(key, it, inside, ignored, passed_on) for key, it in value.items()}
    return {key: it for key, it in kept.items() if it is not ...} or ...


def _is_pair(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) == 2 and isinstance(value[0], str)


def head(given: dict[str, Any]) -> str:
    whole = {"id": ["a", "B"], "kwargs": given, "lc": 1, "type": "constructor"}
    return json.dumps(whole) + "---[('stop', None)]"


def tail(given: dict[str, Any]) -> str:
    return str(sorted({**given, "stop": None}.items(), key=lambda pair: pair[0]))


@functools.cache
def memory(ignored: tuple[str, ...]) -> Memory:
    return Memory(2**16, fingerprint_secret=SECRET, ignore=ignored)


def requests(given: dict[str, Any]) -> list[Request]:
    """Requests with these settings, one for each place where settings may stand."""
    beside = [plain_describer.options(place, given) for place in (Place.FIELD, Place.OPTION)]
    return [
        Request("p", head(given)),
        Request("p", tail(given)),
        *(Request("p", "[('stop', None)]", supplement) for supplement in beside),
    ]


def keys(given: dict[str, Any], ignored: tuple[str, ...]) -> list[bytes]:
    return [memory(ignored).key(request, "") for request in requests(given)]


def told(ignored: tuple[str, ...]) -> bytes:
    """The entry that says what is ignored, by docs/keys.md."""
    texts = b"".join(bytes([7, len(name)]) + name.encode() for name in ignored)
    return bytes([10, 7, 16]) + b"ignored settings" + bytes([12]) + texts + b"\0"


@pytest.mark.slow
@examples(150)
@given(one=settings, other=settings, path=paths, second=paths)
def test_keys_are_equal_exactly_if_all_the_rest_is(
    one: dict[str, Any], other: dict[str, Any], path: str, second: str
) -> None:
    ignored = tuple(sorted({path, second}))
    is_same = repr(left(one, ignored)) == repr(left(other, ignored))
    for mine, others in zip(keys(one, ignored), keys(other, ignored), strict=True):
        assert (mine == others) is is_same


@pytest.mark.slow
@examples(100)
@given(given_=settings, path=paths, second=paths)
def test_keys_are_those_of_the_rest_and_of_what_is_ignored(
    given_: dict[str, Any], path: str, second: str
) -> None:
    ignored = tuple(sorted({path, second}))
    for found, rest in zip(keys(given_, ignored), requests(left(given_, ignored)), strict=True):
        beside = (rest.supplement or b"") + told(ignored)
        assert found == oracle.key("p", rest.llm_string, "", supplement=beside)


@examples(50)
@given(given_=settings)
def test_what_a_cache_ignores_is_part_of_its_keys(given_: dict[str, Any]) -> None:
    plain, one, other = (keys(given_, names) for names in ((), ("zz",), ("zz", "zzz")))
    for different in zip(plain, one, other, strict=True):
        assert len(set(different)) == 3


@pytest.mark.parametrize("place", [Place.CLASS, Place.OBJECT, Place.NODE, Place.EMBEDDING])
def test_what_is_no_setting_counts(place: Place) -> None:
    ignoring = memory(("user",))
    one, other = (
        ignoring.key(Request("p", "m", plain_describer.options(place, {"user": value})), "")
        for value in (1, 2)
    )
    assert one != other


def test_labels_outlines_and_partitions_leave_it_out_too() -> None:
    ignoring = memory(("user",))
    one, other, third = (tail({"user": user, "seed": seed}) for user, seed in ("a1", "b1", "a2"))
    assert ignoring.llm_label(one) == ignoring.llm_label(other) != ignoring.llm_label(third)
    for name in (
        lambda request: ignoring.partition(request, ""),
        lambda request: ignoring.outline(request, "", tail=8),
        lambda request: ignoring.describe(request, "", tail=8),
    ):
        named = [name(Request("What?", text)) for text in (one, other, third)]
        assert named[0] == named[1] != named[2]
