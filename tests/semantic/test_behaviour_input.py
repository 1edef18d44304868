"""What cannot work as `LLMCache(semantic=…)` is refused at once, with what to give instead."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.language_models import FakeListChatModel
from support.doubles import run
from support.near import Meaning, near_cache

from llmemo import ConfigurationError, LLMCache, LLMJudge, Semantic

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (Semantic, "Semantic"),
        (Meaning(), "Semantic"),
        (Meaning, "Semantic"),
        (True, "Semantic"),
        (0.9, "Semantic"),
        ("openai", "Semantic"),
        ({"embeddings": Meaning()}, "Semantic"),
    ],
)
def test_only_settings_are_taken(given: Any, wanted: str) -> None:
    with pytest.raises(ConfigurationError, match=wanted) as caught:
        LLMCache(semantic=given)
    assert isinstance(caught.value, ValueError)
    assert type(given).__name__ in str(caught.value)


@pytest.mark.parametrize("embeddings", [None, Meaning, "text-embedding-3-small", 5, object()])
def test_embeddings_are_an_instance_that_embeds(embeddings: Any) -> None:
    with pytest.raises(ConfigurationError, match="give an instance of LangChain's Embeddings"):
        Semantic(embeddings)


def test_embeddings_are_needed() -> None:
    with pytest.raises(TypeError, match="embeddings"):
        Semantic()  # type: ignore[call-arg]


NOT_NUMBERS: list[Any] = [None, "0.1", True, float("nan"), float("inf"), -0.1, [], 10**400]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("max_error", value) for value in [0, 0.51, 1, 2, *NOT_NUMBERS]),
        *(("confidence", value) for value in [0, 0.49, 1, 95, *NOT_NUMBERS]),
        *(("shadow", value) for value in [0, 1.01, 5, *NOT_NUMBERS]),
        *(("min_score", value) for value in [0, 1, 80, *NOT_NUMBERS]),
        *(("timeout", value) for value in [-1, "1", True, float("nan"), None]),
        *(("judge", value) for value in ["gpt", 5, bool, LLMJudge, lambda one: True]),
        *(("question", value) for value in ["text", 5, str]),
    ],
)
def test_values_that_cannot_work(name: str, value: Any) -> None:
    given: Any = {name: value}
    with pytest.raises(ConfigurationError, match=name) as caught:
        Semantic(Meaning(), **given)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    "given",
    [
        {"max_error": 0.5},
        {"max_error": 1e-9},
        {"confidence": 0.5},
        {"confidence": 0.999999},
        {"shadow": 1},
        {"timeout": datetime.timedelta(seconds=2)},
        {"judge": LLMJudge(FakeListChatModel(responses=["yes"]))},
    ],
)
def test_values_at_their_limits_work(given: Any) -> None:
    with near_cache(semantic=Semantic(Meaning(), **given)) as cache:
        assert cache.lookup("explain tides", "m") is None


def test_settings_take_positional_embeddings_alone() -> None:
    with pytest.raises(TypeError):
        Semantic(Meaning(), 0.05)  # type: ignore[call-arg]


def test_settings_do_not_change() -> None:
    settings: Any = Semantic(Meaning())
    with pytest.raises(AttributeError):
        settings.max_error = 0.4


def test_one_setting_may_serve_two_caches() -> None:
    settings = Semantic(Meaning())
    with LLMCache(semantic=settings) as one, LLMCache(semantic=settings) as other:
        assert one.lookup("explain tides", "m") is other.lookup("explain tides", "m") is None


UNUSED = """
with LLMCache(path) as cache:
    cache.update("p", "m", answer("p"))
    assert cache.lookup("p", "m") == answer("p")
    assert cache.stats().semantic is None
    cache.explain("q", "m")
import llmemo
found = [name for name in sys.modules if name.startswith(("llmemo.semantic.", "numpy"))]
assert not found, found
"""


def test_nothing_is_imported_without_it(tmp_path: Path) -> None:
    run(UNUSED, tmp_path / "cache.db", is_forked=False)
