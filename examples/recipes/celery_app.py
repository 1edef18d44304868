"""Celery tasks that ask a model: one cache for all workers, a namespace for each tenant."""

from __future__ import annotations

import os
from typing import Any

from celery import Celery, Task
from celery.exceptions import SoftTimeLimitExceeded
from langchain_openai import ChatOpenAI

from llmemo import REQUIRED, LLMCache, options

BROKER = os.environ.get("BROKER_URL", "redis://localhost")

app = Celery("answers", broker=BROKER, backend=BROKER)
cache = LLMCache(os.environ.get("LLMEMO_PATH", "cache.db"), namespace=REQUIRED)
model = ChatOpenAI(model="gpt-5-mini", cache=cache)


class TenantTask(Task):
    """Each call of a task runs in the namespace that its header names."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the task. Without the header the cache refuses its calls."""
        headers = self.request.headers or {}
        with options(namespace=headers.get("tenant")):
            return super().__call__(*args, **kwargs)


@app.task(base=TenantTask, soft_time_limit=30, time_limit=60)
def answer(question: str) -> str:
    """Ask the model, or give up after 30 seconds."""
    try:
        return model.invoke(question).text
    except SoftTimeLimitExceeded:
        return "Please ask again later."
