"""One request's path through the tiers: lookup, update, invalidate, admission."""

import contextlib

from llmemo._core import prepare

# Before any thread or fork. A langchain-core that lacks some classes is no reason not to start: its
# answers are not kept, and counted.
with contextlib.suppress(Exception):
    prepare()
