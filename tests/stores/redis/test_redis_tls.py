"""Through TLS: nothing is left open."""

from __future__ import annotations

import asyncio
import gc
import warnings

import pytest
from langchain_core.outputs import Generation
from support.redis_server import Server

from llmemo import LLMCache


@pytest.mark.slow
@pytest.mark.usefixtures("certificates_are_read")
def test_no_connection_through_tls_is_left_open_after_close() -> None:
    async def use(url: str) -> None:
        async with LLMCache(url, max_bytes=0, store_timeout=10.0) as cache:
            await cache.aupdate("p", "m", [Generation(text="x")])
            assert await cache.alookup("p", "m") is not None

    with Server(tls=True) as server, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        asyncio.run(use(server.tls_url()))
        gc.collect()
    assert [str(one.message) for one in caught if "unclosed" in str(one.message)] == []
