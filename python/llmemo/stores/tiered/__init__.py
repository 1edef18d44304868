"""Two stores as one: a near one that answers, and a far one that several machines share."""

from llmemo.stores.tiered.store import TieredStore

__all__ = ["TieredStore"]
