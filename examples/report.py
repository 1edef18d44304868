"""A page of what a cache has done: a day of three tenants, simulated in seconds.

    python examples/report.py [report.html]

The clock is the example's own, and so is the model: nothing here needs a network. Open the page in
a browser.
"""

from __future__ import annotations

import argparse
import math
import random
import tempfile
import time
from pathlib import Path
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult

from llmemo import LLMCache, options

DAY = 86_400.0
TENANTS = {"acme": 6, "globex": 3, "initech": 1}
"""Names, and shares of the load."""
PRICES = {"sim-1": (2.5, 10.0)}


class SimulatedModel(BaseChatModel):
    """Answers anything, and says how many tokens that took."""

    model: str = "sim-1"
    temperature: float = 0.0
    user: str | None = None

    @property
    def _llm_type(self) -> str:
        return "simulated"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"model": self.model, "temperature": self.temperature, "user": self.user}

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        asked = len(str(messages[-1].content))
        usage = {"input_tokens": 400 + asked, "output_tokens": 150 + asked % 90}
        message = AIMessage(
            "As far as we know, yes. " * 6,
            usage_metadata={**usage, "total_tokens": sum(usage.values())},
            response_metadata={"model_name": self.model, "finish_reason": "stop"},
        )
        return ChatResult(generations=[ChatGeneration(message=message)])


def load(hour: float) -> float:
    """Calls at this hour, as a part of those at the busiest."""
    return 0.12 + 0.88 * math.pow(max(0.0, math.sin(math.pi * (hour - 6) / 15)), 1.5)


def simulate(cache: LLMCache, now: list[float], calls: int) -> None:
    """Have three tenants ask for a day. The clock of the cache is `now`."""
    random.seed(19)
    model = SimulatedModel(cache=cache)
    begin = now[0]
    tenants, weights = list(TENANTS), list(TENANTS.values())
    times = sorted(
        at
        for at in (random.uniform(0, DAY) for _ in range(4 * calls))
        if random.random() < load(at / 3600) / 1.6
    )
    for number, at in enumerate(times[:: max(1, len(times) // calls)]):
        now[0] = begin + at
        tenant = random.choices(tenants, weights)[0]
        # A few questions are asked often, many seldom.
        question = f"May I return an order after {int(random.paretovariate(0.7))} days?"
        changes: dict[str, Any] = {}
        if tenant == "initech":
            changes["user"] = f"session-{number}"  # which makes every call a miss
        elif at > DAY * 0.6:
            changes["temperature"] = 0.2  # a release, at half past two
        with options(namespace=tenant):
            model.model_copy(update=changes).invoke(question)
    now[0] = begin + DAY


def report(path: Path, calls: int = 3_000) -> Path:
    """Write the report of a simulated day."""
    # Midnight of yesterday, by this machine's zone.
    now = [time.mktime((*time.localtime(time.time() - DAY)[:3], 0, 0, 0, 0, 0, -1))]
    with (
        tempfile.TemporaryDirectory() as folder,
        LLMCache(
            f"{folder}/answers.db",
            max_bytes=2**20,
            ttl=6 * 3600,
            prices=PRICES,
            clock=lambda: now[0],
        ) as cache,
    ):
        simulate(cache, now, calls)
        return cache.report(path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("file", nargs="?", type=Path, default=Path("report.html"))
    print(f"Written: {report(parser.parse_args().file)}")
