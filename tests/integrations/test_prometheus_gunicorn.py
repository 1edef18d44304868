"""Four workers of gunicorn: the counters of each agree with what a model server was asked."""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pytest
from support import TESTS
from support.doubles import LIMIT, ROUNDS
from support.servers import free_port, wait_until
from support.stream_server import Ask, StreamServer, Turn, turn_of

pytest.importorskip("gunicorn")

from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.parser import text_string_to_metric_families

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.clients, pytest.mark.slow, pytest.mark.process]

WORKERS = 4
CALLS = 240 if ROUNDS == 1 else 10_000
KINDS = ("invoke", "ainvoke", "stream", "astream", "bypass", "raw")
CONFIG = """
from prometheus_client import multiprocess

def child_exit(server, worker):
    multiprocess.mark_process_dead(worker.pid)
"""

Key = tuple[str, tuple[tuple[str, str], ...]]


def turn(ask: Ask) -> Turn:
    """What the model says; to some it answers that it is out of order."""
    if "fail" in ask.text:
        return Turn(error=(500, "server_error"))
    return turn_of(ask)


class Service:
    """The program under gunicorn, and the folder of its counters."""

    def __init__(self, folder: Path, model: StreamServer) -> None:
        self.folder = folder / "metrics"
        self.folder.mkdir()
        self.port = free_port()
        self.model = model
        config = folder / "config.py"
        config.write_text(CONFIG)
        environment = {
            **os.environ,
            "CACHE": str(folder / "cache.db"),
            "MODEL_URL": model.url,
            "PROMETHEUS_MULTIPROC_DIR": str(self.folder),
            "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path]),
        }
        options = ["--preload", "--workers", str(WORKERS), "--worker-class", "gthread"]
        options += ["--threads", "4", "--bind", f"127.0.0.1:{self.port}", "--config", str(config)]
        options += ["--log-level", "warning", "--no-control-socket"]
        command = [sys.executable, "-m", "gunicorn", *options, "support.metered_app:app"]
        self.process = subprocess.Popen(command, env=environment)
        wait_until(lambda: self.get("/healthz"), "gunicorn serves", LIMIT)

    def get(self, path: str) -> bytes:
        """A page, by a connection of its own: any worker may accept it."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=LIMIT)
        try:
            connection.request("GET", path, headers={"connection": "close"})
            answer = connection.getresponse()
            assert answer.status == 200, answer.read()
            return answer.read()
        finally:
            connection.close()

    def call(self, kind: str, text: str, namespace: str) -> dict[str, Any]:
        query = urlencode({"kind": kind, "text": text, "namespace": namespace})
        found: dict[str, Any] = json.loads(self.get(f"/call?{query}"))
        return found

    def counters(self, pid: int) -> dict[Key, float]:
        """What one worker has written, without asking it."""
        files = [str(path) for path in self.folder.glob(f"counter_{pid}.db")]
        metrics: Any = MultiProcessCollector.merge(files)  # type: ignore[no-untyped-call]
        return samples(metrics)

    def scraped(self) -> dict[Key, float]:
        """What a scrape shows."""
        return samples(text_string_to_metric_families(self.get("/metrics").decode()))

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(LIMIT) == 0


def samples(metrics: Any) -> dict[Key, float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for metric in metrics
        for sample in metric.samples
        if sample.value and not sample.name.endswith("_created")
    }


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with StreamServer(turn) as model:
        made = Service(tmp_path, model)
        try:
            yield made
        finally:
            if made.process.poll() is None:
                made.process.kill()
                made.process.wait(LIMIT)


class Ledger:
    """What the client knows of each worker: from the answers to its own requests."""

    def __init__(self) -> None:
        self.expected: dict[int, Counter[Key]] = {}

    def note(self, kind: str, answer: dict[str, Any]) -> None:
        pid = answer["pid"]
        counted = self.expected.setdefault(pid, Counter())
        assert len(answer["events"]) == 1, (kind, answer)
        for outcome, tier, sent, made, money in answer["events"]:
            labels = (("cache", "app"), ("outcome", outcome), ("tier", tier))
            counted["llmemo_lookups_total", labels] += 1
            for name, tokens in (("input", sent), ("output", made)):
                counted["llmemo_saved_tokens_total", (("cache", "app"), ("type", name))] += tokens
            counted["llmemo_saved_money_total", (("cache", "app"),)] += money

    def asked(self, pid: int) -> int:
        """How often a worker must have asked the model: at each miss, and where it went past."""
        outcomes = {dict(labels).get("outcome"): 0 for _, labels in self.expected[pid]}
        for (name, labels), count in self.expected[pid].items():
            if name == "llmemo_lookups_total":
                outcomes[dict(labels)["outcome"]] += int(count)
        return outcomes.get("miss", 0) + outcomes.get("bypass", 0)


SHOWN = ("llmemo_lookups_total", "llmemo_saved_tokens_total", "llmemo_saved_money_total")


def shown(found: dict[Key, float]) -> dict[Key, float]:
    """The samples that a ledger knows of."""
    return {key: round(value, 6) for key, value in found.items() if key[0] in SHOWN}


def known(counted: Counter[Key]) -> dict[Key, float]:
    return {key: round(value, 6) for key, value in counted.items() if value}


def test_counters_agree_with_the_model_server_in_each_worker_and_in_all(service: Service) -> None:
    dice, ledger = random.Random(7), Ledger()
    calls = []
    for number in range(CALLS):
        text = f"question {dice.randrange(CALLS // 6)}"
        if not number % 25:
            text = f"fail {number}"
        calls.append((dice.choice(KINDS), text, dice.choice(["a", "b"])))

    def make_all(some: list[tuple[str, str, str]]) -> None:
        with ThreadPoolExecutor(8) as pool:
            answers = pool.map(lambda one: service.call(*one), some)
            for (kind, *_), answer in zip(some, answers, strict=True):
                ledger.note(kind, answer)

    def agree(pid: int) -> bool:
        return shown(service.counters(pid)) == known(ledger.expected[pid])

    make_all(calls[:-40])
    assert len(ledger.expected) == WORKERS
    # None of them was scraped: each writes by itself.
    wait_until(lambda: all(agree(pid) for pid in ledger.expected), "each worker writes")
    total: Counter[Key] = sum(ledger.expected.values(), Counter())
    scraped = service.scraped()
    assert shown(scraped) == known(total)
    one = (("cache", "app"),)
    assert scraped["llmemo_store_up", one] == 1
    # The store's thread looks at its files about once a second.
    size = ("llmemo_store_bytes", one)
    wait_until(lambda: service.scraped().get(size, 0) > 0, "the store's size is known")
    assert scraped["llmemo_entries", one] >= len({(text, n) for _, text, n in calls[:-40]}) / 2
    assert not {key for key in scraped if dict(key[1]).get("reason") == "internal"}
    # And at their end, at once after the last calls.
    make_all(calls[-40:])
    service.stop()
    for pid, counted in ledger.expected.items():
        assert shown(service.counters(pid)) == known(counted)  # as `agree`, with a difference
        assert service.model.callers[str(pid)] == ledger.asked(pid)
    assert sum(service.model.callers.values()) == sum(map(ledger.asked, ledger.expected))
    live = {path.stem.rpartition("_")[2] for path in service.folder.glob("gauge_live*")}
    assert not live & set(map(str, ledger.expected))
