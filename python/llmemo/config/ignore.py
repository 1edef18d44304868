"""Names of settings that do not count in keys: `LLMCache(ignore=…)`, checked."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from llmemo.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable

EXAMPLE = 'ignore=("default_headers.x-request-id", "user")'

LONGEST = 256
"""Longest name, in characters."""

DEEPEST = 16
"""Most parts of a name."""

PASSED_ON = ("model_kwargs", "extra_body")
"""As `PASSED_ON` of `rust/canonical/ignored.rs`."""

DECISIVE = frozenset({
    # Which model, and where.
    "_type", "class", "id", "lc", "type", "adapter", "adapter_id", "model", "model_id",
    "model_name", "model_provider", "model_revision", "revision", "engine", "repo_id",
    "deployment", "deployment_name", "azure_deployment", "base_url", "api_base", "openai_api_base",
    "azure_endpoint", "endpoint", "endpoint_url", "host",
    # What it is asked.
    "audio", "cached_content", "content", "contents", "documents", "file_ids", "files", "images",
    "input", "inputs", "instructions", "messages", "prompt", "prompts", "query", "question",
    "system", "system_instruction", "system_message", "system_prompt",
    # What the server keeps of earlier requests, and reads with this one. In headers and metadata
    # the same names are labels.
    "conversation", "conversation_id", "previous_response_id", "session_id", "thread_id",
    # What it may answer with.
    "format", "function_call", "functions", "json_schema", "modalities", "n", "output_format",
    "response_format", "response_mime_type", "response_schema", "schema", "stop", "stop_sequences",
    "tool_choice", "tool_config", "tools",
})  # fmt: skip
"""Settings that say what is asked. Without one of them, one answer would serve two questions."""

REQUEST_PARTS = ("headers", "default_query", "extra_query")
"""How settings end that may hold any part of a request, and so are not ignored as a whole."""


def _plain(name: str) -> str:
    """A name without case, and without what joins its words: `modelId` is `model_id`."""
    return name.lower().replace("_", "").replace("-", "")


_DECISIVE = frozenset(map(_plain, DECISIVE))
_PASSED_ON = frozenset(map(_plain, PASSED_ON))
_REQUEST_PARTS = tuple(map(_plain, REQUEST_PARTS))


def check_ignore(names: Iterable[str]) -> tuple[str, ...]:
    """The names, sorted, each once; names of headers in lower case.

    Raises:
        ConfigurationError: One of them is no name, or names a setting that has to count.
    """
    if isinstance(names, str | bytes) or not isinstance(names, tuple | list | set | frozenset):
        _refuse(names, f"give the names of settings in a tuple, as in {EXAMPLE}")
    checked = {_checked(name) for name in names}
    # What is inside a setting that is ignored as a whole is ignored with it.
    return tuple(sorted(name for name in checked if not _has_outer(name, checked)))


def is_decisive(name: str) -> bool:
    """Whether a setting of this name, in any case, has to count."""
    first, *rest = map(_plain, name.split("."))
    while first in _PASSED_ON and rest:
        first, *rest = rest
    return first in _DECISIVE or _holds_any(name)


def _holds_any(name: str) -> bool:
    """Whether a name is that of a whole dict that may hold what is asked."""
    last = _plain(name.rpartition(".")[2])
    return last in _PASSED_ON or last.endswith(_REQUEST_PARTS)


def _checked(name: str) -> str:
    if not isinstance(name, str):
        _refuse(name, f"a name of a setting is a str, as in {EXAMPLE}")
    parts = name.split(".")
    is_name = all(part.strip() == part and part for part in parts)
    if not is_name or len(name) > LONGEST or len(parts) > DEEPEST or not name.isprintable():
        _refuse(name, f"write the name of a setting, and dots between its parts, as in {EXAMPLE}")
    if _holds_any(name):
        inside = "user" if _plain(name.rpartition(".")[2]) in _PASSED_ON else "x-request-id"
        _refuse(name, f"it may hold what is asked. Name what you mean in it: {name}.{inside}")
    if is_decisive(name):
        _refuse(name, "it says what is asked, and one answer would serve different requests")
    for at, part in enumerate(parts):
        if part.lower().endswith("headers"):
            return ".".join([*parts[: at + 1], *(it.lower() for it in parts[at + 1 :])])
    return name


def _has_outer(name: str, names: set[str]) -> bool:
    return any(name.startswith(f"{other}.") for other in names)


def _refuse(given: object, why: str) -> NoReturn:
    msg = f"ignore={given!r} is not allowed: {why}"
    raise ConfigurationError(msg)
