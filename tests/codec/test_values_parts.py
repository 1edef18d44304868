"""Dates and the like, and instances of other classes, as any hand may have written them."""

from __future__ import annotations

import datetime
import decimal
import itertools
import uuid
import zoneinfo
from typing import Any

import pytest
from pydantic_core import TzInfo
from support import instances
from support import payloads as p
from support.exact import difference

from llmemo._core import ValueDamaged, ValueUnknown
from llmemo.codec.classes import record_of


def test_dates_and_the_like_are_made_of_their_parts() -> None:
    utc = p.plain(4, p.plain(3, 0, 0, 0))
    kathmandu = datetime.timezone(datetime.timedelta(hours=5, minutes=45), "NPT")
    written = [
        (p.plain(0, 2026, 2, 28), datetime.date(2026, 2, 28)),
        (p.plain(1, 23, 59, 58, 999_999, None, 1), datetime.time(23, 59, 58, 999_999, fold=1)),
        (
            p.plain(2, 2026, 2, 28, 23, 59, 58, 7, utc, 0),
            datetime.datetime(2026, 2, 28, 23, 59, 58, 7, datetime.timezone.utc),
        ),
        (p.plain(3, -1, 86_399, 7), datetime.timedelta(-1, 86_399, 7)),
        (utc, datetime.timezone.utc),
        (p.plain(4, p.plain(3, 0, 20_700, 0), "NPT"), kathmandu),
        (p.plain(5, "Asia/Kathmandu"), zoneinfo.ZoneInfo("Asia/Kathmandu")),
        (p.plain(6, -3600), TzInfo(-3600)),
        (p.plain(7, "-0E+3"), decimal.Decimal("-0E+3")),
        (p.plain(8, p.sized(p.BYTES, bytes(15) + b"\1"), "unknown"), uuid.UUID(int=1)),
    ]
    for payload, value in written:
        assert difference(p.read(p.answer(p.generation(payload)))[0].generation_info, value) is None
    for kind in (9, 255):
        with pytest.raises(ValueUnknown, match=r"^unknown_type$"):
            p.read(p.answer(p.generation(p.plain(kind))))


def test_dates_are_not_made_of_their_pickled_form() -> None:
    moment = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc).replace(tzinfo=None)
    pickled: Any = moment.__reduce__()[1]
    insane = b"\x07\xea\x01\xff\xff\xff\xff\xff\xff\xff"
    for content in (pickled[0], insane, insane[:4], insane[:6]):
        for kind, rest in itertools.product(range(3), ((), (None,), (None, 0))):
            parts = p.sized(p.BYTES, content), *rest
            with pytest.raises(ValueDamaged, match=r"^malformed$"):
                p.read(p.answer(p.generation(p.plain(kind, *parts))))


def test_a_zone_is_looked_for_where_zones_are() -> None:
    strange = ["../UTC", "/etc/localtime", "UTC\0", "", ".", "a//b", "UTC/", "\ud800", "UTC\n"]
    for key in strange:
        with pytest.raises(ValueDamaged, match=r"^malformed$"):
            p.read(p.answer(p.generation(p.plain(5, key))))
    for key in ("No/Where", "America"):
        with pytest.raises(ValueUnknown, match=r"^unknown_zone$"):
            p.read(p.answer(p.generation(p.plain(5, key))))


def test_instances_are_of_a_class_that_was_named() -> None:
    point, colour = record_of(instances.Point), record_of(instances.Colour)
    assert point is not None
    assert colour is not None
    written = p.counted(p.LIST, 4)
    written += p.instance(*point[:2], [{"x": 1, "y": []}, {}]) + p.instance(*colour[:2], "BLUE")
    written += p.another(1, "RED") + p.another(0, [{"x": 2}, {}])
    read = p.read(p.answer(p.generation(written)))[0].generation_info
    last = instances.Point()
    last.__dict__ = {"x": 2}
    expected = [instances.Point(1), instances.Colour.BLUE, instances.Colour.RED, last]
    assert difference(read, expected) is None
    for kind in (0, 2, 3, 255):
        with pytest.raises(ValueUnknown, match=r"^changed_class$"):
            p.read(p.answer(p.generation(p.instance(kind, point[1], [{}, {}]))))
    for bad in (p.another(0, "RED"), p.counted(p.LIST, 1) + p.another(1, "RED")):
        with pytest.raises(ValueDamaged, match=r"^malformed$"):
            p.read(p.answer(p.generation(bad)))


def test_generations_may_be_of_other_classes_and_nothing_else_may() -> None:
    scored, point = record_of(instances.Scored), record_of(instances.Point)
    assert scored is not None
    assert point is not None
    state = [{"text": "x", "score": 1}, {0: p.counted(p.SET, 0), 1: None, 2: None}]
    read = p.read(p.answer(p.instance(*scored[:2], state), p.another(0, state)))
    assert [(type(it), it.score) for it in read] == [(instances.Scored, 1)] * 2
    with pytest.raises(ValueDamaged, match=r"^malformed$"):
        p.read(p.answer(p.instance(*point[:2], [{}, {}])))
