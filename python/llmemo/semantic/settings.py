"""What semantic lookups are made with, checked."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from llmemo.config.validation import check_seconds
from llmemo.errors import ConfigurationError
from llmemo.semantic.judges import judge_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import timedelta

    from langchain_core.embeddings import Embeddings


@dataclass(frozen=True, eq=False, repr=False)
class Semantic:
    """Settings of semantic lookups, for `LLMCache(semantic=…)`.

    After an exact miss the cache looks for a stored answer to a similar question. It serves none
    at first. It asks the model, and has a judge say whether the stored answer would have done.
    Once these checks bound the part of wrong hits by `max_error`, with `confidence`, similar
    questions are answered from the cache. Checks of a part of the hits go on. If they show that
    the bound no longer holds, the cache serves none again and starts over.

    The bound may be looked at after each check. It is an e-value: a test martingale and Ville's
    inequality (Ville 1939), by betting (Waudby-Smith and Ramdas 2024), for a sequence of score
    thresholds (learn then test, Angelopoulos et al. 2021).

    Limits:
        - *Wrong* is what the judge says. The default judge calls any difference wrong, apart from
          white space and the notation of JSON. Long free text never certifies with it.
        - The bound is an average over all hits of the cache. It does not hold for each tenant.
        - The probability 1 - `confidence` is spent again by each start over.
        - `confidence` assumes that hits resemble the questions that were checked.
        - A user who can add answers can poison a shared semantic cache (arXiv 2601.23088). Give
          each tenant a namespace of its own: namespaces never share an answer.

    Args:
        embeddings: Any embeddings of LangChain's, sync or async. Called on a private thread.
        max_error: Largest part of the hits that may be wrong, above 0 and at most 0.5.
        confidence: Probability that the bound holds, from 0.5 to below 1.
        judge: Says whether a stored answer would have done: a function of (question, stored,
            fresh) or of (stored, fresh), sync or async, that returns True, False, or None for no
            verdict. `LLMJudge(model)` asks a model. None: equal text apart from white space, or
            equal JSON.
        shadow: Part of the hits that the model is asked for all the same, as a check. Above 0 and
            at most 1.
        min_score: Cosine similarity below which no neighbour is considered, between 0 and 1.
        question: Maps the text of the last message to the question in it, or to None if there is
            none to be matched. None: the text is the question.
        timeout: Longest time that a lookup waits for the embeddings, in seconds or as a
            `timedelta`. After that it is a miss. Kept in seconds.

    Raises:
        ConfigurationError: An argument cannot work. It is a `ValueError`.

    Examples:
        >>> from langchain_core.embeddings import DeterministicFakeEmbedding
        >>> from llmemo.semantic.settings import Semantic
        >>> Semantic(DeterministicFakeEmbedding(size=8), max_error=0.05)
        Semantic(DeterministicFakeEmbedding, max_error=0.05)
        >>> Semantic(DeterministicFakeEmbedding(size=8), max_error=5)
        Traceback (most recent call last):
        llmemo.errors.ConfigurationError: max_error=5 is not allowed: give a number above 0, at most 0.5
    """  # noqa: E501 (a message)

    embeddings: Embeddings
    """Makes the vectors of questions."""
    max_error: float = field(default=0.02, kw_only=True)
    """Largest part of the hits that may be wrong."""
    confidence: float = field(default=0.95, kw_only=True)
    """Probability that the bound holds."""
    judge: Callable[..., bool | Awaitable[bool | None] | None] | None = field(
        default=None, kw_only=True
    )
    """Says whether a stored answer would have done; None is the default judge."""
    shadow: float = field(default=0.05, kw_only=True)
    """Part of the hits that are checked."""
    min_score: float = field(default=0.8, kw_only=True)
    """Cosine similarity below which no neighbour is considered."""
    question: Callable[[str], str | None] | None = field(default=None, kw_only=True)
    """Maps a text to its question."""
    timeout: float | timedelta = field(default=1.0, kw_only=True)
    """Longest time that a lookup waits for the embeddings: seconds, once it is checked."""

    def __post_init__(self) -> None:
        """Check."""
        _check_embeddings(self.embeddings)
        for name, (is_allowed, allowed) in _NUMBERS.items():
            value = getattr(self, name)
            is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
            # (NaN is in no range.)
            if not (is_number and is_allowed(value)):
                msg = f"{name}={value!r} is not allowed: give a number {allowed}"
                raise ConfigurationError(msg)
        judge_of(self.judge)
        if self.question is not None and (
            not callable(self.question) or isinstance(self.question, type)
        ):
            msg = (
                f"question={self.question!r} is not allowed: give a function that maps a text to"
                " the question in it, or to None, or None for the text as it is"
            )
            raise ConfigurationError(msg)
        object.__setattr__(self, "timeout", float(check_seconds("timeout", self.timeout)))

    def __repr__(self) -> str:
        """The class of the embeddings, and the settings that are not defaults. No secrets."""
        told = [type(self.embeddings).__name__]
        for name, it in type(self).__dataclass_fields__.items():
            value = getattr(self, name)
            if name != "embeddings" and value != it.default:
                told.append(f"{name}={_told(value)}")
        return f"Semantic({', '.join(told)})"


_NUMBERS: dict[str, tuple[Callable[[float], bool], str]] = {
    "max_error": (lambda value: 0 < value <= 0.5, "above 0, at most 0.5"),
    "confidence": (lambda value: 0.5 <= value < 1, "from 0.5 to below 1"),
    "shadow": (lambda value: 0 < value <= 1, "above 0, at most 1"),
    "min_score": (lambda value: 0 < value < 1, "above 0 and below 1"),
}
"""The allowed values, in code and in words."""


def _check_embeddings(embeddings: object) -> None:
    is_class = isinstance(embeddings, type)
    if not is_class and callable(getattr(embeddings, "embed_documents", None)):
        return
    # Not its `repr`, which may hold secrets.
    kind = embeddings.__name__ if isinstance(embeddings, type) else type(embeddings).__name__
    given = "None" if embeddings is None else f"{'the class ' * is_class}{kind}"
    msg = (
        f"embeddings={given} cannot make vectors: give an instance of LangChain's Embeddings, such"
        " as OpenAIEmbeddings()"
    )
    raise ConfigurationError(msg)


def _told(value: Any) -> str:
    """A number; of a function or a judge no more than its name."""
    if isinstance(value, (int, float)):
        return repr(value)
    name = getattr(value, "__qualname__", None)
    return name if isinstance(name, str) else type(value).__name__
