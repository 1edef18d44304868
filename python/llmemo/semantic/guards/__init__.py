"""Guards: what speaks against serving the answer to a similar question."""

from __future__ import annotations

from llmemo.semantic.guards.decision import Refusal, refusal

__all__ = ["Refusal", "refusal"]
