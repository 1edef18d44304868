"""Charts over time: inline SVG for the shapes, HTML for the labels, a table for readers of tables.

The SVG is stretched to its frame, so that a chart fits any width; the labels, outside of it, keep
their size. Nothing here needs a script.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from llmemo.report import formats
from llmemo.report.time_series import DAY, HOUR, MINUTE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from llmemo.report.time_series import Series, Sums

TICKS_MAX = 7
"""Most labels of the time axis."""

TICK_STEPS = (
    5 * MINUTE, 10 * MINUTE, 15 * MINUTE, 30 * MINUTE, HOUR, 2 * HOUR, 3 * HOUR, 6 * HOUR,
    12 * HOUR, DAY, 2 * DAY, 7 * DAY, 14 * DAY, 28 * DAY, 91 * DAY, 365 * DAY,
)  # fmt: skip

LAST = 96
"""Where the last label of the time axis may be, in percent of its length: it has a width."""

GAP = 0.12
"""Part of a bar's width that is left free beside it."""


class Part(NamedTuple):
    """One of the parts that a bar is made of."""

    title: str
    """For the legend and the table."""
    style: str
    """The CSS class of its colour."""
    of: Callable[[Sums], float]


class Axis(NamedTuple):
    """The scale of a value axis, from 0."""

    top: float
    ticks: tuple[float, ...]
    labels: Sequence[str]


def axis_to(most: float, *, is_whole: bool = False) -> Axis:
    """A scale that has `most` below its top, with round numbers as ticks; or with whole ones."""
    if not (most > 0 and math.isfinite(most)):
        return Axis(1.0, (0.0, 1.0), ("0", "1"))
    power = 10.0 ** math.floor(math.log10(most))
    step = next(it for it in (0.25, 0.5, 1, 2, 2.5, 5, 10) if most / (it * power) <= 4) * power
    if is_whole:
        step = max(1.0, step)
    number = max(1, math.ceil(most / step - 1e-9))
    ticks = tuple(step * at for at in range(number + 1))
    return Axis(ticks[-1], ticks, formats.scale(ticks))


def bar_chart(
    series: Series,
    title: str,
    parts: Sequence[Part],
    label: Callable[[float], str] = formats.count,
) -> str:
    """Stacked bars. `label` writes a value: of counts by default."""
    most = max(sum(part.of(bar) for part in parts) for bar in series.bars)
    axis = axis_to(most, is_whole=label is formats.count)
    shapes = []
    for index, bar in enumerate(series.bars):
        floor = 0.0
        drawn = []
        for part in parts:
            height = 100 * part.of(bar) / axis.top
            if height > 0:
                drawn.append(
                    f'<rect class="{part.style}" x="{index + GAP / 2:.2f}" width="{1 - GAP:.2f}"'
                    f' y="{100 - floor - height:.3f}" height="{height:.3f}"/>'
                )
                floor += height
        if drawn:
            told = "; ".join(f"{part.title} {label(part.of(bar))}" for part in parts)
            hint = f"<title>{_when(series, index)}: {told}</title>"
            shapes.append(f"<g>{hint}{_catcher(index)}{''.join(drawn)}</g>")
    return _figure(series, title, axis, "".join(shapes), label=label, parts=parts)


def rate_chart(series: Series, title: str) -> str:
    """The hit rate, in steps; nothing where there was no lookup."""
    axis = Axis(1.0, (0.0, 0.5, 1.0), [f"{part}\u202f%" for part in (0, 50, 100)])
    lines, hints, previous = [], [], None
    for index, bar in enumerate(series.bars):
        rate = bar.hit_rate
        if rate is not None:
            y = 100 - 100 * rate
            # On from the last bar, if that has a rate.
            lines.append(f"M{index} {y:.2f}" if previous is None else f"V{y:.2f}")
            lines.append(f"H{index + 1}")
            told = f"{formats.percent(rate)} of {formats.count(bar.lookups)} lookups"
            hints.append(f"<g><title>{_when(series, index)}: {told}</title>{_catcher(index)}</g>")
        previous = rate
    shapes = f'<path class="line" d="{" ".join(lines)}"/>' if lines else ""
    part = Part("Hit rate", "line", lambda bar: bar.hit_rate or 0.0)
    shapes += "".join(hints)
    return _figure(series, title, axis, shapes, label=formats.percent, parts=(part,))


def _catcher(index: int) -> str:
    """What shows the bar's hint wherever the pointer is above it."""
    return f'<rect class="catch" x="{index}" width="1" y="0" height="100"/>'


def _figure(
    series: Series,
    title: str,
    axis: Axis,
    shapes: str,
    *,
    label: Callable[[float], str],
    parts: Sequence[Part],
) -> str:
    width = len(series.bars)
    lines = "".join(
        f'<path class="grid" d="M0 {100 - 100 * tick / axis.top:.3f} H{width}"/>'
        for tick in axis.ticks
    )
    values = "".join(
        f'<span style="bottom:{100 * tick / axis.top:.3f}%">{label}</span>'
        for tick, label in zip(axis.ticks, axis.labels, strict=True)
    )
    legend = "".join(
        f'<li><i class="{part.style}"></i>{part.title}</li>' for part in parts if len(parts) > 1
    )
    legend = f'<ul class="legend">{legend}</ul>' if legend else ""
    spans = f"{_length(series.step)} each, from {_when(series, 0)}"
    return (
        f'<figure><figcaption><h3>{title}</h3>{legend}</figcaption><div class="plot">'
        f'<div class="y" aria-hidden="true">{values}</div>'
        f'<svg viewBox="0 0 {width} 100" preserveAspectRatio="none" role="img"'
        f' aria-label="{title}"><title>{title}</title><desc>{width} bars of {spans}. The table'
        f" below has the values.</desc>{lines}{shapes}</svg>"
        f'<div class="x" aria-hidden="true">{_time_labels(series)}</div></div>'
        f"{_table(series, title, parts, label)}</figure>"
    )


def _table(series: Series, title: str, parts: Sequence[Part], label: Callable[[float], str]) -> str:
    rows = [
        f'<tr><th scope="row">{_when(series, index)}</th>'
        + "".join(f"<td>{label(part.of(bar))}</td>" for part in parts)
        + "</tr>"
        for index, bar in enumerate(series.bars)
        if bar.lookups or any(part.of(bar) for part in parts)
    ]
    if not rows:
        return ""
    heads = "".join(f'<th scope="col">{part.title}</th>' for part in parts)
    return (
        f"<details><summary>Table<span class='away'> of {title}</span></summary>"
        f'<div class="scroll"><table><thead><tr><th scope="col">{_length(series.step)} from</th>'
        f"{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table></div></details>"
    )


def _time_labels(series: Series) -> str:
    span = series.step * len(series.bars)
    step = next((it for it in TICK_STEPS if span / it <= TICKS_MAX), TICK_STEPS[-1])
    offset = formats.moment(series.start).utcoffset()
    shift = 0.0 if offset is None else offset.total_seconds()
    tick = math.ceil((series.start + shift) / step) * step - shift
    labels: list[str] = []
    day = ""
    while tick <= series.start + span and len(labels) <= TICKS_MAX + 1:
        at = formats.moment(tick)
        date = f"{at:%b} {at.day}"
        time = "" if step >= DAY else f"{at:%H:%M}"
        shown = f"{time}<b>{date}</b>" if date != day else time
        day = date
        part = 100 * (tick - series.start) / span
        if part <= LAST:
            labels.append(f'<span style="left:{part:.2f}%">{shown}</span>')
        tick += step
    return "".join(labels)


def _when(series: Series, index: int) -> str:
    return formats.clock_time(series.at(index))


def _length(seconds: float) -> str:
    return formats.duration(seconds)
