"""A model of embeddings that notes what it is asked, and answers as a test says."""

from __future__ import annotations

import hashlib
import threading
from array import array
from typing import TYPE_CHECKING, Any

from langchain_core.embeddings import Embeddings

from support.doubles import LIMIT

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence


def vector(text: str, kind: str = "document", size: int = 8) -> list[float]:
    """The vector of a text: of float32, another for a query."""
    digest = hashlib.shake_256(f"{kind} {text}".encode("utf-8", "surrogatepass")).digest(size)
    return array("f", [byte / 7 - 18 for byte in digest]).tolist()


def vectors(texts: Sequence[str]) -> list[list[float]]:
    return [vector(text) for text in texts]


class Embedder(Embeddings):
    """`calls` has the texts of each call; `before` is called with them first, to raise or to wait.

    An async call first waits for `go`, if there is one.
    """

    model = "model-1"

    def __init__(self, before: Callable[[list[str]], object] = lambda texts: None) -> None:
        self.calls: list[list[str]] = []
        self.before = before
        self.go: asyncio.Event | None = None
        self.answer: Callable[[list[str]], Any] = vectors
        """Of documents."""

    @property
    def asked(self) -> list[str]:
        """All texts, in the order in which they were asked for."""
        return [text for call in self.calls for text in call]

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        self.calls.append(texts if isinstance(texts, str) else list(texts))
        self.before(texts)
        return self.answer(texts)  # type: ignore[no-any-return]

    def embed_query(self, text: str) -> list[float]:
        self.calls.append([text])
        self.before([text])
        return vector(text, "query")

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        self.calls.append(list(texts))
        await self._wait()
        self.before(texts)
        return self.answer(texts)  # type: ignore[no-any-return]

    async def aembed_query(self, text: str) -> list[float]:
        self.calls.append([text])
        await self._wait()
        self.before([text])
        return vector(text, "query")

    async def _wait(self) -> None:
        if self.go is not None:
            await self.go.wait()


class Gate:
    """A `before` that holds calls up, in their thread, until it is opened."""

    def __init__(self) -> None:
        self.reached, self.go = threading.Event(), threading.Event()

    def __call__(self, texts: object) -> None:
        self.reached.set()
        assert self.go.wait(LIMIT)
