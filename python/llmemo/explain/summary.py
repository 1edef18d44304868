"""The `repr` of a cache: one line, for people."""

from __future__ import annotations

from inspect import signature
from typing import TYPE_CHECKING

from llmemo.config.options import Required

if TYPE_CHECKING:
    from llmemo.pipeline.tiers import Tiers


def summary_of(tiers: Tiers, name: str, base: type) -> str:
    """The store, the settings that differ from the defaults, and the number of entries."""
    parts = [] if tiers.store is None else [repr(tiers.store)]
    for argument, parameter in signature(base).parameters.items():
        value = getattr(tiers.settings, argument, parameter.default)
        # Functions and tables are too long for a line.
        if value != parameter.default and isinstance(value, (int, float, str, tuple, Required)):
            # The only text is the namespace, the name of a tenant or a session: not for a log.
            parts.append(f"{argument}={'…' if isinstance(value, str) else repr(value)}")
    if tiers.semantic is not None:
        parts.append(f"semantic={tiers.semantic.settings!r}")  # which tells no secret
    if tiers.secrets_given - {"encryption_key"}:
        parts.append("secret=…")
    if tiers.envelope.is_encrypting:
        parts.append("encrypted")
    parts.append("closed" if tiers.is_closed else f"entries={tiers.stats().entries}")
    return f"{name}({', '.join(parts)})"
