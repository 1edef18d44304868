"""One call of a cached model: what is asked, where it is looked up, and how its answer is kept."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from llmemo._core import ValueRefused
from llmemo.config.options import current
from llmemo.errors import CacheMiss
from llmemo.integrations.cached_model.as_langchain import has_usage, says_why_it_ended
from llmemo.integrations.cached_model.chunks import CHUNKS
from llmemo.integrations.cached_model.replay import Replay
from llmemo.integrations.cached_model.serialize import prompt_of
from llmemo.keys.caller import Caller
from llmemo.keys.request import request_of, unchanged
from llmemo.langchain.model_runs import begin_own
from llmemo.pipeline.failures import ASKED_FOR, SURVIVED, interrupted, survive
from llmemo.pipeline.lookup import at_once, begin, key_of, run
from llmemo.pipeline.update import Recording, keep
from llmemo.single_flight.chunk_log import ChunkLog
from llmemo.single_flight.holding import holds_anything
from llmemo.single_flight.lease import Lease
from llmemo.single_flight.live_streams import is_producing

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from langchain_core.outputs import ChatGeneration, Generation

    from llmemo._core import Recorder
    from llmemo.integrations.cached_model.question import Question
    from llmemo.keys.request import Request
    from llmemo.langchain.model_runs import Run
    from llmemo.pipeline.tiers import Tiers
    from llmemo.single_flight.shared_iterator import SharedIterator
    from llmemo.single_flight.shared_stream import SharedStream
    from llmemo.single_flight.turns import Turns
    from llmemo.store_io.client import MakeCall

RECORDED_MAX = 16 * 2**20
"""Largest recording, in bytes: some million chunks of a word each."""

TELL_ENDS = frozenset({"langchain_anthropic", "langchain_openai"})
"""Packages whose providers tell at the end of each stream why it ended."""


class ModelCall:
    """The way of one question through a cache."""

    def __init__(
        self, tiers: Tiers, question: Question, make_call: MakeCall, *, streams: bool
    ) -> None:
        """Begin, in the context of the caller. `streams`: it wants chunks."""
        self.tiers = tiers
        self.question = question
        asked = question.model, question.options, question.stop, question.messages
        self._caller = Caller(*asked, None, question.traced)
        self._make_call = make_call
        request = self._request = self._asked(prompt_of(question.messages))
        with self._in_its_mode():
            self.lookup = begin(tiers, request, current.get(), make_call)
        self.lookup.wants_recording = streams
        self._own: Run | None = None
        self.has_failed = False
        """Whether a defect of the cache was survived: the model is asked without it."""

    def _asked(self, prompt: str) -> Request:
        request = request_of(self._caller, prompt)
        # What has no key has none in any form.
        return request if request.bypass else self.question.form.request(request)

    def _in_its_mode(self) -> AbstractContextManager[None]:
        watcher = self.tiers.watcher
        return contextlib.nullcontext() if watcher is None else watcher.in_its_mode()

    def new_log(self) -> ChunkLog:
        """An empty log for the chunks of the model."""
        settings, room = self.tiers.settings, RECORDED_MAX
        if self.tiers.durable is None:
            # More would not be kept.
            room = min(room, settings.max_bytes)
        return ChunkLog(room, fresh_ids=settings.fresh_ids, refused=self.refuse)

    def replay(self, hit: Sequence[Generation]) -> Replay:
        """What to replay of a hit."""
        return Replay(hit, self.lookup.recording, is_near=self.lookup.is_near)

    @property
    def is_shared(self) -> bool:
        """Whether other callers may read along, and this one along with others.

        Not where that may wait for itself: inside the answer to another question.
        """
        return (
            self.tiers.flights is not None
            and not self.tiers.is_closed
            and self.lookup.options.mode == "default"
            and not holds_anything()
            and not is_producing.get()
        )

    def at_once(self) -> Sequence[Generation] | None:
        """Memory's answer, if it is there at first sight.

        Raises:
            NamespaceRequiredError: The caller has to name a namespace.
        """
        try:
            return at_once(self.lookup)
        except ASKED_FOR:
            raise
        except SURVIVED as error:
            self._survive(error)
            return None

    async def key(self) -> bytes | None:
        """The key of the question; None if it has none, or it is unknown.

        Raises:
            NamespaceRequiredError: The caller has to name a namespace.
        """
        try:
            return await key_of(self.lookup)
        except ASKED_FOR:
            raise
        except SURVIVED:  # the lookup will say what it is
            return None

    async def find(self) -> Sequence[Generation] | None:
        """The answer, from wherever; or None, and then the caller is to ask the model.

        Raises:
            CacheMiss: There is none, and the caller must not ask the model.
            NamespaceRequiredError: The caller has to name a namespace.
        """
        watcher = self.tiers.watcher
        try:
            hit = await self._found()
        except CacheMiss:
            if watcher is not None:
                # It may have more to say of it.
                watcher.missed(self._request)
            raise
        if hit is None and watcher is not None:
            watcher.missed(self._request)
        return hit

    async def _found(self) -> Sequence[Generation] | None:
        try:
            return await run(self.lookup, ask_memory=not self.lookup.has_asked_memory)
        except ASKED_FOR:
            raise
        except SURVIVED as error:
            self._survive(error)
            return None
        except BaseException as error:
            interrupted(self.tiers, error)
            raise

    async def keep(self, answer: list[ChatGeneration], recording: bytes | None = None) -> None:
        """Keep the model's answer. `recording`: of the stream that brought it."""
        if self.has_failed:
            return
        try:
            request = unchanged(self._request, self._asked(self._request.prompt))
            recorded = None
            if recording is not None:
                recorded = Recording(recording, self._is_for_streams(answer))
            with self._in_its_mode():
                await keep(self.tiers, request, answer, self._make_call, recorded)
            if self.tiers.watcher is not None:
                self.tiers.watcher.kept(request)
        except ASKED_FOR:
            raise
        except SURVIVED as error:
            self._survive(error)
        except BaseException as error:
            interrupted(self.tiers, error)
            raise

    def _is_for_streams(self, answer: list[ChatGeneration]) -> bool:
        """Whether the provider would have said more without a stream: what it costs."""
        return bool(self._providers) and not any(has_usage(each.message) for each in answer)

    @property
    def _providers(self) -> set[str]:
        """The packages that integrate the provider; empty for models of users, and for fakes."""
        packages = {cls.__module__.partition(".")[0] for cls in type(self.question.model).__mro__}
        return {it for it in packages if it.startswith("langchain_")} - {"langchain_core"}

    def begin_run(self) -> None:
        """Stand behind the lease from now on, whatever becomes of the caller's own run."""
        self._own = begin_own(self.question.options)

    def end_run(self, error: BaseException | None) -> None:
        """The model has answered, or failed, or is not asked any more."""
        own = self._own
        if own is None:
            return
        own.end(error)
        # It has ended, but where there is nothing to keep.
        self.let_go()

    def let_go(self) -> None:
        """End the lease, if this call has it: another caller's is left alone."""
        for lease in [] if self._own is None else self._own.dependents():
            lease.end(failed=False)

    def abandon(self, key: bytes | None, stream: SharedStream | SharedIterator) -> None:
        """Leave a stream: the next caller does not wait until the model has closed it."""
        self.let_go()
        if key is not None:
            self.tiers.live.end(key, stream)

    def held_by(self, turns: Turns) -> None:
        """The threads that read the stream have the lease, whichever takes its turn."""
        for lease in [] if self._own is None else self._own.dependents():
            if isinstance(lease, Lease):
                lease.holder = turns

    def go_without(self, reason: str) -> None:
        """Count a call that cannot be cached where it is made.

        Raises:
            CacheMiss: The caller must not ask the model.
        """
        text = "llmemo: requests go past the cache (%s)"
        self.tiers.tally.note("bypassed", reason, text, reason)
        self.lookup.bypass(reason)

    def answer_of(self, recorder: Recorder) -> list[ChatGeneration]:
        """What the chunks of a stream amount to; empty if there is nothing to be kept."""
        question = self.question
        try:
            answer = question.form.answer(recorder, question.model, question.run_manager)
        except SURVIVED as error:
            # LangChain will not be able to put them together, either.
            self._survive(error)
            return []
        if self._tells_ends and not all(map(says_why_it_ended, answer)):
            # A proxy may have closed the line in the middle: to the client that is an end.
            self.refuse(ValueRefused("cut_off"))
            return []
        return answer

    @property
    def _tells_ends(self) -> bool:
        """Whether the provider tells at the end of each stream why it ended."""
        return self.question.form is CHUNKS and not TELL_ENDS.isdisjoint(self._providers)

    def refuse(self, refusal: ValueRefused) -> None:
        """Count a stream that could not be recorded."""
        self.tiers.skip(*refusal.args)
        if self.tiers.flights is not None and self.lookup.key:
            # There is an answer, but it cannot be handed on.
            self.tiers.flights.release(self.lookup.key)

    def count_as_coalesced(self, answer: list[ChatGeneration]) -> None:
        """Count that the answer came of another caller's request."""
        self.lookup.hit(list(answer), "coalesced", "flight", self.tiers.clock())

    def _survive(self, error: BaseException) -> None:
        self.has_failed = True
        survive(self.tiers, error, self._request.prompt, self._request.llm_string)


def call_of(
    tiers: Tiers, question: Question, make_call: MakeCall, *, streams: bool = False
) -> ModelCall | None:
    """The call of a question; None if it cannot be keyed: then the model is asked without a cache.

    Raises:
        CacheMiss: It cannot be keyed, and the caller must not ask the model.
    """
    try:
        return ModelCall(tiers, question, make_call, streams=streams)
    except ASKED_FOR:
        raise
    except SURVIVED as error:
        survive(tiers, error, "", "")
        if tiers.watcher is not None:
            msg = f"a request cannot be keyed ({type(error).__name__})"
            raise CacheMiss(msg) from error
        return None
