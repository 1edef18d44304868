"""LangChain's own test suites for caches, on every kind of ours."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from langchain_tests.integration_tests.cache import AsyncCacheTestSuite, SyncCacheTestSuite

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmemo import LLMCache


class TestSync(SyncCacheTestSuite):
    @pytest.fixture
    def cache(self, make_cache: Callable[..., LLMCache]) -> LLMCache:
        return make_cache()


@pytest.mark.anyio
class TestAsync(AsyncCacheTestSuite):
    @pytest.fixture
    def cache(self, make_cache: Callable[..., LLMCache]) -> LLMCache:
        return make_cache()
