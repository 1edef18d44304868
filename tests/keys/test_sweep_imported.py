"""Where LangChain's texts say the whole request, the model beside them changes no key.

So an answer that another of LangChain's caches has stored is found once it was imported.
"""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("support.sweep.rows", exc_type=ModuleNotFoundError)

from langchain_core.caches import BaseCache
from langchain_core.load import dumps
from langchain_core.outputs import ChatGeneration, Generation
from support.langchain_files import SCHEMA
from support.sweep.fields import cases
from support.sweep.rows import ROWS
from support.sweep.seeing import fresh, see

from llmemo import LLMCache, track

if TYPE_CHECKING:
    from pathlib import Path

    from support.sweep.server import Loopback

pytest_plugins = ["support.sweep.fixtures"]
# Deprecated classes and settings are swept too, and say so.
pytestmark = [pytest.mark.clients, pytest.mark.filterwarnings("ignore")]

# The classes whose texts are whole, with a default endpoint.
WHOLE = (
    "AzureChatOpenAI",
    "ChatAnthropic",
    "ChatBedrockConverse",
    "ChatGoogleGenerativeAI",
    "ChatGroq",
    "ChatMistralAI",
    "ChatOpenAI",
    "ChatXAI",
    "OpenAI",
)
SET = [None, "temperature", "max_tokens", "stop", "top_p"]


class Recorder(BaseCache):
    """Keeps what it was told, and finds nothing."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.stored: list[tuple[str, str, Any]] = []

    def lookup(self, prompt: str, llm_string: str) -> None:
        self.asked.append((prompt, llm_string))

    def update(self, prompt: str, llm_string: str, return_val: Any) -> None:
        self.stored.append((prompt, llm_string, return_val))

    def clear(self, **kwargs: Any) -> None:
        raise NotImplementedError


def _settings(name: str, field: str | None) -> dict[str, Any] | None:
    """With one field set; None if the class has none of that name."""
    found = [case for case in cases(name) if field in {case.field, case.alias}]
    if field and found:
        return found[0].set(found[0].value)
    return None if field else ROWS[name].settings


@pytest.mark.parametrize("field", SET)
@pytest.mark.parametrize("name", WHOLE)
def test_a_model_that_is_seen_has_the_key_of_its_texts(
    name: str, field: str | None, providers: Loopback
) -> None:
    row, settings = ROWS[name], _settings(name, field)
    if settings is None:
        pytest.skip("the class has no such field")
    recorder = Recorder()
    row.ask(row.cls(**settings, cache=recorder))
    (texts,) = recorder.asked
    model = row.cls(**settings, cache=fresh())
    seen = see(providers, lambda: row.ask(model))
    with track() as tracker:
        fresh().lookup(*texts)
    (bare,) = tracker.events
    assert bare.key
    assert seen.key == bare.key


@pytest.mark.parametrize("name", WHOLE)
def test_an_imported_answer_is_found(name: str, providers: Loopback, tmp_path: Path) -> None:
    row, recorder = ROWS[name], Recorder()
    row.ask(row.cls(**row.settings, cache=recorder))
    ((prompt, llm_string, answers),) = recorder.stored
    path = tmp_path / ".langchain.db"
    with contextlib.closing(sqlite3.connect(path)) as theirs, theirs:
        theirs.executescript(SCHEMA["full_llm_cache"])
        rows = [(prompt, llm_string, at, dumps(each)) for at, each in enumerate(answers)]
        theirs.executemany(
            "INSERT INTO full_llm_cache (prompt, llm, idx, response) VALUES (?, ?, ?, ?)", rows
        )
    with LLMCache() as cache:
        assert cache.import_langchain(path).imported == 1
        providers.requests.clear()
        answer = row.ask(row.cls(**row.settings, cache=cache))
        assert cache.stats().hits == 1
        assert providers.requests == []
    (stored,) = answers
    assert isinstance(stored, (ChatGeneration, Generation))
    assert getattr(answer, "text", answer) == stored.text
