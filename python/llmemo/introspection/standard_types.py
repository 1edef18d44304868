"""Dates, numbers and ids of the standard library, taken apart into plain values and made again."""

from __future__ import annotations

import os
import re
import sys
import zoneinfo
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID, SafeUUID
from zoneinfo import ZoneInfo

from pydantic_core import TzInfo

from llmemo._core import ValueUnknown

if TYPE_CHECKING:
    from collections.abc import Callable

    Parts = tuple[Any, ...]


def plain_state(it: object) -> tuple[int, Parts] | None:
    """A date or the like as its number and its state; None of anything else."""
    plain = STANDARD.get(type(it))
    return None if plain is None else (plain[0], plain[1](it))


# Every argument is named: given bytes alone, a date takes them for its pickled form.


def _from_delta(it: timedelta) -> Parts:
    return it.days, it.seconds, it.microseconds


def _to_delta(days: int, seconds: int, microseconds: int) -> timedelta:
    return timedelta(days, seconds, microseconds)


def _from_date(it: date) -> Parts:
    return it.year, it.month, it.day


def _to_date(year: int, month: int, day: int) -> date:
    return date(year, month, day)


def _from_time(it: time | datetime) -> Parts:
    return it.hour, it.minute, it.second, it.microsecond, it.tzinfo, it.fold


def _to_time(  # noqa: PLR0917 (all of them)
    hour: int, minute: int, second: int, microsecond: int, zone: Any, fold: int
) -> time:
    return time(hour, minute, second, microsecond, zone, fold=fold)


def _from_datetime(it: datetime) -> Parts:
    return *_from_date(it), *_from_time(it)


def _to_datetime(  # noqa: PLR0917 (all of them)
    year: int,
    month: int,
    day: int,
    hour: int,
    minute: int,
    second: int,
    microsecond: int,
    zone: Any,
    fold: int,
) -> datetime:
    return datetime(year, month, day, hour, minute, second, microsecond, zone, fold=fold)


def _from_zone(it: timezone) -> Parts:
    offset, *name = it.__getinitargs__()  # type: ignore[attr-defined]
    return offset, *name


def _to_zone(offset: timedelta, *name: str) -> timezone:
    return timezone(offset, *name)


def _from_region(it: ZoneInfo) -> Parts:
    # One that was read from a file of its own cannot be named, and says so by an exception.
    it.__reduce__()
    return (it.key,)


def _to_region(key: str) -> ZoneInfo:
    # The name of a file, below a directory that is known.
    if re.fullmatch(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*", key) is None:
        raise ValueError(key)
    # Without such a file Python would look for a package that has it, by importing it.
    paths = [os.path.join(path, key) for path in zoneinfo.TZPATH]  # noqa: PTH118
    if paths and "tzdata" not in sys.modules and not any(map(os.path.isfile, paths)):
        raise ValueUnknown("unknown_zone")
    return ZoneInfo(key)


def _from_offset(it: TzInfo) -> Parts:
    offset = it.utcoffset(None)
    return (offset.days * 86_400 + offset.seconds if offset is not None else None,)


def _from_decimal(it: Decimal) -> Parts:
    return (str(it),)


def _to_decimal(text: str) -> Decimal:
    return Decimal(text)


def _from_uuid(it: UUID) -> Parts:
    return it.bytes, it.is_safe.name


def _to_uuid(content: bytes, safe: str) -> UUID:
    return UUID(bytes=content, is_safe=SafeUUID[safe])


STANDARD: dict[type, tuple[int, Callable[[Any], Parts], Callable[..., Any]]] = {
    date: (0, _from_date, _to_date),
    time: (1, _from_time, _to_time),
    datetime: (2, _from_datetime, _to_datetime),
    timedelta: (3, _from_delta, _to_delta),
    timezone: (4, _from_zone, _to_zone),
    ZoneInfo: (5, _from_region, _to_region),
    TzInfo: (6, _from_offset, TzInfo),
    Decimal: (7, _from_decimal, _to_decimal),
    UUID: (8, _from_uuid, _to_uuid),
}
"""By type: its number, which never changes, and how it is taken apart and put together."""

MAKE = [make for _, _, make in sorted(STANDARD.values(), key=lambda row: row[0])]
