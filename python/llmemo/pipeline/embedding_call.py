"""One call of cached embeddings, from the texts that it is given to the vectors in their order."""

from __future__ import annotations

import asyncio
import copy
from typing import TYPE_CHECKING, Any

from llmemo._core import RequestBypassed
from llmemo.concurrency.interrupts import is_interrupt
from llmemo.config.options import DEFAULT, REQUIRED, in_force
from llmemo.keys.request import Request
from llmemo.pipeline.embedding_batch import EmbeddingBatch, WrongAnswer
from llmemo.pipeline.embedding_lookup import EmbeddingLookup
from llmemo.pipeline.embedding_request import TextLookup, embedding_request
from llmemo.pipeline.failures import ASKED_FOR, SURVIVED, count_defect
from llmemo.pipeline.lookup_state import LookupState

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from llmemo.pipeline.embedding_request import EmbeddingRequest, Kind
    from llmemo.pipeline.tiers import Tiers
    from llmemo.store_io.client import MakeCall

    Ask = Callable[[Any], Awaitable[Any]]


class EmbeddingModel:
    """Whose embeddings are cached, and how."""

    def __init__(self, name: str, batch_size: int | None) -> None:
        """`batch_size`: most texts that the provider is asked for at a time; None for all."""
        kinds: tuple[Kind, ...] = ("document", "query")
        self.name = name
        self.batch_size = batch_size
        self._requests = {kind: embedding_request(name, kind, {}, name) for kind in kinds}

    def request(
        self, kind: Kind, parameters: dict[str, Any], namespace: str | None
    ) -> EmbeddingRequest:
        """What is asked of the texts of a call. `namespace`: None for that of the model.

        Raises:
            RequestBypassed: A parameter cannot be told.
        """
        if parameters:
            given = self.name if namespace is None else namespace
            return embedding_request(self.name, kind, parameters, given)
        request = self._requests[kind]
        return request if namespace is None else request._replace(namespace=namespace)


class EmbeddingCall:
    """One call."""

    def __init__(
        self,
        tiers: Tiers,
        model: EmbeddingModel,
        parameters: dict[str, Any],
        make_call: MakeCall,
        ask: Ask,
    ) -> None:
        """Begin.

        Args:
            tiers: Where to look.
            model: Of the embeddings.
            parameters: Of the call, by name.
            make_call: Makes the kind of call that the caller can wait for.
            ask: Asks the provider for the vectors of some texts.
        """
        self._tiers = tiers
        self._model = model
        self._parameters = parameters
        self._make_call = make_call
        self._ask = ask
        self._options = in_force() or DEFAULT

    async def documents(self, texts: Any) -> Any:
        """The vectors of documents, or whatever else the provider makes of them."""
        plain = _plain(texts)
        if plain is None:
            self._not_text()
            return await self._ask(texts)
        return await self._embed("document", plain) if plain else []

    async def query(self, text: Any) -> Any:
        """The vector of a query, or whatever else the provider makes of it."""
        plain = _plain([text])
        if plain is None:
            self._not_text()
            answer = await self._ask([text])
        else:
            answer = await self._embed("query", plain)
        return answer[0]

    async def _embed(self, kind: Kind, texts: list[str]) -> Any:
        tiers = self._tiers
        request = self._request(kind)
        if request is None or self._is_closed(request, texts):
            return await self._ask(texts)
        lookup = EmbeddingLookup(tiers, request, self._options, self._make_call)
        batch: EmbeddingBatch | None = None
        try:
            pending = list(dict.fromkeys(texts))
            if self._options.mode != "refresh":
                pending = await lookup.ask_memory(pending)
            if pending:
                batch = EmbeddingBatch(lookup, self._ask, self._model.batch_size)
                await batch.run(pending)
        except WrongAnswer as wrong:
            answer, asked = wrong.args
            if asked == texts:
                return answer
        except ASKED_FOR:
            raise
        except SURVIVED as error:
            if (batch is not None and batch.has_raised(error)) or is_interrupt(error):
                self._interrupted()
                raise
            count_defect(tiers, error)
        except (asyncio.CancelledError, GeneratorExit):
            raise
        except BaseException:
            self._interrupted()
            raise
        found = lookup.found
        if all(text in found for text in texts):
            return _in_order(texts, found)
        return await self._ask(texts)

    def _request(self, kind: Kind) -> EmbeddingRequest | None:
        """What is asked of the texts; None if the cache has nothing to do with it.

        Raises:
            CacheMiss: That is so, and the caller must not go on without.
            NamespaceRequiredError: The caller has to name a namespace.
        """
        tiers, options = self._tiers, self._options
        if options.mode == "bypass":
            tiers.bypass_requested()
            self._past("requested")
            return None
        namespace = options.namespace
        if namespace is None and tiers.settings.namespace is REQUIRED:
            namespace = tiers.namespace_of(options)
        try:
            return self._model.request(kind, self._parameters, namespace)
        except RequestBypassed as bypass:
            self._past(tiers.bypass(bypass))
            return None

    def _is_closed(self, request: EmbeddingRequest, texts: list[str]) -> bool:
        """Whether the cache is closed: then all texts are misses.

        Raises:
            CacheMiss: That is so, and the caller must not go on without.
        """
        if self._tiers.is_closed:
            for text in texts:
                lookup = TextLookup(self._tiers, request, text, self._options, self._make_call)
                lookup.miss("closed")
        return self._tiers.is_closed

    def _not_text(self) -> None:
        """Count a call whose texts are none: what becomes of it is the provider's business."""
        said = "llmemo: texts to embed are no list of str: they go past the cache"
        self._tiers.tally.note("bypassed", "not_text", said)
        self._past("not_text")

    def _past(self, reason: str) -> None:
        """Note that the call goes past the cache.

        Raises:
            CacheMiss: It must not.
        """
        lookup = LookupState(self._tiers, Request("", ""), self._options, self._make_call)
        lookup.bypass(reason)

    def _interrupted(self) -> None:
        """Give back the leases that are on their way to a call that a signal handler ended."""
        if self._tiers.durable is not None:
            self._tiers.durable.release_unclaimed()


def _plain(texts: Any) -> list[str] | None:
    """The texts as plain str; None if they are something else."""
    if isinstance(texts, (str, bytes)):
        return None
    try:
        found = list(texts)
    except TypeError:
        return None
    if all(type(text) is str for text in found):
        return found
    # A subclass, as numpy has, may be equal to another text.
    is_text = all(isinstance(text, str) for text in found)
    return [str.__str__(text) for text in found] if is_text else None


def _in_order(texts: list[str], found: dict[str, Any]) -> list[Any]:
    """The vectors of the texts: each a list of its own, if a text comes more than once, too."""
    if len(found) == len(texts):
        return [found[text] for text in texts]
    seen: set[str] = set()
    vectors = []
    for text in texts:
        vectors.append(copy.copy(found[text]) if text in seen else found[text])
        seen.add(text)
    return vectors
