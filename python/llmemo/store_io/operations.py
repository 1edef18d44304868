"""What a store can be asked to do, one class for each operation."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from llmemo._core import Memory
    from llmemo.stores.lease_store import Grant, LeaseState
    from llmemo.stores.records import Record, Selection


@dataclass(slots=True)  # not frozen, as the others: that makes it dear to make
class Get:
    """Read the records of some keys, and take the leases of those wanted that have no answer.

    The outcome is a `Found`.
    """

    keys: Sequence[bytes]
    wanted: Collection[bytes] = ()
    """Keys of callers that would compute the answer."""
    unclaimed: Callable[[Found | None], object] | None = None
    """As of `Acquire`: it has to give back the leases."""
    is_check: bool = False
    """Whether it only asks how the store is, and nothing is lost without an outcome."""


class Found(NamedTuple):
    """The outcome of a `Get`."""

    records: Mapping[bytes, Record]
    """By key, those that there are; expired ones, too."""
    leases: dict[bytes, Grant | LeaseState]
    """By key, of those wanted that have no answer; none where the store cannot say in one step.

    A `Grant` is for one caller, and leaves the dictionary with it.
    """


NOTHING_FOUND = Found({}, {})


@dataclass(slots=True)  # as `Get`
class Set:
    """Write one record, and end the lease of its key if it comes with the fence of one.

    The outcome is True if another grant came after that lease: then nothing was written.
    """

    record: Record
    fence: int | None = None


class Written(Enum):
    """The outcome of a `Set`, as far as its caller knows it."""

    STORED = auto()
    SUPERSEDED = auto()
    """Another process was given the lease meanwhile, so that it was left out."""
    REFUSED = auto()
    """The store answered that it does not take it: it is dropped, and counted."""
    UNCONFIRMED = auto()
    """It failed, or is queued."""


@dataclass(frozen=True, slots=True)
class Add:
    """Write those of some records whose keys are not there yet. Returns how many they were."""

    records: Sequence[Record]


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove the records of some keys, or all."""

    keys: Sequence[bytes] | None


@dataclass(frozen=True, slots=True)
class Invalidate:
    """Remove the records that match a selection."""

    selection: Selection


@dataclass(frozen=True, slots=True)
class Discard:
    """Remove a damaged record, unless another took its place. No caller waits for the outcome."""

    record: Record


@dataclass(frozen=True, slots=True)
class Recent:
    """List the records that were added last, `limit` at most."""

    limit: int


@dataclass(frozen=True, slots=True)
class SumNamespaces:
    """Sum up the records of each namespace: see `Store.namespace_sizes`."""

    seconds: float


@dataclass(frozen=True, slots=True)
class ListQuestions:
    """List the questions of a partition: see `VectorStore.questions`. None if it keeps none."""

    partition: bytes
    after: int
    before: int
    limit: int


@dataclass(frozen=True, slots=True)
class ReadState:
    """Read a state: see `VectorStore.state`. None if there is none, or the store keeps none."""

    name: bytes


@dataclass(frozen=True, slots=True)
class AmendState:
    """Replace a state: see `VectorStore.amend`. Returns what is stored afterwards."""

    name: bytes
    change: Callable[[bytes | None], bytes | None]


@dataclass(frozen=True, slots=True)
class Join:
    """Wait for an answer that another caller computes. Not for a store: see `single_flight`."""

    key: bytes
    unclaimed: Callable[[Any], object]
    """As of `Acquire`."""


@dataclass(frozen=True, slots=True)
class Acquire:
    """Take the lease of a key for `seconds`, unless there is an answer.

    The outcome is a `Grant`, a `Record`, or `LeaseState`; None where the store cannot tell.
    """

    key: bytes
    seconds: float
    unclaimed: Callable[[Any], object]
    """Called with an outcome that did not reach the caller, in any thread."""


@dataclass(frozen=True, slots=True)
class Follow(Acquire):
    """The same, while another process holds the lease: the outcome waits until that ends.

    None, besides, when all waiters are to go on.
    """

    held: LeaseState


@dataclass(frozen=True, slots=True)
class Release:
    """End a lease, and add N failures to those before it."""

    key: bytes
    fence: int
    failures: int = 0


@dataclass(frozen=True, slots=True)
class Resume:
    """Start a worker that goes on with the leases of the last one."""


Operation: TypeAlias = (
    "Get | Set | Add | Delete | Invalidate | Discard | Recent"
    " | SumNamespaces | ListQuestions | ReadState | AmendState"
    " | Join | Acquire | Follow | Release | Resume"
)


def forget(memory: Memory, operation: Operation) -> int:
    """Have memory forget what an operation removes. Returns how many there were, but for `clear`.

    Done before the store is asked, and by the worker once more when it has answered: a lookup may
    have read a record while it was being removed, and its caller may have left.
    """
    if isinstance(operation, Invalidate):
        return memory.invalidate(*operation.selection)
    if isinstance(operation, Delete):
        if operation.keys is not None:
            return sum(map(memory.remove, operation.keys))
        memory.clear()
    return 0
