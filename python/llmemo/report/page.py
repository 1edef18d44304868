"""Lays a report out as one HTML page, which loads nothing."""

from __future__ import annotations

import functools
from importlib import resources
from string import Template
from typing import TYPE_CHECKING

from llmemo.report import charts, formats, reasons, tables
from llmemo.report.tables import Tile, note, section

if TYPE_CHECKING:
    from llmemo.report.contents import Contents
    from llmemo.report.namespaces import Namespaces
    from llmemo.report.near_hits import NearHit

HOW_TO_BEGIN = """
<p>No model has asked this cache yet. Give it to LangChain, and call a model twice:</p>
<pre><code>from langchain_core.globals import set_llm_cache
set_llm_cache(cache)
model.invoke("Why is the sky blue?")  # asks the model
model.invoke("Why is the sky blue?")  # a hit
cache.report("report.html")</code></pre>
<p class="note">If a cache stays empty, <code>stats().bypassed</code> counts calls that went past
it, and <code>stats().skipped</code> answers that were not kept. This page lists both.</p>
"""


def page(contents: Contents) -> str:
    """The page, as text."""
    stats = contents.stats
    is_unused = not (stats.hits or stats.misses)
    parts = [
        _tiles(contents),
        section("Getting started", HOW_TO_BEGIN) if is_unused else _over_time(contents),
        section("Misses by reason", _misses(contents)),
        section("What nearly hit", _near_hits(contents)),
        section("Bypassed, not kept, errors", _groups(contents)),
        section("Similar questions", _semantic(contents)),
        section("Largest namespaces", _namespaces(contents)),
        section("Settings", tables.settings(contents.settings)),
    ]
    return Template(_resource("page.html")).substitute(
        version=formats.text(contents.version),
        written=formats.clock_time(contents.now),
        style=_resource("page.css"),
        meta=_meta(contents),
        health=_health(contents),
        body="\n".join(part for part in parts if part),
        about=ABOUT,
    )


ABOUT = (
    "Counts are of this process since the cache was made; entries of the store are those of all"
    " processes that share it. Memory counts expired entries until they are looked up or evicted; a"
    " store removes them by itself. Times are of this machine's zone. A cache does not know"
    " how long a model takes, so nothing here estimates time saved. This file loads nothing, and"
    " has no script."
)


@functools.cache
def _resource(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text("utf-8")


def _meta(contents: Contents) -> str:
    known = (
        f"{formats.clock_time(contents.now)} {formats.zone(contents.now)}",
        f"process {contents.process} on {formats.text(contents.host)}",
        f"llmemo {formats.text(contents.version)}",
    )
    return " · ".join(known)


def _health(contents: Contents) -> str:
    if not contents.trouble:
        return ""
    return f'<p class="health" role="status">{formats.text(contents.trouble)}</p>'


def _tiles(contents: Contents) -> str:
    stats = contents.stats
    lookups = stats.hits + stats.misses
    rate = stats.hits / lookups if lookups else None
    tokens = stats.input_tokens_saved + stats.output_tokens_saved
    detail = f"{formats.short(stats.output_tokens_saved)} of them output" if tokens else ""
    money = formats.money(stats.money_saved) if contents.has_prices else formats.NONE
    shown = [
        Tile("Hit rate", formats.percent(rate), f"of {formats.counted(lookups, *LOOKUPS)}"),
        Tile("Calls saved", formats.short(stats.hits), formats.counted(stats.misses, *MISSES)),
        Tile("Tokens saved", formats.short(tokens), detail),
        Tile(
            "Money saved",
            money,
            "at the given prices" if contents.has_prices else "no prices given",
        ),
        Tile("Entries in memory", formats.short(stats.entries), formats.size(stats.bytes)),
    ]
    if contents.has_store:
        store = contents.in_store
        entries = formats.NONE if store is None else ("" if store.is_whole else "≥ ")
        entries += "" if store is None else formats.short(store.entries)
        size = "" if stats.store_bytes is None else formats.size(stats.store_bytes)
        shown.append(Tile("Entries in the store", entries, size))
    return tables.tiles(shown)


PROPOSALS = 3
"""Proposals that are shown."""

LOOKUPS = ("lookup", "lookups")
MISSES = ("miss", "misses")
HITS = (
    charts.Part("memory", "one", lambda bar: bar.memory_hits),
    charts.Part("store", "two", lambda bar: bar.store_hits),
    charts.Part("other hits", "three", lambda bar: bar.other_hits),
    charts.Part("misses", "rest", lambda bar: bar.misses),
)
TOKENS = (
    charts.Part("input", "two", lambda bar: bar.input_tokens),
    charts.Part("output", "one", lambda bar: bar.output_tokens),
)
MONEY = (charts.Part("Money saved", "one", lambda bar: bar.money),)
EVICTIONS = (charts.Part("Evictions", "rest", lambda bar: bar.evictions),)


def _over_time(contents: Contents) -> str:
    series = contents.series
    total = series.total
    parts = [part for part in HITS if part.title != "other hits" or total.other_hits]
    parts = [part for part in parts if part.title != "store" or contents.has_store]
    shown = [
        charts.rate_chart(series, "Hit rate"),
        charts.bar_chart(series, "Lookups", parts),
    ]
    if total.tokens:
        shown.append(charts.bar_chart(series, "Tokens saved", TOKENS))
    if total.money > 0:
        shown.append(charts.bar_chart(series, "Money saved", MONEY, formats.money))
    if total.evictions:
        shown.append(charts.bar_chart(series, "Entries evicted from memory", EVICTIONS))
    told = f"Each bar is {formats.duration(series.step)}."
    return section("Over time", note(told), f'<div class="charts">{"".join(shown)}</div>')


def _misses(contents: Contents) -> str:
    stats = contents.stats
    shown = tables.reasons("", stats.missed, reasons.MISSED)
    found = (stats.expired, "found expired")
    evicted = (stats.evictions, "evicted from memory because it was full")
    removed = _counts(("entry was", "entries were"), found, evicted)
    return shown + (note(f"{removed}.") if removed and shown else "")


def _counts(things: tuple[str, str], *counts: tuple[int, str]) -> str:
    """Numbers of things that were something, without those of none."""
    told = (f"{formats.counted(number, *things)} {what}" for number, what in counts if number)
    return "; ".join(told)


def _groups(contents: Contents) -> str:
    return "".join(
        tables.reasons(title, getattr(contents.stats, group), meanings)
        for title, group, meanings in reasons.GROUPS
    )


def _semantic(contents: Contents) -> str:
    semantic = contents.stats.semantic
    if semantic is None:
        return ""
    threshold = "nothing yet" if semantic.threshold is None else f"{semantic.threshold:.3f}"
    pairs = [
        ("hits", formats.count(semantic.hits)),
        ("checks", formats.count(semantic.checks)),
        ("wrong checks", formats.count(semantic.wrong)),
        ("served from score", threshold),
        ("wrong at most", formats.percent(semantic.bound)),
    ]
    return tables.settings(pairs) + tables.reasons("Not served", semantic.abstained, {})


def _near_hits(contents: Contents) -> str:
    found = contents.near_hits
    if not (found.compared or found.too_long or found.not_in_time):
        return ""
    intro = note(
        f"The last {formats.counted(found.compared, 'request', 'requests')} without an answer,"
        " compared with entries that their namespaces used last. A part that changes with every"
        " call, such as a request id or a time, is why equal questions miss."
    )
    rows = [
        (formats.text(part), float(number), [formats.count(number)]) for part, number in found.parts
    ]
    parts = tables.shares("What differs from the most similar entry", ("Part", "Misses"), rows)
    listed = [_near_row(near, has_texts=contents.has_texts) for near in found.listed]
    heads = ["Last", "Misses", "-Namespace", "-Differs in"]
    heads += ["-Question"] if contents.has_texts else []
    too_long = (found.too_long, "too long to be remembered")
    left = (found.not_in_time, "not compared, for lack of time")
    rest = _counts(MISSES, too_long, left)
    told = ". ".join(one for one in (rest, formats.text(found.trouble)) if one)
    proposals = "".join(_proposal(*both) for both in found.ignorable[:PROPOSALS])
    return (
        intro
        + proposals
        + parts
        + tables.table("By namespace", heads, listed, style="stack")
        + note(told)
    )


def _proposal(names: tuple[str, ...], misses: int) -> str:
    """What `explain` proposes: see `Explanation.suggestion`."""
    shown = ", ".join(f"<code>{formats.text(name)}</code>" for name in names)
    return (
        f'<p class="proposal">{formats.counted(misses, *MISSES)} would have been hits without'
        f" {shown}, which looks made for each call. If no answer depends on it:"
        f" <code>LLMCache(ignore={formats.text(repr(names))})</code></p>"
    )


def _near_row(near: NearHit, *, has_texts: bool) -> str:
    differs = "; ".join(formats.text(one) for one in near.differences if one)
    cells = [
        formats.name(near.namespace),
        differs or '<span class="why">nothing else is kept for this namespace</span>',
    ]
    if has_texts:
        cells.append(formats.name(near.question))
    shown = "".join(f'<td class="text">{cell}</td>' for cell in cells)
    return (
        f'<tr><th scope="row" class="when">{formats.brief(near.at)}</th>'
        f'<td class="number">{formats.count(near.misses)}</td>{shown}</tr>'
    )


def _namespaces(contents: Contents) -> str:
    memory = _tier("In memory", contents.in_memory)
    if not contents.has_store:
        return memory
    store = contents.in_store
    if store is None:
        shown = f"<div><h3>In the store</h3>{note(formats.text(contents.store_trouble))}</div>"
    else:
        shown = f"<div>{_tier('In the store', store)}</div>"
    return f'<div class="pair"><div>{memory}</div>{shown}</div>'


def _tier(title: str, namespaces: Namespaces) -> str:
    rows = [
        (
            f"<code>{one.digest[:12]}…</code>" if one.name is None else formats.name(one.name),
            float(one.size),
            [formats.count(one.entries), formats.size(one.size)],
        )
        for one in namespaces.largest
    ]
    shown = tables.shares(title, ("Namespace", "Entries", "Size"), rows)
    if not shown:
        return f"<h3>{title}</h3>{note('No entries.')}"
    told = []
    left = namespaces.number - len(namespaces.largest)
    if left > 0:
        told.append(f"{formats.count(left)} smaller ones are not listed.")
    if not namespaces.is_whole:
        told.append(f"Only the newest {formats.count(namespaces.entries)} entries were summed up.")
    if any(one.digest for one in namespaces.largest):
        told.append(
            "The store has digests of names: this process has not met those in hexadecimal."
        )
    return shown + note(" ".join(told))
