"""Classes that answers may hold instances of, and strategies for these and for what is like a date.

A module of its own, so that a second process can load it, and finds the same classes.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import functools
import uuid
import zoneinfo
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Generic, Optional, TypeVar

from hypothesis import strategies as st
from langchain_core.documents import Document
from langchain_core.messages import AIMessage, AIMessageChunk, ToolMessage
from langchain_core.outputs import ChatGeneration, Generation
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    RootModel,
    field_validator,
    model_validator,
)
from pydantic.dataclasses import dataclass as validated_dataclass
from pydantic_core import TzInfo

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

# Enums.


class Colour(enum.Enum):
    RED = 1
    BLUE = "blue"
    CRIMSON = 1  # noqa: PIE796 (another name of RED)


class Number(enum.IntEnum):
    ONE = 1
    TEN = 10


class Name(str, enum.Enum):
    A = "a"
    B = "text"


class Planet(enum.Enum):
    EARTH = (5.97e24, 6.37e6)
    MARS = (6.42e23, 3.39e6)

    def __init__(self, mass: float, radius: float) -> None:
        self.density = mass / radius**3


class Access(enum.Flag):
    READ = 1
    WRITE = 2
    RUN = 4


class Mode(enum.IntFlag):
    A = 1
    B = 2


Bits = enum.Flag("Bits", [f"A_FLAG_OF_SOME_LENGTH_{n}" for n in range(60)], module=__name__)  # type: ignore[misc]

MEMBERS: list[Any] = [*Colour, *Number, *Name, *Planet, *Access, *Mode]
MEMBERS += [Access(0), Access(3), Access(7), Mode(3), Mode(0), Mode(8)]

# Models.


class Strict(BaseModel):
    """Whatever is constructed passes: a stored state is not constructed."""

    model_config = ConfigDict(validate_assignment=True, frozen=True, extra="forbid")

    positive: int = Field(default=1, gt=0)

    @model_validator(mode="after")
    def _check(self) -> Strict:
        assert self.positive != 13
        return self

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("nobody may ask")

    __hash__ = None  # type: ignore[assignment]


class Open(BaseModel):
    model_config = ConfigDict(extra="allow", arbitrary_types_allowed=True)

    value: Any = None
    aliased: Any = Field(default=None, alias="another name")

    _private: Any = PrivateAttr(default=1)
    _unset: int = PrivateAttr()

    @functools.cached_property
    def cached(self) -> list[int]:
        return [1]

    def __setattr__(self, name: str, value: object) -> None:
        raise RuntimeError("nobody may set")

    def __getattr__(self, name: str) -> Any:
        return f"made up: {name}"


class Tree(BaseModel):
    name: str
    children: list[Tree] = []
    parent: Optional[Open] = None  # noqa: UP045


class Box(BaseModel, Generic[T]):
    content: T


# At the top of a module, where it is made again when that is loaded again.
IntBox, ListBox = Box[int], Box[list[Any]]


class Numbers(RootModel[list[Any]]):
    pass


class Reply(AIMessage):
    """What a provider's package has: a message with fields and state of its own."""

    confidence: Any = None
    _seen: int = PrivateAttr(default=0)


class ReplyChunk(AIMessageChunk):
    provider_chunk: Any = None


class Result(ToolMessage):
    pass


class Scored(Generation):
    score: Any = None


class ScoredChat(ChatGeneration):
    score: Any = None


WORDS = frozenset(["one", "two", "three", "four"])


class Checked(BaseModel):
    """Has a validator, with constants and globals whose order is of the process."""

    word: str = "one"

    @field_validator("word")
    @classmethod
    def _check(cls, word: str) -> str:
        if word in {"five", "six", "seven"} or word not in WORDS:
            raise ValueError(word)
        return word


class Outer:
    class Inner(BaseModel):
        x: Any = None


def local_class() -> type[BaseModel]:
    """A new class each time, which no name leads to."""

    class Local(BaseModel):
        x: Any = None

    return Local


# Dataclasses.


@dataclasses.dataclass
class Point:
    x: Any = 0
    y: Any = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Point3(Point):
    z: Any = None

    def __post_init__(self) -> None:
        self.norm = ("made", id)[0]


@dataclasses.dataclass(frozen=True)
class Frozen:
    a: Any = ()
    b: int = 1


@dataclasses.dataclass
class Slotted:
    __slots__ = ("__hidden", "a", "unset")

    a: Any

    def hide(self, it: Any) -> Slotted:
        self.__hidden = it
        return self


@dataclasses.dataclass
class Mixed(Slotted):
    """Slots, and a `__dict__` besides."""

    b: Any = None


Wide = dataclasses.make_dataclass("Wide", [f"x{n}" for n in range(64)], slots=True)
Wide.__module__ = __name__


@validated_dataclass
class Validated:
    n: int
    rest: Any = None


# Strategies.

ZONES = ["UTC", "Europe/Berlin", "America/Argentina/Buenos_Aires", "Etc/GMT+1", "Asia/Kathmandu"]
_offsets = st.timedeltas(dt.timedelta(hours=-23), dt.timedelta(hours=23))
zones: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.just(dt.timezone.utc),
    st.sampled_from(ZONES).map(zoneinfo.ZoneInfo),
    st.builds(dt.timezone, _offsets),
    st.builds(dt.timezone, _offsets, st.text(max_size=3)),
    st.integers(-86_399, 86_399).map(TzInfo),
)
_folds = st.sampled_from([0, 0, 0, 1])
times = st.builds(
    lambda time, zone, fold: time.replace(tzinfo=zone, fold=fold), st.times(), zones, _folds
)
datetimes = st.builds(
    lambda time, zone, fold: time.replace(tzinfo=zone, fold=fold), st.datetimes(), zones, _folds
)
DECIMALS = ["0", "-0", "0E+5", "-0E-7", "0.10", "1E+999999", "1E-999999", "Infinity", "-Infinity"]
DECIMALS += ["NaN", "-NaN", "NaN123", "123456789012345678901234567890.000"]
# A signalling NaN is not hashable.
decimals = (st.sampled_from(DECIMALS).map(Decimal) | st.decimals()).filter(
    lambda it: not it.is_snan()
)
uuids = st.builds(
    lambda number, safe: uuid.UUID(int=number, is_safe=safe),
    st.integers(0, 2**128 - 1),
    st.sampled_from(list(uuid.SafeUUID)),
)
plain: st.SearchStrategy[Any] = st.one_of(
    st.dates(), times, datetimes, st.timedeltas(), zones, decimals, uuids, st.sampled_from(MEMBERS)
)
"""Dates and the like: immutable, hashable, and not JSON's."""


def _make(kind: Callable[[Any], Any], value: Any, turn: int) -> Any:
    """An instance, or what code might have made of it: nothing validates an assignment."""
    made = kind(value)
    if isinstance(made, BaseModel):
        if turn == 1:
            object.__setattr__(made, "__pydantic_fields_set__", {"whatever"})
        elif turn == 2:
            made = made.model_copy(update=dict.fromkeys(type(made).model_fields, value))
        elif turn == 3:
            made.__dict__["cached"] = [value]
    return made


def _open(value: Any) -> Open:
    made = Open(**{"value": value, "another name": [value], "x extra": value})
    made.__pydantic_private__["_private"] = value  # type: ignore[index]
    return made


KINDS: list[Callable[[Any], Any]] = [
    lambda it: Strict(),
    _open,
    lambda it: Tree(name="root", children=[Tree(name="leaf", parent=Open(value=it))]),
    lambda it: Box(content=it),
    lambda it: IntBox(content=1),
    lambda it: ListBox.model_construct(content=it),
    lambda it: Numbers([it, it]),
    lambda it: Outer.Inner(x=it),
    lambda it: Checked(),
    lambda it: Document("page", metadata={"it": it}),
    lambda it: Reply(content="x", confidence=it, response_metadata={"it": it}),
    lambda it: ReplyChunk(content="x", provider_chunk=it),
    lambda it: Result(content="x", tool_call_id="1", artifact=it),
    lambda it: Scored(text="x", score=it),
    Point,
    lambda it: Point3(it, [it], it),
    lambda it: Frozen((it,)),
    Slotted,
    lambda it: Slotted(it).hide([it]),
    lambda it: Mixed(it, it),
    lambda it: Validated(1, it),
]


def instances(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Instances of all these classes, around other values."""
    return st.builds(_make, st.sampled_from(KINDS), inner, st.integers(0, 5))
