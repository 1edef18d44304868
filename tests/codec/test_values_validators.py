"""Stored instances whose class has become stricter: today's class would not accept them."""

from __future__ import annotations

import sys
import types
from typing import TYPE_CHECKING

import pytest
from test_values_classes import KEY, define, forget, held, holding, unknown

from llmemo._core import encode

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def module() -> Iterator[types.ModuleType]:
    """A module that is loaded, for classes to stand in."""
    made = types.ModuleType("somewhere")
    sys.modules["somewhere"] = made
    yield made
    sys.modules.pop("somewhere", None)


FIELD = """
import functools, types
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Union, Literal, ClassVar
from pydantic import *
LIMIT = 10
ALLOWED = {"a": [1, 2], "b": {3, 4}, "c": Decimal("95")}
class Settings:
    level = 1
    def __init__(self): self.limit = [10]; self.more = Settings.level
    def check(self, x): return x < 12
SETTINGS = Settings()
def helper(x, most=20):
    return x < most and deeper(x)
def deeper(x):
    return x not in (31, 32)
def under(most):
    def check(x):
        if x > most: raise ValueError
        return x
    return check
class Checker:
    def __init__(self, most): self.most = most
    def __call__(self, x):
        if x > self.most + 40: raise ValueError
        return x
class Special(int):
    @classmethod
    def __get_pydantic_core_schema__(cls, source, handler):
        return handler(Annotated[int, Field(ge=-50)])
class A(BaseModel):
    kind: Literal["a"] = "a"
class B(BaseModel):
    kind: Literal["b"] = "b"
class It(BaseModel):
    model_config = ConfigDict(str_max_length=99)
    MOST: ClassVar[int] = 60
    a: Annotated[int, AfterValidator(under(70))] = 1
    b: Annotated[int, BeforeValidator(Checker(5))] = 1
    c: Annotated[int, AfterValidator(functools.partial(lambda y, x: x, 80))] = 1
    d: Annotated[int, Field(ge=-90)] = 1
    e: Annotated[Decimal, Field(gt=Decimal("-91"))] = 1
    f: Union[A, B] = Field(default=A(), discriminator="kind")
    g: Special = 1
    h: list[Annotated[int, Field(le=92)]] = Field(default=[], max_length=93)
    i: Annotated[int, Path("x94")] = 1
    @field_validator("a", "b")
    @classmethod
    def check_a(cls, x):
        'Text.'
        if x > LIMIT or x > cls.MOST or not helper(x) or x in {101, 102}: raise ValueError
        return cls.also(x)
    @classmethod
    def also(cls, x):
        return [y for y in [x] if y < 110][0]
    @field_validator("c", mode="before")
    @staticmethod
    def check_c(x):
        if x in ALLOWED or x < SETTINGS.limit[0] - 1000 or not SETTINGS.check(1): raise ValueError
        return x
    @model_validator(mode="after")
    def check_all(self):
        if self.a > 120: raise ValueError
        return self
    @field_serializer("a")
    def write(self, x): return x + 130
    def model_post_init(self, context):
        if self.a > 140: raise ValueError
"""

POST_INIT = """
import dataclasses, pydantic
@dataclasses.dataclass
class It:
    a: int = 1
    def __post_init__(self):
        if self.a > 10: raise ValueError
"""

CHECKED = (
    POST_INIT.replace("@dataclasses.", "@pydantic.dataclasses.")
    + """
    @pydantic.field_validator("a")
    @classmethod
    def check(cls, x):
        if x > 20: raise ValueError
        return x
"""
)

CHANGES = [
    *[(FIELD, old, new) for old, new in (
        ("LIMIT = 10", "LIMIT = 9"), ("[1, 2]", "[1]"), ("{3, 4}", "{3, 5}"),
        ("level = 1", "level = 2"), ("[10]", "[11]"), ("x < 12", "x < 11"), ("most=20", "most=19"),
        ("(31, 32)", "(31, 33)"), ("not in (31", "in (31"), ("x > most:", "x >= most:"),
        ("Checker(5)", "Checker(4)"), ("most + 40", "most + 39"), ("ge=-50", "ge=-49"),
        ("str_max_length=99", "str_max_length=98"), ("ConfigDict(", "ConfigDict(strict=False, "),
        ("MOST: ClassVar[int] = 60", "MOST: ClassVar[int] = 59"), ("under(70)", "under(69)"),
        ("y, x: x, 80", "y, x: x, 79"), ("y, x: x,", "y, x: +x,"), ("ge=-90", "ge=-89"),
        ("95", "96"),
        ('Decimal("-91")', 'Decimal("-90")'), ('gt=Dec', 'ge=Dec'), ("le=92", "le=91"),
        (', discriminator="kind"', ""), ("max_length=93", "max_length=92"), ("x94", "x_9"),
        ("{101, 102}", "{101, 103}"), ("x > cls.MOST", "x < cls.MOST"), ('"a", "b")', '"a")'),
        ("y < 110", "y < 109"), ('mode="before"', 'mode="after"'), ("- 1000", "- 999"),
        ("self.a > 120", "self.a > 119"), ("x + 130", "x + 129"), ("self.a > 140", "self.a > 139"),
    )],
    (POST_INIT, "> 10", "> 9"),
    (CHECKED, "> 10", "> 9"),
    (CHECKED, "> 20", "> 19"),
]  # fmt: skip


@pytest.mark.parametrize("source", [FIELD, POST_INIT, CHECKED], ids=["model", "dataclass", "both"])
def test_a_class_whose_validators_are_the_same_is_found(
    source: str, module: types.ModuleType
) -> None:
    value = encode(holding(define(source, module)()), KEY)
    forget(module)
    # Where it stands in a file does not count.
    again = define("\n\n" + source, module)
    assert type(held(value)) is again


_stored: dict[str, bytes] = {}


def stored(source: str, module: types.ModuleType) -> bytes:
    """What is stored of an instance of the class that was never changed; made once."""
    if source not in _stored:
        _stored[source] = encode(holding(define(source, module)()), KEY)
        forget(module)
    return _stored[source]


@pytest.mark.slow
@pytest.mark.parametrize(("source", "old", "new"), CHANGES, ids=[new for _, _, new in CHANGES])
def test_a_validator_that_has_changed_is_a_miss(
    source: str, old: str, new: str, module: types.ModuleType
) -> None:
    value = stored(source, module)
    assert source.count(old) == 1
    define(source.replace(old, new), module)
    assert unknown(value) == "changed_class"


IN_PLACE = [
    "ALLOWED['a'].append(3)",
    "SETTINGS.limit[0] = 9",
    "SETTINGS.check = lambda x: False",
    "Settings.check = lambda self, x: False",
    "It.MOST = 1",
    "helper.__defaults__ = (1,)",
    "deeper.__code__ = (lambda x: False).__code__",
    "It.also = classmethod(lambda cls, x: -x)",
    "It.model_fields['d'].metadata[0] = Field(ge=1).metadata[0]; It.model_rebuild(force=True)",
    "It.model_config['strict'] = True; It.model_rebuild(force=True)",
]


@pytest.mark.parametrize("change", IN_PLACE)
def test_a_class_that_changes_in_place_is_a_miss(change: str, module: types.ModuleType) -> None:
    value = encode(holding(define(FIELD, module)()), KEY)
    assert held(value) is not None
    exec(change, vars(module))
    assert unknown(value) == "changed_class"
    # What is stored now is of the class as it is now.
    assert held(encode(holding(vars(module)["It"].model_construct()), KEY)) is not None


@pytest.mark.slow
def test_what_functions_lead_to_is_bounded(module: types.ModuleType) -> None:
    source = "TABLE = {n: [n] * 10 for n in range(1_000_000)}\n"
    source += "".join(f"def f{n}(x): return f{n + 1}(x)\n" for n in range(3000))
    source += "def f3000(x): return f0(TABLE)\n"
    source += "class It(pydantic.BaseModel):\n"
    source += "    a: typing.Annotated[int, pydantic.AfterValidator(f0)] = 1\n"
    value = encode(holding(define(source, module)()), KEY)
    assert held(value) is not None
