"""Calibration: labelled pairs of questions, embedded, guarded and counted as checks."""

from __future__ import annotations

import asyncio
import inspect
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from llmemo.errors import CacheClosedError, ConfigurationError
from llmemo.semantic.calibration import check_enough, checked_pairs, report_of
from llmemo.semantic.embedder import packed
from llmemo.semantic.unread import objection
from llmemo.telemetry.progress import ProgressBar

if TYPE_CHECKING:
    import threading
    from collections.abc import Awaitable, Callable, Iterable, Iterator

    from langchain_core.embeddings import Embeddings

    from llmemo.pipeline.tiers import Tiers
    from llmemo.semantic.calibration import CalibrationReport
    from llmemo.semantic.tier import SemanticTier

BATCH = 64
"""Texts of one call of the embeddings."""


def calibrate(
    tiers: Tiers,
    pairs: Iterable[tuple[str, str, bool]],
    progress: Callable[[int, int], object] | None,
    stop: threading.Event | None,
) -> CalibrationReport:
    """Certify near matches by pairs; see `LLMCache.calibrate`. Changes nothing once `stop` is set.

    Raises:
        CacheClosedError: The cache is closed.
        ConfigurationError: It has no semantic tier, or the pairs cannot work.
        Exception: What the embeddings raise.
    """
    if tiers.is_closed:
        msg = "the cache is closed: there is nothing left to calibrate"
        raise CacheClosedError(msg)
    semantic = tiers.semantic
    if semantic is None:
        msg = "calibrate() needs a cache with semantic=: LLMCache(…, semantic=Semantic(embeddings))"
        raise ConfigurationError(msg)
    given = list(checked_pairs(pairs))
    check_enough(semantic.rule, len(given))
    with ProgressBar("embedding questions") as bar:
        texts = list(dict.fromkeys(text for one, other, _ in given for text in (one, other)))
        vectors: dict[str, bytes | None] = {}
        for batch in _batches(texts):
            if stop is not None and stop.is_set():
                break
            vectors.update(zip(batch, _embedded(semantic.settings.embeddings, batch), strict=True))
            (progress or bar)(len(vectors), len(texts))
    scored = list(_scored(semantic, given, vectors))
    if len(scored) < semantic.rule.checks_needed():
        msg = (
            "the embeddings have returned no vector of finite numbers for"
            f" {len(given) - len(scored)} of {len(given)} pairs: too few are left"
        )
        raise ConfigurationError(msg)
    report, certificate = report_of(semantic.rule, scored)
    if stop is None or not stop.is_set():
        semantic.certification.replace(certificate)
    return report


def _embedded(embeddings: Embeddings, texts: list[str]) -> list[bytes | None]:
    """Vectors of some texts, packed; None for what is no vector.

    Raises:
        ConfigurationError: There is not one for each text.
        Exception: What the embeddings raise.
    """
    vectors: Any
    try:
        vectors = embeddings.embed_documents(texts)
    except NotImplementedError:
        vectors = embeddings.aembed_documents(texts)
    if inspect.isawaitable(vectors):
        # Another thread: an event loop may run in this one.
        with ThreadPoolExecutor(1) as pool:
            vectors = pool.submit(asyncio.run, _awaited(vectors)).result()
    try:
        found = list(vectors)
    except TypeError:
        found = []
    if isinstance(vectors, (str, bytes)) or len(found) != len(texts):
        count = f"{len(found)} vectors" if found else f"a {type(vectors).__name__}"
        msg = (
            f"the embeddings have returned {count} for {len(texts)} texts: embed_documents() has"
            " to return a list of vectors, one for each text"
        )
        raise ConfigurationError(msg)
    return [packed(vector) for vector in found]


async def _awaited(vectors: Awaitable[Any]) -> Any:
    return await vectors


def _batches(texts: list[str]) -> Iterator[list[str]]:
    for at in range(0, len(texts), BATCH):
        yield texts[at : at + BATCH]


def _scored(
    semantic: SemanticTier,
    pairs: Iterable[tuple[str, str, bool]],
    vectors: dict[str, bytes | None],
) -> Iterator[tuple[float, bool, str | None]]:
    """For each pair its score, its label, and the guard that refuses it, if one does."""
    for one, other, is_same in pairs:
        asked, stored = vectors.get(one), vectors.get(other)
        if asked is None or stored is None:
            continue
        score = semantic.score(asked, stored)
        against = objection(one, other, score)
        yield score, is_same, None if against is None else against.guard
