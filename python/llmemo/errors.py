"""Every exception that llmemo raises.

    LLMemoError
    ├── ConfigurationError (also a ValueError)   at construction: what was given cannot work
    │   └── NotACacheError                       the file given is not an llmemo cache
    ├── NamespaceRequiredError                   namespace=REQUIRED, and a call that named none
    ├── CacheMiss                                options(mode="only"), and there is no answer
    ├── CassetteError                            a cassette of recorded answers cannot be used
    ├── CacheClosedError                         delete, invalidate or clear after close
    └── StoreError                               one of these could not reach the store

`lookup` and `update` raise none but the two that were asked for, `NamespaceRequiredError` and
`CacheMiss`: trouble there is counted in `stats().errors`, logged once, and answered with a miss.
"""

from __future__ import annotations


class LLMemoError(Exception):
    """Base of every exception of llmemo."""


class ConfigurationError(LLMemoError, ValueError):
    """An argument names something that cannot work; the message says what to do."""


class NotACacheError(ConfigurationError):
    """The file that was named as a store holds something else; it was not touched."""


class NamespaceRequiredError(LLMemoError):
    """The cache was made with `namespace=REQUIRED`, and a call has not named its own."""


class CacheMiss(LLMemoError):  # noqa: N818 (it is what happened, not a fault)
    """Under `options(mode="only")` a request has no answer that could be served."""


class CassetteError(LLMemoError):
    """A cassette (recorded answers, for tests) cannot be read or written; names file and line."""


class CacheClosedError(LLMemoError):
    """The cache was closed before an entry was to be removed from it."""


class StoreError(LLMemoError):
    """A store could not do what it was asked."""


def text_of(error: BaseException) -> str:
    """Type and message, for a log. Never raises, whatever the exception's own `__str__` does."""
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001 (see above)
        return type(error).__name__
