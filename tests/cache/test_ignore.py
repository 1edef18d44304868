"""`LLMCache(ignore=…)`: what the argument takes, and what follows the keys."""

from __future__ import annotations

import asyncio
import pickle
import uuid
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.language_models import FakeListChatModel
from support.counting_model import CountingModel
from support.doubles import answer

from llmemo import ConfigurationError, LLMCache, options
from llmemo.config import ignore

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def llm(**settings: Any) -> str:
    return str(sorted({"model": "m", **settings}.items()))


def ask(model: CountingModel, **bound: Any) -> str:
    return str(model.bind(**bound).invoke("2 + 2?").content)


REFUSED: list[tuple[Any, str]] = [
    ("user", "in a tuple"),
    (b"user", "in a tuple"),
    (None, "in a tuple"),
    ({"user": 1}, "in a tuple"),
    ([1], "is a str"),
    ([""], "dots between"),
    (["a..b"], "dots between"),
    ([".a"], "dots between"),
    ([" user"], "dots between"),
    (["us\ner"], "dots between"),
    (["a" * 257], "dots between"),
    ([".".join("a" * 17)], "dots between"),
    (["\ud800"], "dots between"),
    (["model"], "says what is asked"),
    (["model_name"], "says what is asked"),
    (["messages"], "says what is asked"),
    (["tools"], "says what is asked"),
    (["tools.0"], "says what is asked"),
    (["response_format.json_schema"], "says what is asked"),
    (["stop"], "says what is asked"),
    (["_type"], "says what is asked"),
    (["extra_body.model"], "says what is asked"),
    (["model_kwargs.extra_body.tools"], "says what is asked"),
    (["model_kwargs"], "model_kwargs.user"),
    (["extra_body"], "extra_body.user"),
    (["extra_body.model_kwargs"], "model_kwargs.user"),
    *(([name], "says what is asked") for name in ignore.DECISIVE),
    (["Model"], "says what is asked"),
    (["modelId"], "says what is asked"),
    (["MODEL_KWARGS.model"], "says what is asked"),
    (["extra_body.cachedContent"], "says what is asked"),
    (["MODEL_KWARGS"], "MODEL_KWARGS.user"),
    (["default_headers"], "default_headers.x-request-id"),
    (["model_kwargs.Extra_Headers"], "Extra_Headers.x-request-id"),
    (["client_kwargs.headers"], "client_kwargs.headers.x-request-id"),
    (["default_query"], "default_query.x-request-id"),
]


@pytest.mark.parametrize(("given", "says"), REFUSED)
def test_what_cannot_be_ignored_is_refused_at_construction(given: Any, says: str) -> None:
    with pytest.raises(ConfigurationError, match=r"ignore=.* is not allowed: ") as refused:
        LLMCache(ignore=given)
    assert says in str(refused.value)


@pytest.mark.parametrize("name", ["user", "metadata.thread_id", "default_headers.session_id"])
def test_labels_may_be_ignored(name: str) -> None:
    assert f"ignore=({name!r},)" in repr(LLMCache(ignore=(name,)))


@pytest.mark.parametrize(
    "given", [("user", "b.c"), ["b.c", "user"], {"user", "b.c"}, ("user", "user", "user.x", "b.c")]
)
def test_names_in_any_order_are_one_cache(given: Any, tmp_path: Path) -> None:
    with LLMCache(tmp_path / "cache.db", ignore=("b.c", "user")) as cache:
        cache.update("p", llm(user="a"), answer("kept"))
    with LLMCache(tmp_path / "cache.db", ignore=given) as cache:
        assert cache.lookup("p", llm(user="b")) == answer("kept")


def test_headers_have_no_case_and_other_names_have() -> None:
    cache = LLMCache(ignore=("default_headers.X-Id", "metadata.Id"))
    cache.update("p", llm(default_headers={"x-ID": 1}, metadata={"Id": 1}), answer("kept"))
    assert cache.lookup("p", llm(default_headers={"X-id": 2}, metadata={"Id": 2}))
    assert cache.lookup("p", llm(metadata={"id": 2})) is None


@pytest.mark.parametrize("other", [(), ("user",), ("user", "a", "b"), ("a",)])
def test_caches_that_do_not_ignore_the_same_share_nothing(
    other: tuple[str, ...], tmp_path: Path
) -> None:
    """An answer that was made for one user is none for a cache to which users count."""
    path = tmp_path / "cache.db"
    with LLMCache(path, ignore=("user", "a")) as cache, LLMCache(path, ignore=other) as second:
        for settings in ({}, {"user": "x"}, {"a": 1}):
            cache.update("p", llm(**settings), answer("first"))
            assert second.lookup("p", llm(**settings)) is None
        second.update("p", llm(), answer("second"))
        assert cache.lookup("p", llm()) == answer("first")


def test_removals_find_it_by_any_value(make_cache: Callable[..., LLMCache]) -> None:
    cache = make_cache(ignore=("user",))
    removals: list[Callable[[], object]] = [
        lambda: cache.delete("p", llm(user="c")),
        lambda: cache.invalidate(llm_string=llm(user="c")),
    ]
    for remove in removals:
        cache.update("p", llm(user="a"), answer("kept"))
        assert cache.lookup("p", llm(user="b"))
        assert remove()
        assert cache.lookup("p", llm(user="a")) is None


def test_a_removal_by_model_leaves_what_a_cache_kept_that_does_not_ignore_it(
    tmp_path: Path,
) -> None:
    path = tmp_path / "cache.db"
    with LLMCache(path, ignore=("user",)) as cache, LLMCache(path) as other:
        for each in (cache, other):
            each.update("p", llm(user="a"), answer("kept"))
        assert cache.invalidate(llm_string=llm(user="a")) == 1
        assert other.lookup("p", llm(user="a"))
        assert cache.lookup("p", llm(user="a")) is None
        assert cache.invalidate(namespace="") == 1


def test_thousands_of_request_ids_leave_one_entry() -> None:
    cache = LLMCache(ignore=("metadata.id",))
    cache.update("p" * 100, llm(metadata={"id": "0"}), answer("kept"))
    before = cache.stats().bytes
    for _ in range(2_000):
        assert cache.lookup("p" * 100, llm(metadata={"id": str(uuid.uuid4())}))
    stats = cache.stats()
    assert (stats.entries, stats.hits, stats.misses) == (1, 2_000, 0)
    assert stats.bytes < before + 8 * 1024, "it remembers the last few forms of a request"


def test_a_model_whose_requests_have_ids(make_cache: Callable[..., LLMCache]) -> None:
    model = CountingModel(cache=make_cache(ignore=("request_id",)))
    assert {ask(model, request_id=str(uuid.uuid4())) for _ in range(3)} == {"answer 1"}
    assert ask(model) == "answer 1"
    assert ask(model, seed=1, request_id="1") == "answer 2"


def test_an_object_that_is_ignored_does_not_bypass() -> None:
    model = CountingModel(cache=LLMCache(ignore=("on_token",)))
    assert {ask(model, on_token=object()) for _ in range(2)} == {"answer 1"}


@pytest.mark.anyio
async def test_concurrent_calls_with_ids_of_their_own_are_one_call(tmp_path: Path) -> None:
    async with LLMCache(tmp_path / "cache.db", ignore=("request_id",)) as cache:
        model = CountingModel(cache=cache)
        asked = [model.bind(request_id=str(at)).ainvoke("2 + 2?") for at in range(20)]
        said = {str(it.content) for it in await asyncio.gather(*asked)}
        assert said == {"answer 1"}
        assert len(model.calls) == 1


def test_it_goes_to_another_process_and_is_shown(tmp_path: Path) -> None:
    cache = LLMCache(tmp_path / "cache.db", ignore=("user", "default_headers.X-Id"))
    assert "ignore=('default_headers.x-id', 'user')" in repr(cache)
    made = pickle.dumps(cache)
    cache.update("p", llm(user="a"), answer("kept"))
    cache.close()
    with pickle.loads(made) as other:
        assert other.lookup("p", llm(user="b")) == answer("kept")


def test_nothing_is_ignored_unless_it_is_said() -> None:
    model = FakeListChatModel(responses=["1", "2"], cache=LLMCache())
    assert model.bind(user="a").invoke("x").content == "1"
    assert model.bind(user="b").invoke("x").content == "2"
    with options(namespace="other"):
        assert "ignore" not in repr(LLMCache())
