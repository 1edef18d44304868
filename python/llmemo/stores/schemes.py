"""Schemes of URLs, for the registry and for the stores that read these URLs."""

from __future__ import annotations

REDIS_SCHEMES = ("redis", "rediss", "valkey", "valkeys", "redis+sentinel", "rediss+sentinel")
"""Those in "s" before a plus, or at the end, are through TLS."""
