"""Requests for `make_keys.py` in which more counts than the texts: objects, and what was seen."""

from __future__ import annotations

import json
import re
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from pathlib import PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any
from uuid import UUID

from langchain_core.load import dumpd, dumps
from langchain_core.messages import HumanMessage
from texts import ONE, PLAIN, PROMPTS, head, message

if TYPE_CHECKING:
    from collections.abc import Iterator

    Request = tuple[str, str, dict[str, Any]]

_KNOWN = """\
builtins.bytes b'x ... at 0x7f' ~ builtins.bytes b"it's" ~ builtins.bytes b'' ~ builtins.bytes 'x'
~ builtins.bytes b'x'b'y' ~ builtins.bytearray bytearray(b'\\x00') ~ builtins.bytearray b'x'
~ builtins.set {1, 2} ~ builtins.set {2, 1} ~ builtins.set set() ~ builtins.set {'a', (1, b'x')}
~ builtins.set {(1, b'x'), 'a'} ~ builtins.set {datetime.date(1, 2, 3), 1j} ~ builtins.set {T(1)}
~ builtins.set {1j, datetime.date(1, 2, 3)} ~ builtins.set {<T at 0x7f>} ~ builtins.set {T(...)}
~ builtins.set {<class 'm.A'>} ~ builtins.set set[int] ~ builtins.set {SecretStr('**')}
~ builtins.frozenset frozenset({1, 2}) ~ builtins.frozenset frozenset({2, 1})
~ builtins.frozenset frozenset() ~ builtins.complex (1+2j) ~ builtins.complex (-0-1.5e-07j)
~ builtins.complex nanj ~ builtins.complex (nan+infj) ~ builtins.complex 1 ~ builtins.complex (1j)
~ builtins.range range(0, 3) ~ builtins.range range(0, 3, -1) ~ builtins.range range(0,3)
~ builtins.ellipsis Ellipsis ~ datetime.date datetime.date(2026, 11, 29) ~ datetime.date 2026-11-29
~ datetime.time datetime.time(1, 2, fold=1) ~ datetime.timedelta datetime.timedelta(days=-1)
~ datetime.datetime datetime.datetime(2026, 1, 2, 0, 0, tzinfo=datetime.timezone.utc)
~ datetime.datetime datetime.datetime(2026, 1, 2, 0, 0, fold=1, tzinfo=datetime.timezone.utc)
~ datetime.datetime datetime.datetime(2026, 1, 2, 0, 0, tzinfo=zoneinfo.ZoneInfo(key='Asia/Tokyo'))
~ datetime.datetime datetime.datetime(2026, 1, 2, 0, 0, tzinfo=tzlocal())
~ datetime.datetime datetime.datetime(2026, 1, 2, 0, 0, tzinfo=<UTC>)
~ datetime.timezone datetime.timezone(datetime.timedelta(seconds=3600), 'CET')
~ datetime.timezone datetime.timezone.utc ~ decimal.Decimal Decimal('1.0') ~ decimal.Decimal 1.0
~ decimal.Decimal Decimal('1.00') ~ decimal.Decimal <class 'decimal.Decimal'>
~ decimal.Decimal Decimal(Decimal(Decimal('1')))
~ decimal.Decimal Decimal(Decimal(Decimal(UUID(1))))
~ fractions.Fraction Fraction(-1, 2) ~ uuid.UUID UUID('0f8fad5b-d9cb-469f-a165-70867728950e')
~ pathlib.PosixPath PosixPath('a') ~ pathlib._local.PosixPath PosixPath('a')
~ my.PosixPath PosixPath('a')
~ pathlib.PurePosixPath PurePosixPath("it's") ~ pathlib.PureWindowsPath PureWindowsPath('c:/a')
~ pathlib.WindowsPath WindowsPath('\\\\') ~ zoneinfo.ZoneInfo zoneinfo.ZoneInfo(key='Asia/Tokyo')
~ numpy.ndarray array([0, 1, ..., 9]) ~ numpy.ndarray array([1, 2]) ~ polars.DataFrame │ … │
~ m.T T(1) ~ m.T <T at 0x7f> ~ m.T T(... <f at 0x7f>) ~ m.Color <Color.RED: 1> ~ m.T None
~ pydantic.types.SecretStr SecretStr('**********') ~ pydantic.types.SecretBytes SecretBytes(b'')"""
VALUES: tuple[Any, ...] = (
    *(b"x", bytearray(b"\xff"), {1, "a", (2, b"y")}, frozenset({"x", frozenset()}), set()),
    *(1 + 2j, -0j, complex("nan"), range(9), ..., UUID(int=7), Fraction(1, 3), Decimal("sNaN1")),
    *(datetime(2026, 1, 2, fold=1, tzinfo=zone) for zone in (None, timezone.utc)),
    datetime(2026, 1, 2, tzinfo=timezone(timedelta(hours=-3), "it's")),
    *(date(1, 2, 3), time(1), timedelta(3, 4, 5), timedelta(0), timezone.utc, Decimal("-0")),
    *(PurePosixPath("/é/\ud800"), PureWindowsPath("c:/x"), datetime, len),
)


def shown() -> Iterator[str]:
    """Objects in JSON, by their type and `repr`; and what is nearly one."""
    for text in re.split(r"\s~\s", _KNOWN):
        name, printed = text.strip().split(" ", 1)
        yield json.dumps(marked(name.split("."), printed))
    whole = json.dumps(marked(["builtins", "bytes"], "b'x'"))
    for part, other in (
        (', "repr": "b\'x\'"', ""),
        ("\"b'x'\"", "null"),
        ("\"b'x'\"", "[\"b'x'\"]"),
        ("\"b'x'\"", '"b\'y\'", "repr": "b\'x\'"'),
        ('["builtins", "bytes"]', '"bytes"'),
        ('["builtins", "bytes"]', f'["builtins", "bytes"], "more": {whole}'),
        ('"id": ["builtins", "bytes"], ', ""),
        ('"lc": 1', '"lc": 2'),
        ('"lc": 1', '"more": 1, "lc": 1'),
        ("not_implemented", "constructor"),
    ):
        yield whole.replace(part, other)


def marked(path: list[str], text: str | None) -> dict[str, Any]:
    """What LangChain writes of an object that it cannot serialise."""
    return {"lc": 1, "type": "not_implemented", "id": path, "repr": text}


def written(value: Any) -> str:
    """What LangChain writes of a value, sets in an order that does not depend on the process."""
    made: dict[str, Any] = dumpd(value)
    if isinstance(value, (set, frozenset)) and value:
        members = ", ".join(sorted(map(repr, value)))
        made["repr"] = (
            f"frozenset({{{members}}})" if isinstance(value, frozenset) else f"{{{members}}}"
        )
    return json.dumps(made)


def objects() -> Iterator[Request]:
    """Objects that LangChain could not serialise, in prompts and in settings."""
    values = [*shown(), *map(written, VALUES)]
    for value in values:
        block = f'"content": [{{"type": "x", "v": {value}}}]'
        yield message(block), PLAIN, {}
        yield message(block), PLAIN, {"objects": True, "supplement": b"x"}
        yield "Hi", head(value), {}
    for value in values[:: len(values) // 12]:
        for kwargs in (f'"content": {value}', f'"content": [{value}, "x"]'):
            yield message(kwargs), PLAIN, {}
            yield message(kwargs), PLAIN, {"objects": True}
            yield message(kwargs, "MyMessage"), PLAIN, {}
            yield message(kwargs, "MyMessage"), PLAIN, {"objects": True}


def seen() -> Iterator[Request]:
    """What the model object says, and prompts that are text whatever they look like."""
    for text in (PLAIN, "model-1", ONE):
        for supplement in (b"", b"\0", b"a", b"ab", b"x" * 1000):
            yield "Hi", text, {"supplement": supplement}
            yield dumps([HumanMessage("Hi")]), text, {"supplement": supplement}
    for text in (*PROMPTS, "Hi"):
        yield text, PLAIN, {"is_text": True}
