"""The largest namespaces of the memory tier and of the store."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from llmemo._core import largest_namespaces
from llmemo.explain.store_calls import ask
from llmemo.store_io.operations import SumNamespaces

if TYPE_CHECKING:
    from llmemo.pipeline.tiers import Tiers
    from llmemo.stores.records import NamespaceSizes

SHOWN = 15
"""Namespaces that are listed of each tier."""

NAMES_MAX = 10_000
"""Names whose digests are compared with those of the store."""

TIMEOUT = 3.0
"""Longest time to wait for the store, in seconds."""

SECONDS = 1.0
"""Longest time that the store sums up its records for, in seconds."""


class Namespace(NamedTuple):
    """A namespace, and what it takes in a tier."""

    name: str | None
    """None if this process does not know it: a store has digests of names only."""
    digest: str
    """Of the name, in hexadecimal; empty where the name is known."""
    entries: int
    size: int
    """In bytes."""


class Namespaces(NamedTuple):
    """The namespaces of a tier."""

    largest: tuple[Namespace, ...]
    """By their size, the largest first."""
    number: int
    """How many there are."""
    entries: int
    """Entries of all of them that were summed up."""
    is_whole: bool = True
    """Whether all entries were summed up; otherwise the newest."""


def in_memory(tiers: Tiers) -> Namespaces:
    """Those of the memory tier."""
    number, largest = largest_namespaces(tiers.memory, SHOWN)
    found = [Namespace(_text(name), "", entries, size) for name, entries, size in largest]
    return Namespaces(tuple(found), number, tiers.memory.counts().entries)


def in_store(tiers: Tiers) -> tuple[Namespaces | None, str]:
    """Those of the store, or why they are not known."""
    sizes, trouble = ask(tiers, SumNamespaces(SECONDS), TIMEOUT)
    if sizes is None:
        return None, trouble or "this store does not list its entries"
    return _named(tiers, sizes), ""


def _named(tiers: Tiers, sizes: NamespaceSizes) -> Namespaces:
    names = {tiers.memory.label(name): name for name in _known_names(tiers)}
    ordered = sorted(sizes.sizes.items(), key=lambda item: (-item[1][1], item[0]))
    largest = [
        Namespace(names.get(label), "" if label in names else label.hex(), entries, size)
        for label, (entries, size) in ordered[:SHOWN]
    ]
    entries = sum(count for count, _ in sizes.sizes.values())
    return Namespaces(tuple(largest), len(sizes.sizes), entries, sizes.is_whole)


def _known_names(tiers: Tiers) -> set[str]:
    """Names of namespaces that this process has met."""
    settings = tiers.settings
    _, largest = largest_namespaces(tiers.memory, NAMES_MAX)
    names = {_text(name) for name, _, _ in largest} | set(settings.namespace_ttl or ())
    names |= {miss.namespace for miss in tiers.recent_misses.newest()}
    return names | {settings.namespace if isinstance(settings.namespace, str) else ""}


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogatepass")
