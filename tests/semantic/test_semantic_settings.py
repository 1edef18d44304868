"""Settings of semantic lookups: bad ones are refused, and the certificate's name tells them."""

from __future__ import annotations

import dataclasses
import functools
import pickle
import subprocess
import sys
from datetime import timedelta
from fractions import Fraction
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest
from langchain_core.embeddings import DeterministicFakeEmbedding, Embeddings
from langchain_core.language_models import FakeListChatModel
from pydantic import BaseModel, SecretStr
from support.embedders import Embedder

from llmemo import ConfigurationError, cached_embeddings
from llmemo.semantic.identity import identity
from llmemo.semantic.judges import LLMJudge, same_answer
from llmemo.semantic.settings import Semantic

if TYPE_CHECKING:
    from collections.abc import Callable

FAKE = DeterministicFakeEmbedding(size=8)
NAN, INF = float("nan"), float("inf")


def test_what_is_given_is_there() -> None:
    semantic = Semantic(FAKE)
    assert semantic.embeddings is FAKE
    defaults = (semantic.max_error, semantic.confidence, semantic.shadow, semantic.min_score)
    assert defaults == (0.02, 0.95, 0.05, 0.8)
    assert (semantic.judge, semantic.question, semantic.timeout) == (None, None, 1.0)
    assert Semantic(FAKE, timeout=timedelta(milliseconds=1500)).timeout == 1.5


def test_it_is_read_only() -> None:
    with pytest.raises(AttributeError):
        Semantic(FAKE).max_error = 0.5  # type: ignore[misc]
    with pytest.raises(TypeError):
        Semantic(FAKE, 0.02)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("name", "good"),
    [
        ("max_error", [0.5, 1e-9]),
        ("confidence", [0.5, 0.999999]),
        ("shadow", [1, 1.0, 1e-9]),
        ("min_score", [0.001, 0.999]),
        ("timeout", [1, 0.001, timedelta(minutes=1)]),
        (
            "judge",
            [None, same_answer, lambda a, b, c: True, LLMJudge(FakeListChatModel(responses=[]))],
        ),
        ("question", [None, str.strip, lambda text: None]),
    ],
)
def test_these_are_allowed(name: str, good: list[Any]) -> None:
    for value in good:
        assert getattr(Semantic(FAKE, **{name: value}), name) is not NAN


BAD: list[Any] = [None, "0.1", True, False, NAN, INF, -INF, -0.1, [], Fraction(1, 10)]


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("max_error", [*BAD, 0, 0.0, 0.500001, 1]),
        ("confidence", [*BAD, 0.4999, 1, 1.0]),
        ("shadow", [*BAD, 0, 1.001]),
        ("min_score", [*BAD, 0, 1, 1.0]),
        ("timeout", [*BAD, 0, timedelta(0), timedelta(seconds=-1)]),
        ("judge", ["same", True, 1, lambda: None, type("Judge", (), {})]),
        ("question", ["text", True, 1, str]),
        ("embeddings", [None, "openai", DeterministicFakeEmbedding, 1, object(), lambda it: it]),
    ],
)
def test_these_are_refused(name: str, bad: list[Any]) -> None:
    for value in bad:
        with pytest.raises(ConfigurationError, match=f"^{name}=.*: (a |give )") as found:
            Semantic(**{"embeddings": FAKE, name: value})
        assert isinstance(found.value, ValueError)


class Private(Embeddings):
    def __init__(self, api_key: str) -> None:
        self.api_key = api_key

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return []

    def embed_query(self, text: str) -> list[float]:
        return []

    def __repr__(self) -> str:
        return f"Private({self.api_key})"


def test_its_repr_has_no_secrets() -> None:
    semantic = Semantic(Private("sk-1"), judge=same_answer, shadow=0.5, timeout=2)
    assert repr(semantic) == "Semantic(Private, judge=same_answer, shadow=0.5, timeout=2.0)"


def test_it_can_be_pickled() -> None:
    semantic = Semantic(Embedder(), judge=same_answer, max_error=0.1)
    again = pickle.loads(pickle.dumps(Semantic(Private("x"), judge=same_answer, max_error=0.1)))
    assert (again.judge, again.max_error) == (same_answer, 0.1)
    assert identity(semantic) != identity(again)
    assert identity(again) == identity(Semantic(Private("x"), judge=same_answer, max_error=0.1))


class Fields(BaseModel, Embeddings):
    model: str = "m"
    dimensions: int | None = None
    headers: dict[str, str] = {}
    openai_api_key: SecretStr = SecretStr("")
    plain_api_key: str = ""
    model_key: str = ""
    pad_token: str = ""
    max_retries: int = 2
    client: Any = None

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return []

    def embed_query(self, text: str) -> list[float]:
        return []


class Slots:
    __slots__ = ("model",)

    def __init__(self, model: str) -> None:
        self.model = model

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return []


class Wrapper:
    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return []


def name(embeddings: Any = FAKE, **settings: Any) -> bytes:
    return identity(Semantic(embeddings, **settings))


def other_class(value: str) -> Any:
    """The double's class with another setting of the class."""
    return type("Model", (Embedder,), {"model": value, "__module__": "m", "__qualname__": "Model"})


def judge_a(stored: str, fresh: str) -> bool:
    return True


def judge_b(stored: str, fresh: str) -> bool:
    return True


def nearly(most: int, stored: str, fresh: str) -> bool:
    return abs(len(stored) - len(fresh)) <= most


def within(most: int) -> Callable[[str, str], bool]:
    return lambda stored, fresh: nearly(most, stored, fresh)


class Nearly:
    def __init__(self, most: int) -> None:
        self.most = most

    def judge(self, stored: str, fresh: str) -> bool:
        return nearly(self.most, stored, fresh)

    def __call__(self, stored: str, fresh: str) -> bool:
        return nearly(self.most, stored, fresh)


def asking(model: str, **settings: Any) -> LLMJudge:
    class Chat(FakeListChatModel):
        model_name: str = ""

    return LLMJudge(Chat(responses=[], model_name=model), **settings)


Pair: TypeAlias = "tuple[Callable[[], bytes], Callable[[], bytes]]"

CHANGES: dict[str, Pair] = {
    "a field": (lambda: name(Fields()), lambda: name(Fields(model="n"))),
    "a model's key": (lambda: name(Fields()), lambda: name(Fields(model_key="a"))),
    "a token of a text": (lambda: name(Fields()), lambda: name(Fields(pad_token="a"))),
    "a number": (lambda: name(Fields()), lambda: name(Fields(dimensions=1))),
    "a dict": (lambda: name(Fields()), lambda: name(Fields(headers={"a": "b"}))),
    "a class": (lambda: name(Fields()), lambda: name(Private(""))),
    "a class attribute": (lambda: name(other_class("1")()), lambda: name(other_class("2")())),
    "a slot": (lambda: name(Slots("a")), lambda: name(Slots("b"))),
    "what is wrapped": (lambda: name(Wrapper(Slots("a"))), lambda: name(Wrapper(Slots("b")))),
    "the size": (name, lambda: name(DeterministicFakeEmbedding(size=9))),
    "max_error": (name, lambda: name(max_error=0.03)),
    "confidence": (name, lambda: name(confidence=0.9)),
    "min_score": (name, lambda: name(min_score=0.9)),
    "the question": (name, lambda: name(question=str.strip)),
    "what a function has hold of": (lambda: name(judge=within(1)), lambda: name(judge=within(2))),
    "the code of a function": (
        lambda: name(judge=lambda stored, fresh: stored == fresh),
        lambda: name(judge=lambda stored, fresh: True),
    ),
    "an argument of a partial": (
        lambda: name(judge=functools.partial(nearly, 1)),
        lambda: name(judge=functools.partial(nearly, 2)),
    ),
    "a method": (lambda: name(judge=Nearly(1).judge), lambda: name(judge=Nearly(2).judge)),
    "a judge with a setting": (lambda: name(judge=Nearly(1)), lambda: name(judge=Nearly(2))),
    "the judge": (lambda: name(judge=judge_a), lambda: name(judge=judge_b)),
    "a judge": (name, lambda: name(judge=judge_b)),
    "the judge's model": (lambda: name(judge=asking("a")), lambda: name(judge=asking("b"))),
    "the judge's prompt": (
        lambda: name(judge=asking("a")),
        lambda: name(judge=asking("a", prompt="yes or no")),
    ),
}
SAME: dict[str, Pair] = {
    "a secret": (lambda: name(Fields()), lambda: name(Fields(openai_api_key=SecretStr("x")))),
    "a key": (lambda: name(Fields()), lambda: name(Fields(plain_api_key="x"))),
    "a key in an attribute": (lambda: name(Private("a")), lambda: name(Private("b"))),
    "a key in a header": (
        lambda: name(Fields(headers={"Authorization": "a"})),
        lambda: name(Fields(headers={"Authorization": "b"})),
    ),
    "retries": (lambda: name(Fields()), lambda: name(Fields(max_retries=9))),
    "a client": (lambda: name(Fields()), lambda: name(Fields(client=object()))),
    "shadow, timeout": (name, lambda: name(shadow=1, timeout=9)),
    "the default judge": (name, lambda: name(judge=same_answer)),
    "large data": (
        lambda: name(Fields(client=[0] * 1000)),
        lambda: name(Fields(client=[1] * 1000)),
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_of_this_begins_another_certificate(change: str) -> None:
    before, after = CHANGES[change]
    assert before() == before()
    assert before() != after()


@pytest.mark.parametrize("change", SAME)
def test_a_change_of_this_does_not(change: str) -> None:
    before, after = SAME[change]
    assert before() == after()


@pytest.mark.parametrize(
    "secret",
    [
        *("key", "api_key", "apiKey", "aws_access_key_id", "subscription_key", "token"),
        *("azure_ad_token", "hf_token", "auth_token", "huggingfacehub_api_token"),
        *("client_secret", "credentials"),
    ],
)
def test_names_of_secrets_are_left_out(secret: str) -> None:
    one, other = Private("a"), Private("a")
    setattr(other, secret, "x")
    assert name(one) == name(other)


def test_cached_embeddings_are_told_by_what_they_wrap() -> None:
    one, other = (
        cached_embeddings(DeterministicFakeEmbedding(size=size), namespace="m") for size in (8, 9)
    )
    assert name(one) != name(other)


@dataclasses.dataclass(slots=True)
class Odd:
    """Values that no description is made of."""

    text: str = "\ud800"
    whole: int = 10**5000
    number: float = NAN
    many: list[int] = dataclasses.field(default_factory=lambda: list(range(1000)))
    itself: Any = None

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return []


def test_odd_values_are_survived() -> None:
    odd = Odd()
    odd.itself = [odd, {"a": odd, 1: odd}]
    assert len(name(odd)) == 16


def test_it_is_the_same_in_every_process() -> None:
    program = (
        "from langchain_core.embeddings import DeterministicFakeEmbedding as Fake;"
        "from llmemo.semantic.identity import identity;"
        "from llmemo.semantic.settings import Semantic;"
        "print(identity(Semantic(Fake(size=8))).hex())"
    )
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == name().hex()
