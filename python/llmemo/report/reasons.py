"""What the reasons in `stats()` mean, and what to do about them."""

from __future__ import annotations

MISSED = {
    "absent": "No entry for this request: it is new, has expired, was evicted or removed.",
    "early": "One caller refreshed the answer before it expired, while the others got it.",
    "refresh": 'options(mode="refresh"), or a chain asked again.',
    "closed": "The cache was closed.",
    "unreadable": "The answer in memory could not be read: a class of it is gone or has changed.",
}

BYPASSED = {
    "requested": 'options(mode="bypass").',
    "address": "An object whose text is its address. Give plain values, or a class with a repr.",
    "unknown_repr": "An object whose text need not say what is in it. Give plain values.",
    "truncated": "A value that is printed only in part. Give it as plain values.",
    "too_deep": "Values that are nested too deep.",
    "unknown_class": "A class that was not seen. Call the model through LangChain's methods.",
    "hidden_model": "Another cache asks, from another thread or with another text.",
    "unknown_value": "A value that cannot be told. Give plain values, or declare it exclude=True.",
    "too_large": "Values that are too large for settings.",
    "thin_text": "The model lists too few settings. Call it through LangChain's methods.",
    "not_text": "Prompt or llm_string is no text.",
}

SKIPPED = {
    "truncated": "The answer was cut off: raise the limit of tokens.",
    "filtered": "A filter of the provider stopped the answer.",
    "refused": "The model refused to answer.",
    "failed": "The model stopped with an error.",
    "empty": "The answer says nothing.",
    "invalid_tool_calls": "A tool call in the answer is not valid.",
    "unknown_reason": "The model stopped for an unknown reason. If answers are whole, give admit=.",
    "not_admitted": "Your admit= function said no, or raised.",
    "not_parsed": "Kept, until an output parser could not read it.",
    "changed": "A setting of the model changed while it answered.",
    "unsupported_type": "The answer has a type that could not come back equal.",
    "unproved_type": "The answer has a class that could not be checked to come back equal.",
    "store_read_only": "The store is read-only: the answer is in memory alone.",
    "closed": "The cache was closed.",
    "superseded": "Another process has stored a newer answer.",
    "too_large": "The answer is too large for the cache.",
    "large": "The answer is too large for the value format.",
    "cut_off": "The stream was left before its end.",
    "untold_state": "The state of the graph has something that cannot be told.",
}

ERRORS = {
    "store_read": "Reads of the store that failed: misses.",
    "store_write": "Writes to the store that failed: in memory alone.",
    "store_read_timeout": "Reads that took longer than store_timeout: misses.",
    "store_write_timeout": "Writes that took longer than store_timeout: they go on by themselves.",
    "store_shut": "Calls that did not wait for a store that had failed.",
    "store_refused": "Answers that the store does not take: in memory alone.",
    "store_unusable": "The store is not for this version, or cannot be used: memory serves alone.",
    "write_dropped": "Writes that were dropped, since too many were queued.",
    "admit": "Your admit= function raised.",
    "internal": "A defect of llmemo. Please report it, with the log line.",
    "holder_stuck": "A caller that computed an answer stood still; a waiter took over.",
    "options_elsewhere": "A block of options ended in another context: see docs/namespaces.md.",
    "options_in_a_loop": "A generator is paused inside a block of options.",
}

GROUPS = (
    ("Not looked up", "bypassed", BYPASSED),
    ("Not kept", "skipped", SKIPPED),
    ("Errors survived", "errors", ERRORS),
)
"""Title, name of the group in `stats()`, meanings."""
