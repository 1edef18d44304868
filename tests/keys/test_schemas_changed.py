"""Classes that an `llm_string` names, and that change in place: what clients send now counts."""

from __future__ import annotations

import enum
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel, ConfigDict
from support import TESTS
from support.changing import KINDS, WORLD, overridden, speak_german
from test_schemas import Counting

from llmemo import LLMCache
from llmemo.langchain.class_schemas import digest_of

if TYPE_CHECKING:
    from collections.abc import Callable

    MakeCache = Callable[..., LLMCache]


@pytest.fixture(autouse=True)
def _same_world() -> None:
    WORLD.update(language="French")


@pytest.fixture
def model(make_cache: MakeCache) -> Counting:
    return Counting(messages=iter([]), cache=make_cache())


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_class_that_changed_in_place_is_another_request(
    kind: Callable[[], tuple[type, Callable[[], object]]], model: Counting
) -> None:
    cls, change = kind()
    assert [model.ask(response_format=cls) for _ in range(2)] == ["1", "1"]
    change()
    assert [model.ask(response_format=cls) for _ in range(2)] == ["2", "2"]
    assert isinstance(model.cache, LLMCache)
    assert model.cache.stats().bypassed == {}


def test_a_class_that_changes_back_is_the_first_request_again(model: Counting) -> None:
    cls, change = overridden()
    assert model.ask(response_format=cls) == "1"
    change()
    assert model.ask(response_format=cls) == "2"
    WORLD.update(language="French")
    assert model.ask(response_format=cls) == "1"


def test_a_schema_that_is_another_each_time_never_hits(model: Counting) -> None:
    class Answer(BaseModel):
        @classmethod
        def model_json_schema(cls, *args: Any, **kwargs: Any) -> dict[str, Any]:
            WORLD["language"] += "!"
            return WORLD

    assert [model.ask(response_format=Answer) for _ in range(3)] == ["1", "2", "3"]


class Meddling(Counting):
    """While it answers, the class that it was given changes."""

    def _generate(self, *args: Any, **kwargs: Any) -> Any:
        speak_german()
        return super()._generate(*args, **kwargs)


def test_an_answer_during_which_the_class_changed_is_not_kept(make_cache: MakeCache) -> None:
    cls, _ = overridden()
    model = Meddling(messages=iter([]), cache=make_cache())
    # Whether the first was asked in French or in German, nobody knows.
    assert [model.ask(response_format=cls) for _ in range(3)] == ["1", "2", "2"]
    WORLD.update(language="French")
    assert model.ask(response_format=cls) == "3"


def test_a_class_that_says_nothing_bypasses_and_nothing_is_raised(model: Counting) -> None:
    class Raising(BaseModel):
        @classmethod
        def model_json_schema(cls, *args: Any, **kwargs: Any) -> dict[str, Any]:
            raise RuntimeError

    class Opaque:
        pass

    class Unwritable(BaseModel):
        @classmethod
        def model_json_schema(cls, *args: Any, **kwargs: Any) -> dict[str, Any]:
            return {"x": object()}

    for number, cls in enumerate([Raising, Opaque, Unwritable]):
        assert digest_of(cls) is None
        answers = [model.ask(response_format=cls) for _ in range(2)]
        assert answers == [str(2 * number + 1), str(2 * number + 2)]


def test_a_schema_of_its_own_is_enough(model: Counting) -> None:
    class Opaque:
        pass

    class Answer(BaseModel):
        model_config = ConfigDict(arbitrary_types_allowed=True)

        x: Opaque | None = None

        @classmethod
        def model_json_schema(cls, *args: Any, **kwargs: Any) -> dict[str, Any]:
            return WORLD

    assert [model.ask(response_format=Answer) for _ in range(2)] == ["1", "1"]


def test_an_enum_that_grows_has_another_digest() -> None:
    class Answer(enum.Enum):
        FRENCH = "French"

    first = digest_of(Answer)
    assert first is not None
    member: Any = object.__new__(Answer)
    member._name_, member._value_, member._sort_order_ = "GERMAN", "German", 1
    Answer._member_map_["GERMAN"] = member
    Answer._member_names_.append("GERMAN")
    Answer._value2member_map_["German"] = member
    assert digest_of(Answer) not in (first, None)


def test_models_of_pydantic_1_are_told_apart(model: Counting) -> None:
    if sys.version_info >= (3, 14):
        pytest.skip("there is no pydantic.v1")
    from pydantic import v1

    one, two = (
        v1.create_model("Answer", __module__="somewhere", x=(kind, ...)) for kind in (int, str)
    )
    answers = [model.ask(response_format=cls) for cls in (one, two, one, two)]
    assert answers == ["1", "2", "1", "2"]


SECOND = """
from support import instances
from llmemo.codec.classes import record_of
from llmemo.langchain.class_schemas import digest_of
for cls in (kind for kind in vars(instances).values() if isinstance(kind, type)):
    record, digest = record_of(cls), digest_of(cls)
    print(cls, record and record.name[2].hex(), digest and digest.hex())
"""


def test_digests_are_the_same_in_every_process() -> None:
    def ask(seed: str) -> str:
        return subprocess.run(
            [sys.executable, "-c", SECOND],
            cwd=TESTS,
            env={"PYTHONHASHSEED": seed, "PATH": ""},
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    first = ask("1")
    assert first == ask("2")
    assert first.count("None") < first.count("\n") / 2
