"""A service that streams: one cache for all workers, a namespace for each tenant.

    OPENAI_API_KEY=… uvicorn --app-dir examples fastapi_app:app --workers 4

    curl -N -H 'x-tenant: acme' -d '{"question": "Why is the sky blue?"}' \
         -H 'content-type: application/json' localhost:8000/stream

The workers share the file LLMEMO_PATH (by default cache.db). Needs fastapi (0.118), uvicorn and
langchain-openai. OPENAI_BASE_URL and OPENAI_MODEL are as for the demo.
"""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends, FastAPI, Header, Request
from fastapi.responses import StreamingResponse
from langchain_openai import ChatOpenAI
from pydantic import BaseModel

from llmemo import REQUIRED, LLMCache, cached, options

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Question(BaseModel):
    """What is asked."""

    question: str


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Open the cache in each worker, after the fork; close it, so that no write is lost."""
    path = os.environ.get("LLMEMO_PATH", "cache.db")
    async with LLMCache(path, namespace=REQUIRED) as cache:
        name = os.environ.get("OPENAI_MODEL", "gpt-5.4-nano")
        app.state.cache = cache
        app.state.model = cached(ChatOpenAI(model=name, stream_usage=True), cache)
        yield


async def tenant(x_tenant: Annotated[str, Header()]) -> AsyncIterator[str]:
    """Put the tenant's namespace in force for the request.

    It has to be `async def`: FastAPI runs a `def` dependency in a thread, in a context of its own,
    and the namespace would stay there. The block lasts until a streamed answer is sent (FastAPI
    0.118 or later).
    """
    with options(namespace=x_tenant):
        yield x_tenant


app = FastAPI(lifespan=lifespan)
Tenant = Annotated[str, Depends(tenant)]


@app.post("/chat")
async def chat(question: Question, request: Request, _: Tenant) -> dict[str, str]:
    """Answer at once."""
    answer = await request.app.state.model.ainvoke(question.question)
    return {"answer": answer.text}


@app.post("/stream")
async def stream(question: Question, request: Request, _: Tenant) -> StreamingResponse:
    """Answer word by word; a hit, too."""
    chunks = request.app.state.model.astream(question.question)

    async def words() -> AsyncIterator[str]:
        async for chunk in chunks:
            yield chunk.text

    return StreamingResponse(words(), media_type="text/plain")


@app.get("/stats")
async def stats(request: Request) -> dict[str, int]:
    """What the cache of this worker has done."""
    found = request.app.state.cache.stats()
    return {"hits": found.hits, "misses": found.misses, "coalesced": found.coalesced}
