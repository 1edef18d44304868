"""Several processes under Prometheus: the figures of this one, in prometheus_client's own metrics.

    caches ── stats() ──► Mirror, once a second ──► Counter, Gauge ──► counter_<pid>.db, mapped
                                                                             │
    one worker is scraped:  MultiProcessCollector ◄── all files of the folder┘

A scrape reaches one worker, and adds up what the files of all have. So each worker must write
without being asked, and before it ends (docs/decisions/metrics.md).
"""

from __future__ import annotations

import logging
import os
import threading
import weakref
from collections import deque
from typing import TYPE_CHECKING, Any, cast

from prometheus_client import Counter, Gauge

from llmemo import lifecycle
from llmemo.concurrency.monkey_patching import patched_by
from llmemo.integrations.watched_caches import LABEL, Watched, WatchedCaches
from llmemo.telemetry.measures import MEASURES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client.metrics_core import Metric

    from llmemo.telemetry.measures import Measure, Reading

    Passed = dict[tuple[str, tuple[str, ...]], float]

logger = logging.getLogger("llmemo")

INTERVAL = 1.0
"""Seconds between two copies: a process that is killed loses the counts of this time."""

LOCK_TIMEOUT = 1.0
"""Seconds to wait for another copy under way. The next one makes up for it."""

MODES = {"sum": "livesum", "min": "livemin", "latest": "livemostrecent"}
"""How the gauges of several live processes are put together: prometheus_client's words."""

NEUTRAL = {"sum": 0.0, "min": 1.0}
"""What a gauge is set to that has no value any more: prometheus_client cannot take one back."""

_mirrors: list[Mirror] = []
"""The one of this process, once there is one: a second would write to the same places."""

_making = threading.Lock()


class Mirror:
    """Copies the figures of caches into metrics that prometheus_client keeps in files.

    A counter is given what was added since the last copy. After a fork the parent passes on what
    was counted before: the child begins with what it counts itself.
    """

    def __init__(self, prefix: str) -> None:
        """Make the metrics; there are no samples yet."""
        self._gone: deque[tuple[Watched, Reading]] = deque()
        self.watched = WatchedCaches(self._gone)
        self._metrics = {measure.name: _metric(prefix, measure) for measure in MEASURES}
        self._passed: weakref.WeakKeyDictionary[Watched, Passed] = weakref.WeakKeyDictionary()
        """What was passed on of each cache, by measure and labels."""
        self._lock = threading.Lock()
        self._is_held = False
        self._stop = threading.Event()
        self._has_warned = False

    def start(self) -> None:
        """Begin to copy, in this process and in those forked from it."""
        self._run()
        lifecycle.has_jobs(self)
        lifecycle.watch()

    def collect(self) -> Iterable[Metric]:
        """The metrics of this process as they are now."""
        self.copy()
        return [family for metric in self._metrics.values() for family in metric.collect()]

    def copy(self) -> None:
        """Bring the metrics up to date."""
        self._copy(is_last=False)

    def finish(self, timeout: float) -> None:  # noqa: ARG002 (it takes no time)
        """Bring them up to date for the last time: the process ends."""
        self._stop.set()
        self._copy(is_last=True)

    def _copy(self, *, is_last: bool) -> None:
        # Never for ever: what a signal handler raises may leave the lock held.
        if not self._lock.acquire(timeout=LOCK_TIMEOUT):
            return
        try:
            while self._gone:
                watched, reading = self._gone.popleft()
                self._pass_on(watched, reading, is_last=True)
            for watched in self.watched:
                reading_now = watched.reading()
                if reading_now is not None:
                    self._pass_on(watched, reading_now, is_last=is_last)
        except Exception as error:  # noqa: BLE001 (the files may be gone, or the disk full)
            self._warn(error)
        finally:
            self._lock.release()

    def _pass_on(self, watched: Watched, reading: Reading, *, is_last: bool) -> None:
        passed = self._passed.setdefault(watched, {})
        for measure in MEASURES:
            metric = self._metrics[measure.name]
            samples = dict(measure.read(reading))
            if measure.kind == "gauge":
                samples = _gauged(measure, samples, passed, is_last=is_last)
            for labels, value in samples.items():
                child: Any = metric.labels(watched.name, *labels)
                if measure.kind == "gauge":
                    child.set(value)
                else:
                    # Not less than nothing: a counter refuses that, and a file has no memory of it.
                    child.inc(max(0.0, value - passed.get((measure.name, labels), 0.0)))
                passed[measure.name, labels] = value

    def _warn(self, error: Exception) -> None:
        if not self._has_warned:
            self._has_warned = True
            text = "llmemo: metrics could not be written for Prometheus (%s)"
            logger.warning(text, type(error).__name__)

    def _run(self) -> None:
        """Start the thread that copies."""
        stop = self._stop = threading.Event()
        thread = threading.Thread(target=self._copy_often, args=(stop,), name="llmemo-metrics")
        thread.daemon = True
        thread.start()

    def _copy_often(self, stop: threading.Event) -> None:
        # At once: prometheus_client begins all gauges of a forked child with 0.
        self.copy()
        while not stop.wait(INTERVAL):
            self.copy()

    # Around a fork.

    def hold(self) -> None:
        """Have no copy under way while the process forks: the child would inherit its locks."""
        self._is_held = self._lock.acquire(timeout=LOCK_TIMEOUT)

    def let_go(self) -> None:
        """Go on, in the parent."""
        if self._is_held:
            self._is_held = False
            self._lock.release()

    def begin_in_child(self) -> None:
        """Begin with what the child counts: the parent passes on what was counted before."""
        self._lock, self._is_held = threading.Lock(), False
        self._gone.clear()
        for watched in self.watched:
            reading = watched.reading()
            if reading is not None:
                passed = self._passed.setdefault(watched, {})
                for measure in MEASURES:
                    passed.update({(measure.name, it): n for it, n in measure.read(reading)})
        # A greenlet goes on in the child.
        if patched_by() is None:
            self._run()
        lifecycle.watch()


def _gauged(
    measure: Measure, samples: dict[tuple[str, ...], float], passed: Passed, *, is_last: bool
) -> dict[tuple[str, ...], float]:
    """The values to set a gauge to: also where it has none any more."""
    neutral = NEUTRAL.get(measure.across)
    found = {} if is_last else dict(samples)
    if neutral is not None:
        for name, labels in passed:
            if name == measure.name:
                found.setdefault(labels, neutral)
    return found


def _metric(prefix: str, measure: Measure) -> Counter | Gauge:
    name, labels = prefix + measure.name, (LABEL, *measure.labels)
    if measure.kind == "counter":
        return Counter(name, measure.help, labels, registry=None)
    mode = cast("Any", MODES[measure.across])
    return Gauge(name, measure.help, labels, registry=None, multiprocess_mode=mode)


def process_mirror(prefix: str) -> Mirror:
    """The mirror of this process, which copies from now on."""
    with _making:
        if not _mirrors:
            mirror = Mirror(prefix)
            mirror.start()
            _mirrors.append(mirror)
        return _mirrors[0]


def _before_fork() -> None:
    for mirror in _mirrors:
        mirror.hold()


def _after_fork_in_parent() -> None:
    for mirror in _mirrors:
        mirror.let_go()


def _after_fork_in_child() -> None:
    global _making  # noqa: PLW0603 (another thread may have held it)
    _making = threading.Lock()
    for mirror in _mirrors:
        mirror.begin_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )
