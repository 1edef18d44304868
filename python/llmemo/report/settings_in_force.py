"""The settings of a cache, without its secrets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import TYPE_CHECKING

from llmemo.config.options import Required
from llmemo.report import formats

if TYPE_CHECKING:
    from llmemo.pipeline.tiers import Tiers

SECONDS = {"ttl", "stale_if_error", "lease_timeout", "store_timeout"}
BYTES = {"max_bytes", "namespace_max_bytes"}


def settings_in_force(tiers: Tiers) -> list[tuple[str, str]]:
    """Names and values, as text that is yet to be escaped."""
    shown = [("store", "none" if tiers.store is None else repr(tiers.store))]
    shown += [
        (field.name, _value(field.name, getattr(tiers.settings, field.name)))
        for field in fields(tiers.settings)
        if field.name not in {"has_store", "clock", "semantic"}
    ]
    semantic = "off" if tiers.semantic is None else repr(tiers.semantic.settings)
    given = tiers.secrets_given
    shown += [
        ("semantic", semantic),
        ("secret", "set" if "secret" in given else "not set"),
        ("encryption", "on" if tiers.envelope.is_encrypting else "off"),
    ]
    return shown


def _value(name: str, value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, (int, float)):
        return _number(name, value)
    if isinstance(value, Required):
        return "required in each call"
    if isinstance(value, str):
        return value or "none"
    return "none" if value is None else _shown(value)


def _shown(value: object) -> str:
    """A function by its name, a table by its length, names as they are."""
    if isinstance(value, Mapping):
        return f"{len(value)} given" if value else "none"
    if isinstance(value, Iterable):
        return ", ".join(sorted(map(str, value))) or "none"
    return str(getattr(value, "__name__", "set"))


def _number(name: str, value: float) -> str:
    if name in SECONDS:
        return formats.duration(value) if value >= 60 else f"{value:g} s"
    return formats.size(value) if name in BYTES else f"{value:,g}"
