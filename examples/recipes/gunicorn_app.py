"""A WSGI service under `gunicorn --preload`: one cache, made before the fork."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from langchain_openai import ChatOpenAI

from llmemo import REQUIRED, LLMCache, options

if TYPE_CHECKING:
    from collections.abc import Callable

cache = LLMCache(os.environ.get("LLMEMO_PATH", "cache.db"), namespace=REQUIRED)
model = ChatOpenAI(model="gpt-5-mini", cache=cache)

# The file is open from here on, also when gunicorn forks.
cache.invalidate(older_than=30 * 24 * 3600)


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    """Answer `GET /?q=…` for the tenant that the header names."""
    questions = parse_qs(environ["QUERY_STRING"]).get("q")
    tenant = environ.get("HTTP_X_TENANT")
    if not questions or not tenant:
        start_response("400 Bad Request", [("Content-Type", "text/plain")])
        return [b"Needs ?q= and a header x-tenant.\n"]
    with options(namespace=tenant):
        answer = model.invoke(questions[0]).text
    body = {"answer": answer, "pid": os.getpid(), "hits": cache.stats().hits}
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(body).encode()]
