"""Figures and texts as a page shows them. Whatever comes from outside goes through `text`."""

from __future__ import annotations

import html
import re
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

LONGEST = 300
"""Characters of a text that are shown."""

NONE = "\N{EN DASH}"
"""In the place of a figure that there is not."""

NAME_MAX = 80
"""Characters of a name that are shown."""

HIDDEN = re.compile(
    "[\0-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff0-\uffff"
    "\ud800-\udfff\U0001fffe\U0001ffff\U000e0000-\U000e0fff]"
)
"""Characters that show nothing, turn the direction of the text around them, or that HTML does not
allow: they are shown by their numbers."""

UNITS = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
"""Of large numbers: the least that each is for."""

BYTE_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")


def text(value: object, longest: int = LONGEST) -> str:
    """Any text, escaped, for an element or an attribute."""
    shown = str(value)
    if len(shown) > longest:
        shown = shown[: longest - 1] + "…"
    shown = HIDDEN.sub(lambda found: f"\\u{{{ord(found[0]):x}}}", shown)
    return html.escape(shown)


def name(value: str) -> str:
    """The name of a namespace, in a direction of its own."""
    return f"<bdi>{text(value, NAME_MAX)}</bdi>" if value else '<span class="why">(none)</span>'


def count(number: float) -> str:
    """A number, whole, in groups of three digits."""
    return f"{number:,.0f}".replace(",", "\u202f")


def counted(number: int, one: str, more: str) -> str:
    """A number of things, with their name in the right form."""
    return f"{short(number)} {one if number == 1 else more}"


def short(number: float) -> str:
    """A number with three significant digits: 12.3 k, 4.56 M."""
    size = abs(number)
    if size < 9_999.5:
        return count(number)
    least, unit = next((it for it in UNITS if size >= it[0] * 0.9995), UNITS[-1])
    return f"{_three(number / least)}\u202f{unit}"


def _three(value: float) -> str:
    size = abs(value)
    return f"{value:.0f}" if size >= 99.95 else f"{value:.1f}" if size >= 9.995 else f"{value:.2f}"


def scale(values: Sequence[float]) -> list[str]:
    """The values of an axis, all in one unit and with as many decimals as it takes."""
    most = max(values)
    factor, unit = next(
        ((least, f"\u202f{unit}") for least, unit in UNITS if most >= least), (1.0, "")
    )
    if factor == 1e3 and most < 1e4:
        factor, unit = 1.0, ""
    shown = [value / factor for value in values]
    digits = next((it for it in range(9) if all(is_near(one, it) for one in shown)), 9)
    return [f"{one:,.{digits}f}".replace(",", "\u202f") + (unit if one else "") for one in shown]


def is_near(value: float, digits: int) -> bool:
    """Whether a value is as good as one of so many decimals."""
    return abs(value - round(value, digits)) <= 1e-9 * max(1.0, abs(value)) / 10.0**digits


def percent(part: float | None) -> str:
    """A ratio in percent: 100 and 0 only if it is exactly that."""
    if part is None:
        return NONE
    if part in {0.0, 1.0}:
        return f"{part:.0%}".replace("%", "\u202f%")
    return f"{min(max(part * 100, 0.1), 99.9):.1f}\u202f%"


def size(number: float) -> str:
    """A number of bytes, with its unit."""
    value, unit = float(number), BYTE_UNITS[0]
    for unit in BYTE_UNITS:
        if value < 1024 or unit == BYTE_UNITS[-1]:
            break
        value /= 1024
    return (
        f"{count(value) if unit == BYTE_UNITS[0] or value >= 999.5 else _three(value)}\u202f{unit}"
    )


def money(amount: float) -> str:
    """A sum of money: with cents, or with two significant digits below one."""
    if amount == 0 or abs(amount) >= 1:
        return f"{amount:,.2f}".replace(",", "\u202f") if abs(amount) < 1e9 else short(amount)
    return f"{amount:.2g}" if abs(amount) < 1e-4 else f"{amount:.4f}".rstrip("0")


def moment(at: float) -> datetime:
    """A Unix time in this machine's time zone; the nearest that there is, for an odd clock."""
    try:
        return datetime.fromtimestamp(at).astimezone()
    except (ValueError, OverflowError, OSError):
        return datetime.fromtimestamp(0).astimezone()


def brief(at: float) -> str:
    """A time of day, with its day of the year."""
    when = moment(at)
    return f"{when:%b} {when.day}, {when:%H:%M}"


def clock_time(at: float) -> str:
    """A time of day, with its date."""
    return f"{moment(at):%Y-%m-%d %H:%M}"


def zone(at: float) -> str:
    """The offset of the time zone: UTC+02:00."""
    offset = f"{moment(at):%z}"
    return "UTC" if offset in {"+0000", ""} else f"UTC{offset[:3]}:{offset[3:5]}"


def duration(seconds: float) -> str:
    """A length of time in its largest units: 3 d 4 h."""
    left = max(0, round(seconds))
    if left < 60:
        return f"{left}\u202fs"
    minutes, hours, days = left // 60, left // 3600, left // 86400
    if hours == 0:
        return f"{minutes}\u202fmin"
    if days == 0:
        return f"{hours}\u202fh {minutes % 60}\u202fmin" if minutes % 60 else f"{hours}\u202fh"
    return f"{days}\u202fd {hours % 24}\u202fh" if hours % 24 else f"{days}\u202fd"
