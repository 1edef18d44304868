"""Where a provider's client sends requests to: the attributes that say so, by the kind of client.

The endpoint, headers and query of a client may come from the environment, or from arguments that
LangChain does not write down. The client has them in any case. Read off the sources of openai 3.57,
anthropic 2.14, groq 0.37, perplexity 1, fireworks 1, httpx 0.28, httpx2 2.16, ollama 0.6, botocore
1.44, google-genai 3.6, huggingface_hub 1 and cohere 5. Of a client of another kind nothing is read.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, TypeAlias

from llmemo.introspection.type_signature import mro_of, name_of
from llmemo.langchain.model_classes import is_model

if TYPE_CHECKING:
    from collections.abc import Callable

Path: TypeAlias = tuple[str, tuple[str, ...]]
"""What it says, and the attributes that lead there. "headers" are filtered; a "client" is read as
one."""

Kind: TypeAlias = tuple[str, tuple[str, ...], tuple[Path, ...]]
"""A kind of client, what leads to it from a part of it, and what is read of it."""

_HTTPX: tuple[Path, ...] = (
    ("base_url", ("_base_url", "_uri_reference")),
    ("headers", ("_headers", "_list")),
    ("query", ("_params", "_dict")),
)

# Clients that Stainless has generated: OpenAI's, Anthropic's and their likes (`_base_client.py`).
_STAINLESS: tuple[Path, ...] = (
    ("base_url", ("_base_url", "_uri_reference")),
    ("headers", ("_custom_headers",)),
    ("query", ("_custom_query",)),
    ("client", ("_client",)),
)
_OPENAI: tuple[Path, ...] = (("organization", ("organization",)), ("project", ("project",)))

_BOTO: tuple[Path, ...] = (
    ("base_url", ("meta", "endpoint_url")),
    ("region", ("meta", "region_name")),
    ("hooks", ("meta", "events")),
)

_GENAI: tuple[Path, ...] = (
    ("base_url", ("_api_client", "_http_options", "base_url")),
    ("version", ("_api_client", "_http_options", "api_version")),
    ("headers", ("_api_client", "_http_options", "headers")),
    ("body", ("_api_client", "_http_options", "extra_body")),
    ("vertexai", ("_api_client", "vertexai")),
    ("project", ("_api_client", "project")),
    ("location", ("_api_client", "location")),
    ("client", ("_api_client", "_httpx_client")),
)

_HUGGING_FACE: tuple[Path, ...] = tuple(
    (name, (name,)) for name in ("model", "provider", "base_url", "headers", "bill_to")
)

_COHERE: tuple[Path, ...] = (("base_url", ("_client_wrapper", "_base_url")),)


def kind_of_client(client: Any) -> tuple[Kind | None, bool]:
    """What to read of a client, if it is of a kind that is known; and whether its class stays."""
    cls = type(client)
    # boto3 makes a class for each client; those must not be kept.
    module, name = name_of(cls)
    is_kept = getattr(sys.modules.get(module), name, None) is cls
    if is_model(client):
        return ("model", (), (("model", ()),)), is_kept
    if name.endswith("HttpxClientWrapper"):
        # Made by the SDK, or by LangChain for it: it adds nothing to what the SDK's client says.
        return None, is_kept
    found = _of_class(cls)
    if found is not None:
        return (found[0], (), found[1]), is_kept
    # A part of a client (`client.chat.completions`), or a wrapper around one.
    found = _of_class(type(getattr(client, "_client", None)))
    return (None if found is None else (found[0], ("_client",), found[1])), is_kept


_SENDING = "before-send.bedrock-runtime.Converse"
"""What boto3 calls the moment before a request is sent."""


def hooks_of(value: Any) -> list[Any]:
    """What LangChain has boto3 call before a request is sent, which adds headers to it.

    Hooks of a user's, here and in httpx clients, mostly count and log requests. They are part of
    the transport and do not count.

    `value`: what boto3 registers them with.
    """
    emitter = getattr(value, "_emitter", value)
    found = emitter._handlers.prefix_search(_SENDING)  # noqa: SLF001 (it shows them nowhere)
    return [hook for hook in found if str(getattr(hook, "__module__", "")).startswith("langchain_")]


def _of_class(cls: type) -> tuple[str, tuple[Path, ...]] | None:
    for base in mro_of(cls):
        module, name = name_of(base)
        for is_it, kind, found in _KINDS:
            if is_it(str(module), name):
                if kind == "http" and str(module).startswith("openai."):
                    return kind, (*found, *_OPENAI)
                return kind, found
    return None


_KINDS: tuple[tuple[Callable[[str, str], bool], str, tuple[Path, ...]], ...] = (
    (
        lambda module, name: module.endswith("._base_client") and name == "BaseClient",
        "http",
        _STAINLESS,
    ),
    (lambda module, name: module.startswith("httpx") and name == "BaseClient", "httpx", _HTTPX),
    (lambda module, name: (module, name) == ("botocore.client", "BaseClient"), "boto", _BOTO),
    (lambda module, name: (module, name) == ("google.genai.client", "Client"), "genai", _GENAI),
    (
        lambda module, name: (
            module.startswith("huggingface_hub") and name.endswith("InferenceClient")
        ),
        "hugging face",
        _HUGGING_FACE,
    ),
    (
        lambda module, name: module.startswith("cohere.base_client") and name.startswith("Base"),
        "cohere",
        _COHERE,
    ),
)
