"""Near matches: what must not fool the certificate, lose an answer, or get in the way."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.embeddings import Embeddings
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from support.doubles import LIMIT
from support.near import alike

from llmemo import CacheMiss, LLMCache, Semantic, options
from llmemo.semantic.judges import same_answer
from llmemo.stores.sqlite import SQLiteStore

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

WORDS = "cup plate chair table house garden river bridge window door book letter".split()  # noqa: SIM905


def question(number: int) -> str:
    return f"please explain the word {WORDS[number]} to me"


class Alike(Embeddings):
    """All texts are near each other. `before` comes first, with the texts."""

    def __init__(self, before: Callable[[list[str]], object] = lambda texts: None) -> None:
        self.before = before

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        self.before(texts)
        return alike(texts)

    def embed_query(self, text: str) -> list[float]:
        return self.embed_documents([text])[0]


# Not attributes of the model: each of its settings is part of a request.
ANSWERS: dict[str, Callable[[str], Any]] = {}
ASKED: dict[str, list[str]] = {}


class Model(BaseChatModel):
    """Answers as its function says, and notes what it is asked."""

    part: str = "outer"

    def __init__(self, answer: Callable[[str], Any], cache: LLMCache, part: str = "outer") -> None:
        super().__init__(cache=cache, part=part)  # type: ignore[call-arg]
        ANSWERS[part], ASKED[part] = answer, []

    @property
    def asked(self) -> list[str]:
        return ASKED[self.part]

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: Any = None,
        **kwargs: Any,
    ) -> ChatResult:
        text = str(messages[-1].content)
        self.asked.append(text)
        answer = ANSWERS[self.part](text)
        message = answer if isinstance(answer, AIMessage) else AIMessage(answer)
        return ChatResult(generations=[ChatGeneration(message=message)])

    @property
    def _llm_type(self) -> str:
        return "model"


def semantic(embeddings: Embeddings | None = None, **settings: Any) -> Semantic:
    """Certified after 3 right checks, and hardly ever checked again."""
    given = {"max_error": 0.5, "confidence": 0.5, "shadow": 1e-9, **settings}
    return Semantic(embeddings or Alike(), **given)


def ask(cache: LLMCache, answer: Callable[[str], Any], questions: Sequence[str]) -> list[Any]:
    model = Model(answer=answer, cache=cache)
    return [model.invoke(each).content for each in questions]


QUESTIONS = list(map(question, range(len(WORDS))))


def counts(cache: LLMCache) -> tuple[int, int, int]:
    found = cache.stats().semantic
    assert found is not None
    return found.hits, found.checks, found.wrong


REFUSALS: dict[str, Callable[[], AIMessage]] = {
    "nothing": lambda: AIMessage(""),
    "filtered": lambda: AIMessage("", response_metadata={"finish_reason": "content_filter"}),
    "refused": lambda: AIMessage("no", additional_kwargs={"refusal": "no"}),
}


@pytest.mark.parametrize("kind", REFUSALS)
def test_what_a_model_refuses_to_answer_counts_as_wrong(kind: str) -> None:
    cache = LLMCache(semantic=semantic())
    ask(cache, lambda text: "yes" if text == question(0) else REFUSALS[kind](), QUESTIONS[:6])
    assert counts(cache) == (0, 5, 5)
    cache.close()


def test_a_judge_that_asks_a_model_of_the_same_cache_causes_no_more_checks() -> None:
    asked: list[str] = []

    def judge(question: str, stored: str, fresh: str) -> bool:
        asked.append(question)
        if len(asked) < 5:
            model.invoke(QUESTIONS[len(asked) + 1])
        return True

    cache = LLMCache(semantic=semantic(judge=judge))
    model = Model(answer=lambda text: "yes", cache=cache)
    ask(cache, lambda text: "yes", QUESTIONS[:2])
    for _ in range(5):
        cache._tiers.semantic.judge.flush(LIMIT)  # type: ignore[union-attr]
    cache.close()
    assert asked == [question(1)]


def test_embeddings_that_ask_a_model_of_the_same_cache_are_not_waited_for() -> None:
    cache = LLMCache(semantic=semantic(Alike(lambda texts: model.invoke(f"passage {texts}"))))
    model = Model(answer=lambda text: "passage", cache=cache, part="inner")
    ask(cache, lambda text: "yes", QUESTIONS[:2])
    assert not cache.stats().errors
    cache.close()


def test_a_question_may_be_found_by_a_model_of_the_same_cache() -> None:
    def found(text: str) -> str:
        return str(models[0].invoke(f"in: {text}").content)

    cache = LLMCache(semantic=semantic(question=found))
    models = [Model(answer=lambda text: question(5), cache=cache, part="inner")]
    ask(cache, lambda text: "yes", QUESTIONS[:2])
    assert len(models[0].asked) == 2
    assert not cache.stats().errors
    cache.close()


@pytest.mark.anyio
async def test_an_answer_is_kept_when_its_caller_leaves_while_it_is_embedded() -> None:
    is_asked, go = threading.Event(), threading.Event()

    def wait(texts: list[str]) -> None:
        is_asked.set()
        go.wait(LIMIT)

    cache = LLMCache(semantic=semantic(Alike(wait), timeout=LIMIT))
    model = Model(answer=lambda text: "yes", cache=cache)
    with options(mode="refresh"):
        call = asyncio.ensure_future(model.ainvoke(question(0)))
    await asyncio.to_thread(is_asked.wait, LIMIT)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    go.set()
    await model.ainvoke(question(0))
    assert model.asked == [question(0)]
    cache.close()


def test_numbers_that_no_decimal_holds_are_no_json() -> None:
    assert not same_answer("1e9999999999999999999", "1")


def test_half_a_character_is_no_question() -> None:
    cache = LLMCache(semantic=semantic(question=lambda text: text + "\ud800"))
    ask(cache, lambda text: "yes", QUESTIONS[:2])
    found = cache.stats()
    assert found.semantic is not None
    assert found.semantic.abstained == {"no_question": 2}
    assert not found.errors
    cache.close()


def test_what_another_function_left_out_of_a_question_is_not_forgotten(tmp_path: Path) -> None:
    def answer(text: str) -> str:
        return "oui" if text.startswith("in French") else "yes"

    def without_language(text: str) -> str:
        return text.removeprefix("in French: ")

    given = semantic(question=without_language)
    with LLMCache(tmp_path / "cache", semantic=given) as cache:
        ask(cache, answer, [f"in French: {each}" for each in QUESTIONS[:6]])
        assert counts(cache)[0]
    with LLMCache(tmp_path / "cache", semantic=semantic()) as cache:
        assert ask(cache, answer, [question(7)]) == ["yes"]


STRICT: dict[str, Any] = {"max_error": 0.1, "confidence": 0.9, "shadow": 1.0}


@pytest.mark.parametrize("is_read_only", [False, True])
def test_a_reset_lasts_where_the_store_takes_no_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_read_only: bool
) -> None:
    monkeypatch.setattr("llmemo.semantic.certification.PAUSE", 0.0)
    given = semantic(**STRICT)
    many = [f"please explain {one} and {other} to me" for one in WORDS for other in WORDS]
    with LLMCache(tmp_path / "cache", semantic=given) as cache:
        ask(cache, lambda text: "yes", many[:60])
        assert cache.stats().semantic.threshold is not None  # type: ignore[union-attr]
    store = SQLiteStore(tmp_path / "cache", read_only=is_read_only)
    with LLMCache(store, semantic=given) as cache:
        ask(cache, lambda text: f"no {text}", many[60:61])
        if not is_read_only:
            monkeypatch.setattr(store.vectors, "amend", full)
        ask(cache, lambda text: f"no {text}", many[61:90])
        assert cache.stats().semantic.threshold is None  # type: ignore[union-attr]


async def full(*_: Any) -> None:
    raise OSError("disk is full")


def test_a_store_in_trouble_makes_no_vector_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with LLMCache(tmp_path / "cache", semantic=semantic()) as cache:
        ask(cache, lambda text: "yes", QUESTIONS[:4])
    store = SQLiteStore(tmp_path / "cache")
    with LLMCache(store, semantic=semantic()) as cache:
        # The vectors are loaded; the answers are in the store alone.
        ask(cache, lambda text: "yes", [question(5)])
        index = cache._tiers.semantic.index  # type: ignore[union-attr]
        before = index.vectors
        for name in ("get", "get_or_acquire"):
            monkeypatch.setattr(store, name, full)
        monkeypatch.setattr(store, "get_in_thread", lambda keys: None)
        with options(mode="only", semantic=True), pytest.raises(CacheMiss):
            ask(cache, lambda text: "yes", [question(6)])
        assert index.vectors == before


def test_rows_that_are_no_questions_are_no_defect(tmp_path: Path) -> None:
    path = tmp_path / "cache"
    with LLMCache(path, semantic=semantic()) as cache:
        ask(cache, lambda text: "yes", QUESTIONS[:6])
    connection = sqlite3.connect(path)
    connection.execute("UPDATE questions SET sealed = 7")
    connection.commit()
    connection.close()
    with LLMCache(path, semantic=semantic()) as cache:
        assert ask(cache, lambda text: "no", QUESTIONS[7:9]) == ["no", "no"]
        assert list(cache.stats().errors) == ["question_not_a_question"]
