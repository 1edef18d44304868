"""LangChain's own unit tests for chat models, on cached clients as on plain ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("langchain_openai")

from langchain_anthropic import ChatAnthropic
from langchain_openai import ChatOpenAI
from langchain_tests.unit_tests import ChatModelUnitTests
from pydantic import SecretStr

from llmemo import LLMCache, cached

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

pytestmark = [pytest.mark.clients]

CACHE = LLMCache()


@pytest.mark.filterwarnings("ignore:Unrecognized structured output method")
class Suite(ChatModelUnitTests):
    @pytest.mark.xfail(reason="there is no snapshot to compare with", strict=True)
    def test_serdes(self, model: BaseChatModel, snapshot: Any) -> None:
        super().test_serdes(model, snapshot)

    @pytest.mark.xfail(reason="it measures a time", run=False)
    def test_init_time(self, benchmark: Any) -> None:
        super().test_init_time(benchmark)


class TestPlain(Suite):
    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatOpenAI

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": "gpt-4o", "api_key": "unused"}

    @property
    def init_from_env_params(self) -> tuple[dict[str, str], dict[str, Any], dict[str, Any]]:
        expected = {"openai_api_key": "key", "openai_api_base": "http://127.0.0.1:1"}
        names = {"OPENAI_API_KEY": "key", "OPENAI_API_BASE": "http://127.0.0.1:1"}
        return names, {"model": "gpt-4o"}, expected


class TestCached(TestPlain):
    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return type(cached(ChatOpenAI(model="m", api_key=SecretStr("unused")), CACHE))


class TestPlainAnthropic(Suite):
    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatAnthropic

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": "claude-3-haiku-20240307", "api_key": "unused"}


class TestCachedAnthropic(TestPlainAnthropic):
    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        plain = ChatAnthropic(model_name="m", api_key=SecretStr("unused"), timeout=1, stop=None)
        return type(cached(plain, CACHE))
