"""Tables, tiles and lists of a page."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from llmemo.report import formats

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


class Tile(NamedTuple):
    """A headline figure. All parts are HTML."""

    title: str
    figure: str
    detail: str = ""


def tiles(given: Iterable[Tile]) -> str:
    """The headline figures."""
    shown = "".join(
        f'<div><dt>{tile.title}</dt><dd class="figure">{tile.figure}</dd>'
        f'<dd class="detail">{tile.detail or "&#160;"}</dd></div>'
        for tile in given
    )
    return f'<dl class="tiles">{shown}</dl>'


def reasons(title: str, counts: Mapping[str, int], meanings: Mapping[str, str]) -> str:
    """Counts by reason, the largest first, with what each means; empty without any."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    rows = [
        f'<tr><th scope="row"><code>{formats.text(reason)}</code></th>'
        f'<td class="number">{formats.count(number)}</td>'
        f'<td class="text why">{formats.text(meanings.get(reason, ""))}</td></tr>'
        for reason, number in ordered
        if number
    ]
    return table(title, ("Reason", "Count", "-Meaning"), rows)


def shares(title: str, heads: Sequence[str], rows: Iterable[tuple[str, float, list[str]]]) -> str:
    """Rows with a bar: what it is (HTML), its size for the bar, and its other cells (HTML)."""
    given = list(rows)
    most = max((size for _, size, _ in given), default=0) or 1
    shown = [
        f'<tr><th scope="row">{what}</th><td class="share" aria-hidden="true">'
        f'<i style="width:{100 * size / most:.1f}%"></i></td>'
        + "".join(f'<td class="number">{cell}</td>' for cell in cells)
        + "</tr>"
        for what, size, cells in given
    ]
    first, *others = heads
    return table(title, (first, "", *others), shown)


def table(title: str, heads: Sequence[str], rows: Sequence[str], style: str = "") -> str:
    """A table with a caption; empty without rows. A head with a minus before it is of text."""
    if not rows:
        return ""
    shown = "".join(_head(head) for head in heads)
    caption = f"<caption>{title}</caption>" if title else ""
    return (
        f'<table class="{style or "plain"}">{caption}<thead><tr>{shown}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table>"
    )


def _head(head: str) -> str:
    if not head:
        return '<td class="share"></td>'
    kind = ' class="text"' if head[0] == "-" else ""
    return f'<th scope="col"{kind}>{head.lstrip("-")}</th>'


def settings(pairs: Iterable[tuple[str, str]]) -> str:
    """Names and values."""
    shown = "".join(
        f"<div><dt><code>{formats.text(name)}</code></dt><dd>{formats.text(value)}</dd></div>"
        for name, value in pairs
    )
    return f'<dl class="settings">{shown}</dl>'


def section(title: str, *parts: str) -> str:
    """A section; empty if all of its parts are."""
    inside = "".join(parts)
    name = title.lower().replace(" ", "-")
    return (
        f'<section aria-labelledby="{name}"><h2 id="{name}">{title}</h2>{inside}</section>'
        if inside
        else ""
    )


def note(shown: str) -> str:
    """A remark, as HTML; empty for an empty one."""
    return f'<p class="note">{shown}</p>' if shown else ""
