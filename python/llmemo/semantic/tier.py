"""The semantic tier of a cache: finds near matches, and serves those that are certified.

question ──► vector ──► the nearest of its partition ──► guards ──► certified? ──► serve
                                                                       │ not yet, or a shadow check
                                                                       ▼
                        the model answers anyway ──► the judge compares ──► a verdict counts
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from llmemo._core import VectorIndex, pack_question
from llmemo.concurrency.bounded_dict import note
from llmemo.config.validation import seconds_of
from llmemo.semantic.background_judge import BackgroundJudge
from llmemo.semantic.certification import Certification
from llmemo.semantic.checks import Checks
from llmemo.semantic.embedder import Embedder
from llmemo.semantic.expected import Expected, ExpectedAnswers
from llmemo.semantic.guards.lexicon import lexicon
from llmemo.semantic.identity import identity, identity_of_vectors
from llmemo.semantic.neighbours import Neighbours
from llmemo.semantic.partitions import Partitions
from llmemo.semantic.question import Asked, Rest, partition_for, question_in, text_of_answer
from llmemo.semantic.rule import Rule
from llmemo.semantic.sessions import Sessions
from llmemo.stores.records import StoredQuestion
from llmemo.telemetry.stats import SemanticStats

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Sequence

    from langchain_core.outputs import Generation

    from llmemo._core import Memory
    from llmemo.codec.envelope import Envelope
    from llmemo.semantic.neighbours import Neighbour
    from llmemo.semantic.partitions import Beside
    from llmemo.semantic.settings import Semantic
    from llmemo.store_io.client import MakeCall, StoreClient
    from llmemo.store_io.time_budget import TimeBudget
    from llmemo.telemetry.stats import Tally

INDEX_SHARE = 4
"""Vectors take a fourth of what the entries in memory may take, beside it."""

REPEATS_MAX = 3
"""Near matches that a request is given. The next time the model is asked, for an answer of its own:
a wrong one would come again and again."""

SERVED_MAX = 10_000
"""Requests that were given a near match, of which it is remembered how often."""

INDEX_LEAST = 16 * 2**20
"""Bytes that vectors may take in any case: 30,000 of 384 dimensions."""


class Match(NamedTuple):
    """A similar question that nothing speaks against."""

    neighbour: Neighbour
    is_served: bool
    """Whether its answer is to be served."""


class SemanticTier:
    """Near matches of one cache."""

    def __init__(
        self,
        semantic: Semantic,
        *,
        memory: Memory,
        durable: StoreClient | None,
        envelope: Envelope,
        tally: Tally,
        clock: Callable[[], float],
        beside: Beside,
        max_bytes: int,
        is_rejected: Callable[[bytes, float], bool],
    ) -> None:
        """Start nothing yet.

        Args:
            semantic: The settings.
            memory: Has the answers.
            durable: Has them, too, with their questions.
            envelope: Of the store.
            tally: Counts what happens.
            clock: Unix time in seconds.
            beside: Loads vectors beside the event loop.
            max_bytes: Bound on the entries in memory.
            is_rejected: Whether the answer of a key, made then, was rejected since.
        """
        self.settings, timeout = semantic, seconds_of(semantic.timeout)
        room = max(max_bytes // INDEX_SHARE, INDEX_LEAST)
        self.index = VectorIndex(room)
        self._memory, self._envelope, self._tally = memory, envelope, tally
        self._partitions: Partitions | None = None
        if durable is not None and durable.store.vectors is not None:
            self._partitions = Partitions(
                self.index, durable, envelope, tally, room=room, beside=beside, timeout=timeout
            )
        self._embedder_name = identity_of_vectors(semantic)
        self.embedder = Embedder(semantic.embeddings, timeout, self._note)
        self.judge = BackgroundJudge(semantic.judge, self._note)
        self.rule = Rule(semantic.max_error, semantic.confidence, semantic.min_score)
        self.certification = Certification(self.rule, identity(semantic), durable, envelope)
        self.checks = Checks(semantic, self.certification, self.judge, tally)
        self.neighbours = Neighbours(
            self.index,
            semantic.min_score,
            memory=memory,
            durable=durable,
            envelope=envelope,
            clock=clock,
            is_rejected=is_rejected,
        )
        self._sessions = Sessions()
        # 45 ms, here rather than in the first lookup.
        lexicon("en")
        self._expected = ExpectedAnswers()
        self._served: dict[bytes, int] = {}
        """How often a request, by its key, was given the answer to a similar question."""

    # Lookups.

    def question_in(self, text: str) -> tuple[str | None, str]:
        """What is asked in a text; or None, and why it is not to be compared."""
        return question_in(text, self.settings.question, self._note)

    def rest(self, namespace: str, digest: bytes) -> Rest:
        """All of a request but its question, by a digest of 32 bytes."""
        return Rest(self._memory.label(namespace), digest)

    async def match(
        self,
        rest: Rest,
        question: str,
        key: bytes,
        make_call: MakeCall,
        budget: TimeBudget | None,
        *,
        session: str | None,
        must_serve: bool,
    ) -> Match | None:
        """Look for a similar question. Counts why its answer is not served.

        Args:
            rest: Of the request, without its question.
            question: As `question_in` returns it.
            key: Of the request.
            make_call: Makes the kind of call that the caller can wait for.
            budget: Of the model call's waits for the store; None without a store.
            session: Of the caller.
            must_serve: Whether the model cannot be asked for a check.
        """
        asked = await self.prepared(rest, question, make_call, budget)
        if asked is None:
            self._expected.add(rest, question, None)
            self.abstain("no_vector")
            return None
        given = self._sessions.given(session)
        neighbour, reason = await self.neighbours.nearest(asked, key, given, make_call, budget)
        if neighbour is None:
            self._expected.add(rest, question, Expected(asked))
            self.abstain(reason)
            return None
        is_repeated = self.is_repeated(key)
        decision = self.checks.decide(
            asked.text, neighbour, must_serve=must_serve, is_repeated=is_repeated
        )
        if decision.is_served:
            note(self._served, key, self._served.get(key, 0) + 1, SERVED_MAX)
            self._sessions.add(session, neighbour.key)
        else:
            expected = Expected(asked, decision.check, self.checks.refused)
            self._expected.add(rest, question, expected)
            self.abstain(decision.reason)
        return Match(neighbour, decision.is_served)

    def is_repeated(self, key: bytes) -> bool:
        """Whether a request, by its key, was given near matches often enough."""
        return self._served.get(key, 0) >= REPEATS_MAX

    async def prepared(
        self, rest: Rest, question: str, make_call: MakeCall, budget: TimeBudget | None
    ) -> Asked | None:
        """A question ready to be compared, with all that other processes have found; or None.

        Arguments as for `match`.
        """
        asked = await self._asked(rest, question, make_call)
        if asked is not None and budget is not None:
            if self._partitions is not None:
                await self._partitions.refresh(asked, make_call, budget)
            await self.certification.refresh(make_call, budget)
        return asked

    async def _asked(self, rest: Rest, question: str, make_call: MakeCall) -> Asked | None:
        """A question ready to be compared; None if it has no vector."""
        vector = await self.embedder.vector(question, make_call)
        if vector is None:
            return None
        partition = partition_for(rest, self._embedder_name, vector)
        return Asked(rest.tenant, partition, question, vector)

    # Updates.

    async def expected(self, rest: Rest, question: str, make_call: MakeCall) -> Expected | None:
        """What is known of a question whose answer has come; None if it has no vector.

        Arguments as for `match`.
        """
        if (rest, question) in self._expected:
            return self._expected.pop(rest, question)
        asked = await self._asked(rest, question, make_call)
        return None if asked is None else Expected(asked)

    def learn(
        self,
        expected: Expected,
        key: bytes,
        generations: Sequence[Generation],
        *,
        is_whole: bool,
    ) -> StoredQuestion | None:
        """Learn an answer: what it says of a near match, and that it may be one from now on.

        Returns what is to be stored with it. Only an answer that `is_whole` may be a near match:
        another lacks what only a call without a stream is told.
        """
        asked, text = expected.asked, self.compare(expected, generations)
        if text is None or not is_whole:
            return None
        self.index.add(asked.tenant, asked.partition, key, asked.text, asked.vector)
        if self._partitions is None:
            return None
        packed = pack_question(key, asked.vector, asked.text)
        return StoredQuestion(asked.partition, self._envelope.seal_question(packed, key))

    def compare(self, expected: Expected, generations: Sequence[Generation]) -> str | None:
        """Have an answer say what a near match would have been worth. Returns its text, if plain.

        An answer that is not kept says it, too: what a model refuses has to count.
        """
        text = text_of_answer(generations)
        if expected.check is not None:
            self.checks.compare(expected.check, text)
        return text

    def score(self, one: bytes, other: bytes) -> float:
        """The cosine of two vectors; 0 if their dimensions differ."""
        index = VectorIndex(INDEX_LEAST)
        index.add(bytes(16), bytes(32), bytes(32), "", other)
        return max((score for *_, score in index.search(bytes(32), one, 1, -1.0)), default=0.0)

    def forget(self, keys: Sequence[bytes] | None) -> None:
        """Forget the questions of some keys, or all."""
        if keys is None:
            self.index.clear()
            self._served.clear()
        for key in keys or ():
            self.index.remove(key)

    # The rest.

    def abstain(self, reason: str) -> None:
        """Count an exact miss for which no near match is served."""
        self._tally.count("abstained", reason)

    def stats(self, counts: Counter[str], abstained: dict[str, int]) -> SemanticStats:
        """What near matches have done. Arguments: the counts of this cache."""
        certificate = self.certification.certificate
        return SemanticStats(
            hits=counts["semantic"],
            checks=counts["semantic_checks"],
            wrong=counts["semantic_wrong"],
            threshold=certificate.threshold,
            bound=certificate.bound,
            abstained=abstained,
        )

    def close(self, timeout: float) -> None:
        """Wait for judgements that are under way, for `timeout` seconds at most, and end."""
        self.judge.flush(timeout)
        self.judge.close()
        if self._partitions is not None:
            self._partitions.close()
        self.embedder.close()
        self.index.clear()

    def _note(self, reason: str, message: str, *args: object) -> None:
        self._tally.note("errors", reason, message, *args)
