"""A function of AWS Lambda: a file in /tmp for each execution environment, answers of the image."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from langchain_openai import ChatOpenAI

from llmemo import REQUIRED, LLMCache, SQLiteStore, options

IMAGE = Path(os.environ.get("LLMEMO_IMAGE", "/var/task/answers.db"))
FILE = Path(os.environ.get("LLMEMO_PATH", "/tmp/llmemo.db"))

if IMAGE.exists() and not FILE.exists():
    shutil.copy(IMAGE, FILE)  # a closed file, made by VACUUM INTO: it has no WAL
    FILE.chmod(0o600)

# Made once for each environment, outside the handler. Half of /tmp's 512 MB.
cache = LLMCache(SQLiteStore(FILE, max_store_bytes=256 * 2**20), namespace=REQUIRED)
model = ChatOpenAI(model="gpt-5-mini", cache=cache)


def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """Answer a question of a tenant. Without a tenant the cache refuses its calls."""
    with options(namespace=event.get("tenant")):
        answer = model.invoke(event["question"]).text
    return {"answer": answer, "hits": cache.stats().hits, "errors": cache.stats().errors}
