"""Instances of the user's classes: whose class is found again, and whose is not."""

from __future__ import annotations

import dataclasses
import gc
import pickle
import subprocess
import sys
import types
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
from hypothesis import given
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult, Generation
from pydantic import BaseModel, field_validator
from support import TESTS, instances
from support.exact import difference
from support.strategies import answers, examples

from llmemo import LLMCache
from llmemo._core import ValueRefused, ValueUnknown, decode, encode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    MakeCache = Callable[..., LLMCache]

KEY = bytes(range(32))
T = TypeVar("T")


def holding(it: Any) -> list[Generation]:
    return [Generation(text="x", generation_info={"it": it})]


def held(value: bytes) -> Any:
    info = decode(value, KEY)[0].generation_info
    assert info is not None
    return info["it"]


def unknown(value: bytes) -> str:
    with pytest.raises(ValueUnknown) as error:
        decode(value, KEY)
    return str(error.value)


@pytest.fixture
def module() -> Iterator[types.ModuleType]:
    """A module that is loaded, for classes to stand in."""
    made = types.ModuleType("somewhere")
    sys.modules["somewhere"] = made
    yield made
    sys.modules.pop("somewhere", None)


def define(source: str, module: types.ModuleType) -> Any:
    """Run a module's text. Returns what it calls `It`."""
    exec("import dataclasses, enum, pydantic, typing\n" + source, vars(module))
    return vars(module)["It"]


def forget(module: types.ModuleType) -> None:
    """Leave neither the module's classes nor what is known of them."""
    vars(module).clear()
    vars(module)["__name__"] = "somewhere"
    gc.collect()


MODEL = "class It(pydantic.BaseModel):\n    a: int = 1\n    b: 'list[str]' = []\n"
DATACLASS = "@dataclasses.dataclass\nclass It:\n    a: int = 1\n    b: tuple = ()\n"
ENUM = "class It(enum.Enum):\n    A = 1\n    B = 'b'\n"
MAKERS = {MODEL: "It(a=2)", DATACLASS: "It(a=2)", ENUM: "It.A"}

every_kind = pytest.mark.parametrize("source", MAKERS, ids=["model", "dataclass", "enum"])


@every_kind
def test_a_class_that_is_the_same_again_is_found(source: str, module: types.ModuleType) -> None:
    define(source, module)
    value = encode(holding(eval(MAKERS[source], vars(module))), KEY)
    forget(module)
    again = define(source, module)
    it = held(value)
    assert type(it) is again
    assert difference(it, eval(MAKERS[source], vars(module))) is None


@every_kind
def test_a_class_that_is_not_loaded_is_a_miss_and_is_not_imported(
    source: str, module: types.ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    define(source, module)
    value = encode(holding(eval(MAKERS[source], vars(module))), KEY)
    forget(module)
    assert unknown(value) == "unknown_class"
    # There is a module of that name to import, and one within a package that is loaded.
    (tmp_path / "somewhere.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    del sys.modules["somewhere"]
    assert unknown(value) == "unknown_class"
    assert "somewhere" not in sys.modules


CHANGES = [
    (MODEL, "a: int", "a: str"),
    (MODEL, "a: int", "c: int"),
    (MODEL, "    b: 'list[str]'", "    c: int = 1\n    b: 'list[str]'"),
    (MODEL, "list[str]", "tuple[str, ...]"),
    (MODEL, "= []", "= ['x']"),
    (MODEL, "a: int = 1", "a: int = pydantic.Field(default=1, gt=0)"),
    (MODEL, "a: int = 1", "a: int = 1\n    _private: int = 1"),
    (MODEL, "a: int = 1", "a: int = 1\n    model_config = {'extra': 'allow'}"),
    (MODEL, "pydantic.BaseModel", "pydantic.BaseModel, typing.Generic[typing.TypeVar('T')]"),
    (MODEL, "a: int", "a: typing.Annotated[int, 'metres']"),
    (DATACLASS, "a: int", "a: str"),
    (DATACLASS, "a: int = 1", "c: int = 1"),
    (DATACLASS, "a: int = 1", "a: int = 2"),
    (DATACLASS, "dataclass\n", "dataclass(slots=True)\n"),
    (DATACLASS, "    a: int = 1\n    b: tuple = ()", "    b: tuple = ()\n    a: int = 1"),
    (ENUM, "A = 1", "A = 2"),
    (ENUM, "A = 1", "C = 1"),
    (ENUM, "A = 1", "A = 1.0"),
    (ENUM, "B = 'b'", "B = 'c'"),
    (ENUM, "enum.Enum", "str, enum.Enum"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("source", "old", "new"), CHANGES, ids=[new for _, _, new in CHANGES])
def test_a_class_that_has_changed_is_a_miss(
    source: str, old: str, new: str, module: types.ModuleType
) -> None:
    define(source, module)
    value = encode(holding(eval(MAKERS[source], vars(module))), KEY)
    forget(module)
    assert old in source
    define(source.replace(old, new), module)
    assert unknown(value) == "changed_class"


@pytest.mark.slow
def test_a_class_within_a_field_counts(module: types.ModuleType) -> None:
    inner = "class Inner(pydantic.BaseModel):\n    x: int = 1\n"
    outer = (
        "class It(pydantic.BaseModel):\n    inner: list[Inner] = []\n    it: 'It | None' = None\n"
    )
    made = define(inner + outer, module)
    value = encode(holding(made()), KEY)
    forget(module)
    define(inner + outer, module)
    assert held(value).inner == []
    define(inner.replace("x: int", "x: str") + outer, module)
    gc.collect()
    assert unknown(value) == "changed_class"


@pytest.mark.slow
def test_a_class_of_another_kind_is_a_miss(module: types.ModuleType) -> None:
    define(MODEL, module)
    value = encode(holding(vars(module)["It"]()), KEY)
    for other in (DATACLASS, ENUM, "It = 1\n", "def It(): pass\n", "class It: pass\n"):
        forget(module)
        define(other, module)
        assert unknown(value) in ("unknown_class", "changed_class")


def test_what_stands_in_the_way_of_a_name_is_not_run(module: types.ModuleType) -> None:
    events: list[str] = []

    class Trap(types.ModuleType):
        def __getattribute__(self, name: str) -> Any:
            events.append(name)
            return super().__getattribute__(name)

    class Meta(type):
        def __getattribute__(cls, name: str) -> Any:
            events.append(name)
            return super().__getattribute__(name)

    class Holder(metaclass=Meta):
        @property
        def It(self) -> None:  # noqa: N802
            events.append("property")

    define(MODEL, module)
    value = encode(holding(vars(module)["It"]()), KEY)
    forget(module)
    vars(module)["__getattr__"] = events.append
    assert unknown(value) == "unknown_class"
    for other in (Trap("somewhere"), Holder, Holder(), None, 1, {"It": 1}):
        sys.modules["somewhere"] = other  # type: ignore[assignment]
        events.clear()
        assert unknown(value) == "unknown_class"
        assert events == []


def test_generics_and_nested_classes_are_found(module: types.ModuleType) -> None:
    source = "T = typing.TypeVar('T')\nclass It(pydantic.BaseModel, typing.Generic[T]):\n    x: T\n"
    source += "    class Inner(pydantic.BaseModel):\n        y: int = 1\n"
    made = define(source, module)
    values = [
        encode(holding(it), KEY)
        for it in (made[int](x=1), made[list[str]](x=[]), made(x=1), made.Inner())
    ]
    del made
    forget(module)
    again = define(source, module)
    assert unknown(values[0]) == "unknown_class"
    kept = again[int], again[list[str]]
    assert [type(held(value)) for value in values] == [*kept, again, again.Inner]


@pytest.mark.slow
def test_a_local_class_is_found_while_it_lives() -> None:
    kind = instances.local_class()
    value = encode(holding(kind(x=1)), KEY)
    assert type(held(value)) is kind
    # Another one of the same name and fields: nobody can say which.
    other = instances.local_class()
    encode(holding(other(x=1)), KEY)
    assert unknown(value) == "ambiguous_class"
    del other
    gc.collect()
    assert type(held(value)) is kind
    del kind
    gc.collect()
    assert unknown(value) == "unknown_class"


# In a model's run.


class Structured(GenericFakeChatModel):
    """Answers with an instance of the class that it is bound to."""

    asked: list[int] = []  # noqa: RUF012 (Pydantic copies it)

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        self.asked.append(1)
        message = AIMessage("x")
        message.additional_kwargs["parsed"] = kwargs["response_format"](x=len(self.asked))
        return ChatResult(generations=[ChatGeneration(message=message)])

    def ask(self, cls: type) -> Any:
        reply = self.bind(response_format=cls).invoke("hello")
        return reply.additional_kwargs["parsed"]


def test_a_run_gets_instances_of_its_own_class(make_cache: MakeCache) -> None:
    model = Structured(messages=iter([]), cache=make_cache())
    # One after the other, as a function makes a new class in each call: all are alive.
    classes = [instances.local_class() for _ in range(3)]
    replies = [model.ask(cls) for cls in [*classes, *classes]]
    assert [type(reply) for reply in replies] == [*classes, *classes]
    assert [reply.x for reply in replies] == [1] * 6
    assert isinstance(model.cache, LLMCache)
    stats = model.cache.stats()
    assert (stats.hits, stats.errors, stats.skipped, stats.bypassed) == (5, {}, {}, {})


@pytest.mark.slow
def test_a_class_that_was_forgotten_is_a_miss_and_then_replaced(
    make_cache: MakeCache, module: types.ModuleType
) -> None:
    cache = make_cache()
    answer = holding(define(MODEL, module)())
    cache.update("p", "l", answer)
    assert difference(cache.lookup("p", "l"), answer) is None
    del answer
    forget(module)
    for _ in range(2):
        assert cache.lookup("p", "l") is None
    stats = cache.stats()
    assert (stats.hits, stats.misses) == (1, 2)
    assert stats.errors == {"value_unknown_class": 2}
    # It was left alone: the class may come back, here or in another process.
    define(MODEL, module)
    assert cache.lookup("p", "l") is not None
    assert (cache.stats().hits, cache.stats().misses) == (2, 2)


# What is proved before it is stored.


@dataclasses.dataclass(unsafe_hash=True)
class Fickle:
    x: int


def test_what_does_not_come_back_equal_is_refused(make_cache: MakeCache) -> None:
    one, other = Fickle(1), Fickle(2)
    for group in ({one, other}, frozenset([one, other]), {one: 1, other: 2}):
        other.x = 2
        assert difference(held(encode(holding(group), KEY)), group) is None
    cache = make_cache()
    # Two that have become equal, which only their table does not know.
    for number, made in enumerate(({Fickle(1), Fickle(2)}, {Fickle(1): 1, Fickle(2): 2}), 1):
        for it in made:
            it.x = 1
        with pytest.raises(ValueRefused) as refusal:
            encode(holding(made), KEY)
        reason, name = refusal.value.args
        assert (reason, name in {f"{__name__}.Fickle", "dict"}) == ("unproved_type", True)
        cache.update("p", "l", holding(made))
        assert cache.stats().skipped == {"unproved_type": number}
    assert cache.lookup("p", "l") is None


def test_messages_and_generations_of_other_classes_get_fresh_ids() -> None:
    made, given = "lc_run--0199f5a0-0000-7000-8000-000000000001-0", "chatcmpl-1"
    reply, message = instances.Reply(content="x", id=made), AIMessage("x", id=made)
    nested = instances.Reply(content="x", id=made)
    stored: list[list[Generation]] = [
        [ChatGeneration(message=reply)],
        [instances.ScoredChat(message=message, score=nested)],
        [instances.ScoredChat(message=reply, score=nested)],
    ]
    for answer in stored:
        value = encode(answer, KEY)
        first, second = (decode(value, KEY, fresh_ids=True) for _ in range(2))
        ids = {hit[0].message.id for hit in (first, second)}  # type: ignore[attr-defined]
        assert len(ids | {made}) == 3
        assert all(str(id_).startswith("lc_run--") for id_ in ids)
        assert difference(decode(value, KEY), answer) is None
        for hit in (first, second):
            assert getattr(hit[0], "score", nested).id == made
            hit[0].message.__dict__["id"] = made  # type: ignore[attr-defined]
            assert difference(hit, answer) is None
    # A provider's id stays; so does that of anything that is no message.
    point = instances.Point()
    point.__dict__["id"] = made
    others: list[list[Generation]] = [
        [ChatGeneration(message=instances.Reply(content="x", id=given))],
        [Generation.model_construct(text=point)],
        [instances.Scored.model_construct(text="x", message=point)],
    ]
    for kept in others:
        assert difference(decode(encode(kept, KEY), KEY, fresh_ids=True), kept) is None


def test_no_code_of_a_class_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []

    def noted(*args: Any, **kwargs: Any) -> Any:
        events.append("run")
        return args[-1]

    class Nosy(BaseModel):
        x: int = 1

        @field_validator("x")
        @classmethod
        def _check(cls, x: int) -> int:
            events.append("validator")
            return x

    it = Nosy(x=3)
    assert events == ["validator"]
    events.clear()
    for name in ("__init__", "__new__", "__setattr__", "__getattr__", "__setstate__", "__reduce__"):
        monkeypatch.setattr(Nosy, name, noted, raising=False)
    for name in ("__getattribute__", "__eq__", "__hash__", "__repr__", "model_post_init"):
        monkeypatch.setattr(Nosy, name, noted)
    value = encode(holding(it), KEY)
    returned = held(value)
    assert events == []
    monkeypatch.undo()
    assert (type(returned), returned.x) == (Nosy, 3)


# A second process.

SECOND = """
import pickle, sys
from support import instances, payloads
from llmemo import LLMCache
path, count = sys.argv[1:]
with LLMCache(path, fresh_ids=False, admit=None) as cache, open(path + ".hits", "wb") as file:
    pickle.dump([cache.lookup(str(number), "l") for number in range(int(count))], file)
    print(cache.stats().store_hits, cache.stats().errors)
"""


def batch() -> list[list[Generation]]:
    """Some of all, and every class."""
    made = [holding(kind(it)) for kind in instances.KINDS for it in (None, instances.MEMBERS)]

    @examples(100)
    @given(answers)
    def collect(answer: list[Generation]) -> None:
        made.append(answer)

    collect()
    return made


def test_a_second_process_reads_the_same(tmp_path: Path) -> None:
    path, stored = tmp_path / "c.db", batch()
    with LLMCache(path, fresh_ids=False, admit=None, store_timeout=30) as cache:
        for number, answer in enumerate(stored):
            cache.update(str(number), "l", answer)
        stats = cache.stats()
        assert (stats.updates, stats.skipped, stats.writes_unconfirmed) == (len(stored), {}, 0)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", SECOND, str(path), str(len(stored))],
        cwd=TESTS,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == (f"{len(stored)} {{}}\n", "")
    hits = pickle.loads(path.with_name("c.db.hits").read_bytes())
    for answer, hit in zip(stored, hits, strict=True):
        assert difference(hit, answer) is None
