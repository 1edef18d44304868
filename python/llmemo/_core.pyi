"""Native core of llmemo: requests to keys, keys to entries, answers to bytes and back."""

import builtins
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import FrameType
from typing import (
    Any,
    Final,
    Literal,
    Protocol,
    SupportsFloat,
    SupportsIndex,
    final,
    overload,
    type_check_only,
)

from langchain_core.outputs import Generation

__all__ = [
    "LARGE",
    "OUTLINE_DIGEST",
    "Counts",
    "Describer",
    "Dumps",
    "Entry",
    "FlightTable",
    "Insisting",
    "Memory",
    "MemoryCounts",
    "PanicException",
    "Playback",
    "Recorder",
    "RequestBypassed",
    "Rows",
    "Snapshot",
    "Snapshots",
    "ValueDamaged",
    "ValueRefused",
    "ValueUnknown",
    "VectorIndex",
    "__version__",
    "announce_rows",
    "compress",
    "decode",
    "decompress",
    "encode",
    "entries",
    "fold_digests",
    "largest_namespaces",
    "leak",
    "memory_history",
    "pack_question",
    "pack_vector",
    "prepare",
    "recording_of",
    "seed_ids",
    "settings",
    "take_apart",
    "unpack_question",
]

__version__: Final[str]

LARGE: Final[int]
"""An answer of more bytes, or a prompt of more characters, is not worked on in the thread of an
event loop."""

OUTLINE_DIGEST: Final[int]
"""Bytes of a digest in an outline."""

class RequestBypassed(Exception):
    """A request that does not determine what is asked: it must not be cached.

    Arguments: the reason (a short name), and the parameter it stands in, or None.
    """

class ValueRefused(Exception):
    """An answer that cannot be encoded without loss.

    Arguments: the reason (a short name, one of a fixed set); then, if it is a type, its name.
    """

class ValueDamaged(Exception):
    """Stored bytes that are not the answer asked for; its only argument is the reason."""

class ValueUnknown(ValueDamaged):
    """Stored bytes that may be whole, but that this process cannot read: another one might.

    They are of another version, or hold instances of a class that is not loaded here, or not the
    same. A store must not remove them.
    """

class PanicException(BaseException):
    """A panic in Rust: a defect. Not an Exception, so it has to be named to be caught."""

@final
class Dumps:
    """`langchain_core.load.dumps` for lists of messages, to the same bytes.

    Knows the message and generation classes of langchain-core and the types that JSON has, by exact
    type. A list with anything else in it, or deeper than 200 levels, goes to the function that
    this one stands in for. Thread-safe.
    """

    def __new__(cls, own: Callable[..., str], *, escapes: bool) -> Dumps:
        """In the place of `own`.

        Args:
            own: Gets what is not known here, and raises what there is to raise.
            escapes: Whether `own` marks dicts that look like LangChain's objects but are not.
        """

    def __call__(self, obj: object, **kwargs: Any) -> str:
        """`own(obj, **kwargs)`, without calling it where the outcome is known."""

    def stop(self) -> None:
        """From now on pass everything on, and count nothing."""

    @property
    def handled(self) -> int:
        """Calls that were answered here."""

    @property
    def fallbacks(self) -> int:
        """Calls that `own` answered."""

@final
class Insisting:
    """A function that is called once more if it raises; then the first error is raised.

    For what must not be left half done: an exception that a signal handler raises comes between any
    two instructions, before the first one of a Python function, too. There is none of Python's in
    here. The function has to be one that goes on where it was left, and has no effect once it has
    done its work.
    """

    def __new__(cls, function: Callable[..., object]) -> Insisting:
        """Stand in for `function`, which may be a method: it is bound as that is."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call it."""

    def __get__(self, instance: object, owner: Any = None, /) -> Insisting:
        """The same of a method that is bound."""

@final
class Counts:
    """Counters, each of whose methods is one step: neither interrupted nor mixed with others'."""

    def __new__(cls, reasons_max: int, other: str) -> Counts:
        """All are zero. Beyond `reasons_max` reasons of a group all others count as `other`."""

    def add(self, name: str, count: int) -> None:
        """Add to a plain count."""

    def hit(self, name: str, worth: tuple[int, int, float], now: float) -> None:
        """Add one to a plain count; and to what was saved: tokens sent, tokens made, money.

        `now`: Unix time in seconds, for `history`.
        """

    def miss(self, reason: str, count: int, now: float) -> None:
        """Add to the plain count `misses`, and to the group `missed` by reason. `now`: as above."""

    def history(self) -> list[tuple[float, list[tuple[float, tuple[int, int, int, int, float]]]]]:
        """What `hit` and `miss` counted, over time: see `memory_history`.

        Of each bucket: hits, misses, tokens sent, tokens made, money.
        """

    def note(self, group: str, reason: str, count: int) -> str:
        """Add to a count of a group by reason. Returns what that counts as."""

    def is_due(self, reason: str, now: float, interval: float) -> bool:
        """Whether nothing was said of a reason for so many seconds; then that is noted as now."""

    def snapshot(
        self,
    ) -> tuple[dict[str, int], tuple[int, int, float], dict[str, dict[str, int]]]:
        """Copies of the plain counts, of what was saved, and of the counts by group and reason."""

@final
class FlightTable:
    """Who computes the answers to requests (by key), and who waits for them: see `flight`.

    Each method is one step, as with `Counts`: no lock is needed, and none can stay held. Leases are
    held weakly, and known by numbers that are never used again. What is to be told to whom is added
    to lists of `outcomes`, since what a method returns may be lost.
    """

    def __new__(cls, lost: Callable[[bytes, int], object]) -> FlightTable:
        """Nobody computes anything.

        `lost` is called with key and number of a lease that nothing refers to any more, and that
        had not ended.
        """

    def __contains__(self, key: bytes, /) -> bool:
        """Whether somebody has the lease of a key."""

    def lead(self, key: bytes, number: int, lease: Any) -> Any:
        """Note a lease, and return it; None if there is one of this key."""

    def join(self, key: bytes, call: Any) -> Any:
        """Have a call wait for what is computed, and return it; None if nobody does."""

    def leave(self, key: bytes, call: object) -> None:
        """Have it wait no more."""

    def lease(self, key: bytes) -> Any:
        """The lease of a key; None if there is none, or it is gone."""

    def failures(self, key: bytes, number: int) -> int | None:
        """How many in a row have failed before this lease; None if it is not the key's."""

    def pass_on(
        self,
        key: bytes,
        number: int,
        failures: int,
        next: tuple[int, object] | None,
        outcomes: list[Any],
    ) -> None:
        """End a lease, unless it is not the key's.

        Adds to `outcomes` that the call that waits longest has the `next` one (by its number); or,
        if that is None, that all go on without. Sets `has_ended` of what is none any more, the next
        one included if nobody was there to have it.
        """

    def take_over(self, key: bytes, number: int, call: object, next: int, lease: Any) -> Any:
        """Give a lease that has not ended to a call that waits for it.

        Returns the lease in its place, of the number `next`; None if it was not the key's any more,
        or that call does not wait. Sets `has_ended` of the old one.
        """

    def is_first(self, key: bytes, call: object) -> bool:
        """Whether a call waits longest."""

    def close(self, key: bytes, result: object, outcomes: list[Any]) -> None:
        """End the lease of a key, if it has one, and give the result to all calls that wait."""

    def close_unawaited(self, key: bytes, number: int | None = None) -> bool:
        """End the lease of a key, if it has one (and that has this number).

        Returns False, with nothing done, if calls wait for it.
        """

    def waiting(self) -> dict[bytes, list[Any]]:
        """The calls that wait, by key, of all that are computed."""

@type_check_only
class Asked(Protocol):
    """A request as `Memory` names it; `llmemo.keys.request.Request` is one."""

    @property
    def prompt(self) -> str:
        """What is asked."""

    @property
    def llm_string(self) -> str:
        """LangChain's description of the model and the call."""

    @property
    def supplement(self) -> bytes | None:
        """What the model object says that the texts do not.

        None if the object was not seen: an `llm_string` that is known to say too little is then a
        bypass.
        """

    @property
    def is_text(self) -> bool:
        """Whether the prompt is a completion model's: text, even if it looks like messages."""

    @property
    def objects(self) -> bool:
        """Whether `supplement` says what the objects in the prompt hold.

        They count by their type alone then, and none is a bypass.
        """

@final
class Memory:
    """The memory tier: requests to values, bounded, least recently used out first.

    Over a bound on all of them it is the largest namespace that lets go of its own.

    A request is served only if it is equal to the one that was stored, whatever their hashes.
    All methods are thread-safe and brief; strings may hold lone surrogates.
    """

    def __new__(
        cls,
        max_bytes: int,
        max_entries: int | None = None,
        *,
        namespace_max_bytes: int | None = None,
        fingerprint_secret: bytes,
        secret: bytes | None = None,
        fresh_ids: bool = False,
        grace: float = 0.0,
        mark: str = "",
        prices: Mapping[str, tuple[float, float]] | None = None,
        clock: Callable[[], float] | None = None,
        models_seen: Snapshots | None = None,
        ignore: Sequence[str] = ...,
    ) -> Memory:
        """An empty tier.

        Args:
            max_bytes: Bound on values, requests and bookkeeping, in bytes.
            max_entries: Bound on their number, or None.
            namespace_max_bytes: Bound on those of each namespace, in bytes, or None.
            fingerprint_secret: XXH3's secret, random in each process; 136 bytes or more.
            secret: Keys the durable keys, or None.
            fresh_ids: Give messages new ids in each lookup; see `decode`.
            grace: Seconds for which an entry that has expired stays, for `stale`.
            mark: What comes after this in an llm_string is not part of it, for `invalidate`.
            prices: See `worth`.
            clock: Returns Unix time in seconds, or None for the system's.
            models_seen: What `recall` knows models by.
            ignore: Names of settings that do not count in keys, in a fixed order.

        Raises:
            ValueError: `fingerprint_secret` is too short.
        """

    def recall(
        self,
        frame: FrameType,
        prompt: str,
        llm_string: str,
        namespace: str,
        at_once: bool = False,
    ) -> list[Generation] | Literal[False] | None:
        """As `lookup`, for what is asked from a frame; False if that takes a closer look.

        See `Snapshots.name`.
        """

    @overload
    def lookup(
        self,
        prompt: str,
        llm_string: str,
        namespace: str,
        at_once: Literal[False] = False,
        *,
        streams: bool = False,
    ) -> list[Generation] | None:
        """Fresh objects of the answer kept for exactly this request, or None.

        None, too, for a caller that is to refresh the answer before it expires: see `put`.
        `streams`: the caller replays a stream, and gets answers for streams only (see `encode`).
        """

    @overload
    def lookup(
        self,
        prompt: str,
        llm_string: str,
        namespace: str,
        at_once: Literal[True],
        *,
        streams: bool = False,
    ) -> list[Generation] | Literal[False] | None:
        """The same if neither prompt nor answer is `LARGE`; otherwise False, and no hit."""

    def lookup_key(
        self, prompt: str, llm_string: str, namespace: str, key: bytes, *, streams: bool = False
    ) -> list[Generation] | None:
        """As `lookup`, for a request of this key that may have been asked in another form.

        Answers until it expires, whoever is to make it anew.
        """

    def stale(
        self, prompt: str, llm_string: str, namespace: str, key: bytes
    ) -> list[Generation] | None:
        """As `lookup_key`, of an entry that may have expired, within `grace`. No hit is counted."""

    def known(self, prompt: str, llm_string: str, namespace: str) -> bytes | None:
        """The key of the entry that `lookup` would answer from, or None. Not a use of it."""

    def about(self, key: bytes) -> tuple[float, float | None, bool] | None:
        """When an entry was made, when it expires, and whether `lookup` may refuse it by now.

        Unix times in seconds; `expires` to the microsecond. None if there is no such entry, or it
        expired longer ago than `grace`. Not a use of it.
        """

    def key(
        self, request: Asked, namespace: str, schemas: Mapping[str, bytes] | None = None
    ) -> bytes:
        """The request's durable name: 32 bytes, the same in every process (docs/keys.md).

        Args:
            request: What is asked.
            namespace: On whose behalf.
            schemas: By the name of a class, as its repr has it, a digest (32 bytes) of what it
                holds; for classes that `llm_string` names.

        Raises:
            RequestBypassed: It does not say what is asked.
        """

    def partition(
        self, request: Asked, namespace: str, schemas: Mapping[str, bytes] | None = None
    ) -> tuple[bytes, str] | None:
        """The request's partition for semantic lookups, and its question (docs/keys.md).

        Requests share a partition exactly if they differ in their question only. Arguments as for
        `key`.

        Returns:
            The partition (32 bytes, the same in every process, never equal to a key) and the
            question. The question is the text of the last message, or a completion model's prompt.
            None if there is no question: the last message is not a human's, its content is not
            plain text or is empty, or a surrogate in it is alone.

        Raises:
            RequestBypassed: The request has no key, and so no partition.
        """

    def seek(
        self, request: Asked, namespace: str, schemas: Mapping[str, bytes] | None = None
    ) -> tuple[bytes, int | None]:
        """For a request that `lookup` did not find: its `key`, and the `epoch` of that.

        Arguments as for `key`.

        No epoch if there is an entry of the key: the request may have been asked in another form,
        or its answer may have expired, or be due. `about` and `lookup_key` tell.

        Raises:
            RequestBypassed: It does not say what is asked.
        """

    def outline(
        self,
        request: Asked,
        namespace: str,
        schemas: Mapping[str, bytes] | None = None,
        *,
        tail: int,
    ) -> bytes:
        """Short digests of the request's parts, as `rust/request/outline.rs` lays them out.

        Args:
            request: What is asked. A supplement that is not empty is a setting named `supplement`.
            namespace: On whose behalf; not part of an outline.
            schemas: As for `key`.
            tail: How many messages have a digest of their own, at most: the last ones.

        Raises:
            RequestBypassed: It does not say what is asked.
        """

    def describe(
        self,
        request: Asked,
        namespace: str,
        schemas: Mapping[str, bytes] | None = None,
        *,
        tail: int,
    ) -> tuple[bytes, bytes, bytes]:
        """`key`, `label` of `llm_string`, and `outline`: what it takes to write a record.

        Arguments as for `outline`.

        Raises:
            RequestBypassed: It does not say what is asked.
        """

    def size(self, key: bytes) -> int:
        """Bytes of the value of this key, expired or not; 0 if there is none. Not a use of it."""

    def recording(self, key: bytes) -> bytes | None:
        """The recording in the value of this key; None if there is none. Not a use of it."""

    def use_value(self, key: bytes) -> bytes | None:
        """The value of this key; None if there is none, or it has expired.

        A use of it, though no hit is counted: the caller asked for another request.
        """

    def holds(self, key: bytes) -> bool:
        """Whether there is an entry of this key, and it has not expired. Not a use of it."""

    def recent(
        self, namespace: str, max_entries: int, max_bytes: int
    ) -> list[tuple[bytes, bytes, bytes | None]]:
        """What a namespace has asked, the most recently used first, expired ones among them.

        Key, llm_string, and prompt unless it was too long to be kept; texts in UTF-8,
        surrogatepass. At most `max_entries`, and the list ends with the one that makes it more than
        `max_bytes` of text.
        """

    def label(self, text: str) -> bytes:
        """A short digest (16 bytes) of a namespace, for grouping records."""

    def llm_label(self, llm_string: str) -> bytes:
        """The same of an llm_string, by what it says: requests of one key have one label."""

    def put(
        self,
        prompt: str,
        llm_string: str,
        namespace: str,
        key: bytes,
        value: bytes,
        *,
        expires: float | None = None,
        created: float | None = None,
        early: float = 0.0,
        worth: tuple[int, int, float] | None = None,
    ) -> bool:
        """Keep a value. Returns whether it was kept: it may be the one that has to go.

        Args:
            prompt: What is asked.
            llm_string: Of whom, and how.
            namespace: On whose behalf.
            key: The request's key.
            value: What `encode` made for it.
            expires: Unix time in seconds from which on it is not served, or None.
            created: Unix time in seconds at which the answer was made, or None for now.
            early: Seconds that it takes to make another, times a factor: the nearer its end, the
                more likely a `lookup` returns None (delta and beta of XFetch: Vattani, Chierichetti
                and Lowenstein, "Optimal Probabilistic Cache Stampede Prevention", VLDB 2015).
            worth: What each hit adds to `counts()`: input tokens, output tokens, money.

        Raises:
            ValueDamaged: `value` is not a whole value of `key`.
            OverflowError: A number of tokens is not from 0 to 2**64 - 1.
        """

    @overload
    def fill(
        self,
        prompt: str,
        llm_string: str,
        namespace: str,
        key: bytes,
        stored: bytes,
        created: float,
        expires: float | None,
        epoch: int,
        *,
        streams: bool = False,
    ) -> list[Generation] | Literal[False]: ...
    @overload
    def fill(
        self,
        prompt: str,
        llm_string: str,
        namespace: str,
        key: bytes,
        stored: bytes,
        created: float,
        expires: float | None,
        epoch: int,
        at_once: bool,
        *,
        streams: bool = False,
    ) -> list[Generation] | Literal[False] | None:
        """Fresh objects of what a store had for a request, which is kept, and counted as a fill.

        False, with nothing done, for what is for streams only, unless the caller replays one.

        Args:
            prompt: What is asked.
            llm_string: Of whom, and how.
            namespace: On whose behalf.
            key: The request's key.
            stored: What `compress` made of its value.
            created: Unix time in seconds at which the answer was made.
            expires: Unix time in seconds from which on it is not served from memory, or None.
            epoch: That of the key before the store was read: it is not kept if the entry was
                removed or replaced since, nor in place of one that has not expired.
            at_once: Return None, with nothing done, if prompt or answer are `LARGE`.
            streams: As for `lookup`.

        Raises:
            ValueUnknown: The bytes are not for this process.
            ValueDamaged: The bytes are damaged, or the answer to another key.
        """

    def worth(self, generations: Sequence[Generation]) -> tuple[int, int, float]:
        """What an answer has cost, as far as it says: input tokens, output tokens, money.

        Money by `prices`: for the longest name that its model's begins with, the price of
        1,000,000 tokens that it is sent, and of those that it makes.
        """

    def remove(self, key: bytes) -> bool:
        """Forget one entry. Returns whether there was one."""

    def invalidate(self, namespace: bytes | None, llm: bytes | None, before: float | None) -> int:
        """Forget what matches all that is given. Returns how many entries that were.

        Args:
            namespace: The label of a namespace.
            llm: The label of an llm_string.
            before: Unix time in seconds before which it was made.
        """

    def clear(self) -> None:
        """Forget everything."""

    def take_used(self) -> list[bytes]:
        """Keys of entries that were hit since this was asked last: 1,024 of them, at most."""

    def epoch(self, key: bytes) -> int:
        """Changes when the entry of this key is removed or replaced; see `fill`."""

    def counts(self) -> MemoryCounts:
        """What happened since it was made, and what is there now. All of one instant."""

@final
class MemoryCounts:
    """What happened in a memory tier."""

    @property
    def hits(self) -> int:
        """Lookups that were answered."""

    @property
    def fills(self) -> int:
        """Answers that a store had, whether or not they were kept."""

    @property
    def evictions(self) -> int:
        """Entries that were removed for want of room."""

    @property
    def expired(self) -> int:
        """Entries that were found after they expired."""

    @property
    def entries(self) -> int:
        """Entries now."""

    @property
    def bytes(self) -> int:
        """Their estimated memory now, in bytes."""

    @property
    def input_tokens(self) -> int:
        """Tokens that hits and fills were worth, of what a model is sent."""

    @property
    def output_tokens(self) -> int:
        """Tokens that hits and fills were worth, of what a model makes."""

    @property
    def money(self) -> float:
        """Money that hits and fills were worth."""

def memory_history(
    memory: Memory,
) -> list[tuple[float, list[tuple[float, tuple[int, int, int, int, int, float]]]]]:
    """What happened in a memory tier, over time, in several resolutions, the finest first.

    Of each resolution: the length of a bucket in seconds, and the buckets in which anything was
    counted, the oldest first. Of each bucket: when it began (Unix time in seconds), and hits,
    fills, evictions, tokens sent, tokens made, money. 732 buckets, at most, of a minute to six
    hours.
    """

def largest_namespaces(memory: Memory, limit: int) -> tuple[int, list[tuple[bytes, int, int]]]:
    """Number of namespaces in a memory tier, and the largest of them, at most `limit`.

    Of each: name (UTF-8, surrogatepass), entries, and their estimated memory in bytes.
    """

def fold_digests(digests: bytes) -> int:
    """One number for any number of digests of an outline, in their order."""

@overload
def encode(
    generations: Sequence[Generation],
    key: bytes,
    *,
    recording: bytes | None = None,
    for_streams: bool = False,
) -> bytes: ...
@overload
def encode(
    generations: Sequence[Generation],
    key: bytes,
    *,
    at_once: bool,
    recording: bytes | None = None,
    for_streams: bool = False,
) -> bytes | None:
    """The answer to the request of `key` as bytes: versioned, checksummed, without loss.

    Args:
        generations: The answer.
        key: The request's.
        at_once: None if it is `LARGE`.
        recording: What a `Recorder` has of the stream that it came by.
        for_streams: Whether it lacks what only a call without a stream is told: it is then served
            only to callers that replay the recording.

    Raises:
        ValueRefused: It is not a non-empty list of generations, or holds something else than the
            types that come back equal.
    """

def decode(value: bytes, key: bytes, *, fresh_ids: bool = False) -> list[Generation]:
    """Fresh objects from what `encode` made for the same key.

    With `fresh_ids`, each generation's message has a new id where LangChain made the one that was
    stored (`lc_run-…`, `run-…`); ids that were equal, as those of chunks are, stay equal.

    Raises:
        ValueUnknown: The bytes are not for this process.
        ValueDamaged: The bytes are damaged, or the answer to another key.
    """

def take_apart(value: bytes, key: bytes, make: Callable[[str, Any], Any]) -> list[Any]:
    """The generations of an answer as plain data: no class is looked for, and none is imported.

    Args:
        value: What `encode` made.
        key: For the same key.
        make: Called for each object with the full name of its class and its state: a dict of the
            fields of LangChain's objects, the state of others as docs/values.md has it. Also for a
            `set`, a `frozenset`, and a `dict` with keys that are no text (its items). What it
            returns stands for the object.

    Raises:
        ValueUnknown: The bytes are of a newer llmemo.
        ValueDamaged: The bytes are damaged, or the answer to another key.
    """

@final
class Recorder:
    """The chunks of a stream, as they come: each as the difference to the one before.

    Thread-safe. (For a chunk of a stream of words it takes some ten bytes more than for the word.)
    """

    def __new__(cls, max_bytes: int) -> Recorder:
        """An empty one. `max_bytes`: its largest size, in bytes."""

    def add(self, step: object, delay: int = 0) -> int:
        """Record a chunk. `delay`: milliseconds since the one before.

        Returns the number of chunks.

        Raises:
            ValueRefused: It cannot be encoded without loss, or there is no room. The recorder is
                as it was.
        """

    def __len__(self) -> int:
        """Number of chunks."""

    def runs(self) -> list[tuple[Any, list[str]]]:
        """The chunks in runs that differ in their texts alone: the first chunk, and all texts.

        No texts: it is a chunk by itself, of any kind.
        """

    def bytes(self) -> bytes:
        """All that was recorded, for `encode`."""

@final
class Playback:
    """Plays what a recorder has recorded, from the first chunk on, to fresh objects."""

    def __new__(cls, source: Recorder | bytes, *, fresh_ids: bool = False) -> Playback:
        """Begin. The recorder may go on. `fresh_ids`: see `decode`; the same for all chunks."""

    def skip(self, steps: int) -> None:
        """Pass over this number of chunks, at most to the end."""

    def next(self) -> tuple[Any, int] | None:
        """The next chunk, and the milliseconds that it came after the one before; None at the end.

        Raises:
            ValueUnknown: As `decode`.
            ValueDamaged: As `decode`.
        """

def recording_of(value: bytes, key: bytes) -> bytes | None:
    """The recording in a value, which may be compressed; None if there is none.

    Raises:
        ValueDamaged: As `decode`.
    """

def settings(llm_string: str, ignore: Sequence[str] = ...) -> list[tuple[str, str]]:
    """The settings that count, in order: name, and value as the text has it.

    Empty for a text of no form that is known. `ignore`: names of settings that do not count.

    Raises:
        RequestBypassed: The text does not determine the settings.
    """

def compress(value: bytes, *, level: int = ..., least: int = ...) -> bytes:
    """What to store for a value: a shorter form (Zstandard), or itself where that would not pay.

    Args:
        value: What `encode` made.
        level: Zstandard's level.
        least: Bytes below which a value is left as it is.
    """

def decompress(stored: bytes) -> bytes:
    """The value for which `compress` returned these bytes.

    Raises:
        ValueDamaged: They claim to be compressed, and are not; or of another version.
    """

def seed_ids(random: bytes) -> None:
    """Have the ids that `fresh_ids` gives begin anew, from 16 random bytes."""

def prepare() -> None:
    """Look up LangChain's classes, which is else done at first use.

    Rust waits for whoever is at it; in a child that is forked meanwhile, for ever.
    """

def announce_rows(
    file: int, *, page_bytes: int, index: int, table: int, keys: Sequence[bytes]
) -> None:
    """Have the system read the pages of an SQLite file that the rows of these keys are on.

    It reads them beside each other, from the disk into RAM, and this waits for those alone that
    lead to others. Whatever the file holds, nothing worse comes of it than that it was in vain.
    Does nothing but on Linux.

    Args:
        file: Number of an open file, which may be one of SQLite's own.
        page_bytes: Size of a page.
        index: First page of an index whose records are a key and the number of its row.
        table: First page of the table.
        keys: The keys.
    """

def pack_vector(values: Iterable[SupportsFloat | SupportsIndex]) -> bytes | None:
    """A vector as bytes: one for each dimension, and two for their number.

    The dimension of the largest magnitude becomes 127 or -127. The others keep their ratio to it,
    and are rounded. The length of the vector is lost, since a cosine does not depend on it.

    Returns None if the vector has no direction: no dimension, only zeros, a NaN or an infinity.
    Also if it has more than 65,535 dimensions.

    Raises:
        TypeError: It is not an iterable of numbers, or it is bytes.
    """

def pack_question(key: bytes, vector: bytes, question: str) -> bytes:
    """A packed vector and its question, as a store keeps them beside the entry of a key.

    Args:
        key: The entry's, 32 bytes. It is part of the checksum.
        vector: What `pack_vector` made of the question.
        question: The text.

    Raises:
        ValueError: The vector is not packed, the key has another length, or the question holds a
            lone surrogate.
    """

def unpack_question(stored: bytes, key: bytes) -> tuple[bytes, str]:
    """The packed vector and the question that `pack_question` stored for this key.

    Raises:
        ValueUnknown: They are of another version.
        ValueDamaged: The bytes are damaged, or were stored for another key.
    """

@final
class VectorIndex:
    """Packed vectors by partition, in memory, and the search for those near another. Thread-safe.

    Over its bound, the largest tenant lets go of its oldest vectors, across its partitions. So a
    tenant that takes no more than an equal share loses nothing, whatever is added for the others.
    """

    def __new__(cls, max_bytes: int) -> VectorIndex:
        """An empty index. `max_bytes`: the most memory that it may take, as estimated, in bytes."""

    def add(
        self,
        tenant: builtins.bytes,
        partition: builtins.bytes,
        key: builtins.bytes,
        question: str,
        vector: builtins.bytes,
    ) -> bool:
        """Add a vector, in the place of the one that the key had, in whichever partition.

        Returns whether it is kept. A vector that is too large for the bound is not. If the vector
        is not packed, or the partition has another number of dimensions or another tenant, nothing
        is done.

        Args:
            tenant: Whose it is, 16 bytes. A partition is the tenant's who added to it first, until
                it is empty.
            partition: 32 bytes. Vectors are compared only with those of their partition.
            key: What the vector belongs to, 32 bytes.
            question: What a search returns with the key.
            vector: What `pack_vector` made.

        Raises:
            ValueError: Tenant, partition or key have another length, or the question holds a lone
                surrogate.
        """

    def begin_load(self) -> int:
        """Begin to load stored vectors, the newest first. Returns the age to `load` them with.

        What is added afterwards is newer than they are.
        """

    def load(
        self,
        tenant: builtins.bytes,
        partition: builtins.bytes,
        rows: list[tuple[builtins.bytes, builtins.bytes]],
        age: int,
    ) -> list[int]:
        """Add vectors as they are stored, the newest first. Returns the places of damaged rows.

        Lets other threads have the GIL every millisecond. Rows are not kept where `add` would not.

        Args:
            tenant: As for `add`.
            partition: As for `add`.
            rows: Keys, and what `pack_question` made for each.
            age: What `begin_load` gave, less the number of rows that were loaded since.

        Raises:
            ValueError: Tenant or partition have another length.
            TypeError: A row is something else. Those before it are added.
        """

    def remove(self, key: builtins.bytes) -> bool:
        """Remove the vector of a key. Returns whether there was one."""

    def clear(self) -> None:
        """Remove all vectors."""

    def size(self, partition: builtins.bytes) -> int:
        """Number of vectors of a partition."""

    def search(
        self, partition: builtins.bytes, vector: builtins.bytes, limit: int, least: float
    ) -> list[tuple[builtins.bytes, str, float]]:
        """The nearest vectors of a partition: key, question and score of each, the best first.

        The score is the cosine of the packed vectors, from -1 to 1, and exactly 1 for equal ones.
        Of equal scores the newest comes first. Above 20,000 vectors, only those are compared whose
        signs agree most with the vector's.

        Empty if the vector is not packed, or has another number of dimensions.

        Args:
            partition: 32 bytes.
            vector: What `pack_vector` made.
            limit: Most vectors to return.
            least: Lowest score to return.
        """

    def __contains__(self, key: builtins.bytes, /) -> bool:
        """Whether the key has a vector."""

    @property
    def vectors(self) -> int:
        """Number of all vectors."""

    @property
    def bytes(self) -> int:
        """Their estimated memory, with questions, keys and all that finds them, in bytes."""

def leak(object: object) -> None:
    """Keep an object alive until the process ends, whatever else lets go of it."""

@final
class Describer:
    """Writes what a model, or an option of a call, says of itself (docs/keys.md)."""

    def __new__(
        cls,
        parts: Callable[[Any], tuple[str, Any]],
        kind: Callable[[Any], tuple[Any, bool]],
        secrets: Sequence[type],
    ) -> Describer:
        """A writer.

        Args:
            parts: The kind and the plain parts of a value of any other type; raises if it has none.
            kind: What to read of a client (`keys.clients.Kind`, or None), and whether that is the
                same for its whole class, which is kept then.
            secrets: Classes whose instances are told of only that they are there.
        """

    def options(self, place: int, options: Mapping[str, object]) -> bytes:
        """An entry of this place for each item.

        Raises:
            RequestBypassed: One cannot be told.
        """

    def value(self, value: object) -> bytes:
        """One value by itself.

        Raises:
            RequestBypassed: It cannot be told.
        """

@final
class Rows:
    """The fields of a class of models that count."""

    def __new__(cls, defaults: Mapping[str, object], client: object) -> Rows:
        """By the fields' defaults, in the place of which `client` says that one holds a client."""

    def read(
        self, model: object, describer: Describer, entry: bytes, *, skips_untold: bool
    ) -> Snapshot:
        """Read a model, and describe it.

        A field that has its default is not told if that is false. A secret is never told.

        Args:
            model: A Pydantic model.
            describer: Writes the values.
            entry: Of the model's class.
            skips_untold: Leave out fields that cannot be told.

        Raises:
            RequestBypassed: A field cannot be told.
        """

@final
class Snapshot:
    """A model as `Rows.read` read it. Keeps nothing of it alive but plain values."""

    @property
    def description(self) -> bytes:
        """The entries of the model: that of its class, then its fields and its clients."""

@final
class Snapshots:
    """What goes with models as long as they are as they were. Keeps none of them alive."""

    def __new__(
        cls, fields: str, asking: frozenset[str], chat: frozenset[str], quiet: set[type]
    ) -> Snapshots:
        """Of no model.

        Args:
            fields: The attribute of a model's class that holds its fields.
            asking: Names of the functions that LangChain may ask a cache from.
            chat: The methods of chat models among them.
            quiet: Types of callback handlers that need not be told of a hit. The caller adds to it.
        """

    def find(self, model: object) -> Any:
        """What goes with a model that would be described as it was; otherwise None.

        The same object is asked for, not an equal one. Most of what a model holds cannot change as
        long as it is the same object, so that no Python code runs; the rest is described again.
        """

    def name(self, frame: FrameType, prompt: str, llm_string: str) -> str | None:
        """What memory knows the request by that is asked from a frame; None: take a closer look.

        The text itself if LangChain has no part in it. None, too, if the frame's `run_manager` has
        a handler that is not `quiet`.
        """

    def keep(
        self, model: object, fields: object, snapshot: Snapshot, answer: object, texts: object
    ) -> None:
        """Remember what goes with a model, until it is gone.

        Args:
            model: A Pydantic model.
            fields: Those of its class when it was read.
            snapshot: As it was read.
            answer: Must not keep the model alive.
            texts: Has `head` and `shown`, as `Verdict` has them, and `suffix`: what follows the
                text in memory.
        """

    def __len__(self) -> int:
        """Number of models that are remembered."""

@final
class Entry:
    """One entry of a description."""

    @property
    def place(self) -> int:
        """What it is about (docs/keys.md)."""

    @property
    def name(self) -> str:
        """The name of the field, client or option."""

    @property
    def whole(self) -> bytes:
        """All of it, place and name included."""

def entries(description: bytes) -> list[Entry]:
    """The entries of a description. Any bytes have some."""
