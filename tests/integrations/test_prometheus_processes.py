"""Several processes under Prometheus: what each of them writes, and when."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.doubles import FAST, HAS_FORK, run

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.skipif(not HAS_FORK, reason="needs fork"), pytest.mark.slow]

FIGURES = """
import contextlib, glob, os, signal, struct, time
from prometheus_client import REGISTRY, CollectorRegistry, Counter
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from llmemo import PrometheusCollector
from llmemo.integrations import prometheus_mirror

FOLDER = os.environ["PROMETHEUS_MULTIPROC_DIR"]

def figure(name, cache="default", **labels):
    registry = CollectorRegistry()
    MultiProcessCollector(registry)
    return registry.get_sample_value("llmemo_" + name, {"cache": cache, **labels})

def misses(cache="default"):
    return figure("lookups_total", cache, outcome="miss", tier="")

def miss(cache, count):
    for n in range(count):
        cache.lookup(f"absent {n}", "m")

def wait_until(is_so):
    for _ in range(1500):
        # A file that another process is just making cannot be read by prometheus_client.
        with contextlib.suppress(struct.error):
            if is_so():
                return
        time.sleep(0.01)
    raise AssertionError("it never came")
"""

FORKS = """
cache = LLMCache(path, store_timeout=60)
miss(cache, 3)
collector = PrometheusCollector(cache)
assert misses() == 3
miss(cache, 4)  # which no copy has seen, before the fork: they are the parent's

child = os.fork()
if not child:
    miss(cache, 10)
    sys.exit()  # by the usual way: the last counts are written
assert os.waitpid(child, 0)[1] == 0
wait_until(lambda: misses() == 17)
assert figure("store_up") == 1, figure("store_up")
mark_process_dead(child)

# multiprocessing ends its children by os._exit, without atexit.
process = multiprocessing.get_context("fork").Process(target=miss, args=(cache, 20))
process.start()
process.join()
wait_until(lambda: misses() == 37)

# One that is killed has written by itself, without an end and without a scrape.
child = os.fork()
if not child:
    miss(cache, 100)
    cache.update("p", "m", answer("p"))
    time.sleep(60)
wait_until(lambda: misses() == 137)
wait_until(lambda: figure("entries") == 1)
assert figure("store_up") == 1
os.kill(child, signal.SIGKILL)
os.waitpid(child, 0)
mark_process_dead(child)
assert figure("entries") == 0
assert misses() == 137

# It copies at once: prometheus_client begins the gauges of a forked child with 0.
prometheus_mirror.INTERVAL = 3600
child = os.fork()
if not child:
    Counter("another", "of the program").inc()
    time.sleep(60)
wait_until(lambda: glob.glob(f"{FOLDER}/gauge_livemin_{child}.db"))
wait_until(lambda: figure("store_up") == 1)
os.kill(child, signal.SIGKILL)
os.waitpid(child, 0)
mark_process_dead(child)

# A registry of one process shows that process.
miss(cache, 1)
labels = {"cache": "default", "outcome": "miss", "tier": ""}
assert REGISTRY.get_sample_value("llmemo_lookups_total", labels) == 8
assert misses() == 138
cache.close()
print("done")
"""

ENDS = """
cache = LLMCache(path)
cache.update("p", "m", answer("p"))
collector = PrometheusCollector(cache)
assert (figure("entries"), figure("store_up"), misses()) == (1, 1, 0)

# Dropped right after it has counted: nothing is lost, and its gauges say so.
miss(cache, 5)
del cache
gc.collect()
wait_until(lambda: misses() == 5)
assert (figure("entries"), figure("store_up")) == (0, 1)

# The name is free again. Its counters go on from there.
other = LLMCache()
collector.add(other, "default")
miss(other, 2)
wait_until(lambda: misses() == 7)
# A collector that is made once more counts nothing once more.
REGISTRY.unregister(collector)
collector = PrometheusCollector(other)
assert list(collector.collect())
assert misses() == 7
other.close()
assert list(collector.collect())
assert misses() == 7

# The folder is gone, or the disk full: nothing of that is in the way.
third = LLMCache()
collector.add(third, "third")
collector._mirror._metrics["lookups"] = None
miss(third, 1)
logging.disable()
collector._mirror.copy()
assert third.stats().misses == 1
print("done")
"""


@pytest.mark.parametrize("program", [FORKS, ENDS], ids=["forks", "ends"])
def test_counters_of_processes(tmp_path: Path, program: str) -> None:
    folder = tmp_path / "metrics"
    folder.mkdir()
    found = run(
        FIGURES + program,
        tmp_path / "c.db",
        python=FAST,
        seconds=5,
        PROMETHEUS_MULTIPROC_DIR=str(folder),
    )
    assert found == {"done"}
