"""Chat models that are cached on every path: see `cached`."""

from llmemo.integrations.cached_model.wrap import cached

__all__ = ["cached"]
