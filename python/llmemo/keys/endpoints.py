"""Whether a client sends requests to where the text of its model says, or to the usual endpoint.

Then the text says all, and a key is what it would be without the model at hand: that of an imported
answer. A client that was made from the environment, or that was replaced, is told beside the text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from llmemo.keys.clients import hooks_of, kind_of_client

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langchain_core.language_models import BaseLanguageModel

UNTOLD_HEADERS = {
    "accept", "accept-encoding", "api-key", "authorization", "connection", "content-type",
    "user-agent", "x-api-key", "x-goog-api-client", "x-goog-api-key",
}  # fmt: skip
"""As `UNTOLD_HEADERS` of `rust/python/keys/client_kinds.rs`."""


class Usual(NamedTuple):
    """What the clients of a class of models have unless something else is said."""

    field: str
    """The model's field that may name another endpoint."""
    url: str = ""
    """The endpoint if that field is not set; the names in braces stand for fields."""
    path: str = ""
    """What comes after either."""
    versions: frozenset[str] = frozenset()


_VERSIONS = frozenset({"v1", "v1beta"})
_BEDROCK = Usual("endpoint_url", "https://bedrock-runtime.{region_name}.amazonaws.com")

USUAL: dict[str, Usual] = {
    "langchain_openai.ChatOpenAI": Usual("openai_api_base", "https://api.openai.com/v1"),
    "langchain_openai.OpenAI": Usual("openai_api_base", "https://api.openai.com/v1"),
    "langchain_openai.AzureChatOpenAI": Usual(
        "azure_endpoint", path="/openai/deployments/{deployment_name}"
    ),
    "langchain_anthropic.ChatAnthropic": Usual("anthropic_api_url", "https://api.anthropic.com"),
    "langchain_google_genai.ChatGoogleGenerativeAI": Usual(
        "base_url", "https://generativelanguage.googleapis.com", versions=_VERSIONS
    ),
    "langchain_aws.ChatBedrockConverse": _BEDROCK,
    "langchain_aws.ChatBedrock": _BEDROCK,
    "langchain_mistralai.ChatMistralAI": Usual("endpoint", "https://api.mistral.ai/v1"),
    "langchain_groq.ChatGroq": Usual("groq_api_base", "https://api.groq.com"),
    "langchain_fireworks.ChatFireworks": Usual("fireworks_api_base", "https://api.fireworks.ai"),
    "langchain_xai.ChatXAI": Usual("xai_api_base", "https://api.x.ai/v1"),
}
"""By class. Read off the sources of langchain-openai 1.7, -anthropic 1.7, -google-genai 4.4, -aws
1.9, -mistralai 1.1, -groq 1.1, -fireworks 1.7 and -xai 1.3."""


def is_usual(model: BaseLanguageModel[Any], official: str, clients: Iterator[Any]) -> bool:
    """Whether all clients of a model are what its fields say, and no more."""
    usual = USUAL.get(official)
    return usual is not None and all(_is_usual(model, usual, it) for it in clients)


def _is_usual(model: Any, usual: Usual, client: Any) -> bool:
    fields = model.__dict__
    headers = fields.get("default_headers") or {}
    query = dict(fields.get("default_query") or {})
    if fields.get("openai_api_version"):
        query.setdefault("api-version", fields["openai_api_version"])
    expected = {
        "base_url": _text(_expected_url(fields, usual)),
        "headers": _headers(headers),
        "query": query,
        "organization": fields.get("openai_organization"),
        "region": fields.get("region_name"),
    }
    kind, _ = kind_of_client(client)
    # An httpx client that says nothing leaves it to the SDK's client that sends through it.
    may_be_empty = kind is not None and kind[0] == "httpx"
    return all(
        (value or None) == (expected.get(label) or None)
        or (may_be_empty and not value)
        or (label == "version" and value in usual.versions)
        for label, value in _told(client)
    )


def _told(client: Any) -> Iterator[tuple[str, Any]]:
    """What a client says, by its label."""
    kind, _ = kind_of_client(client)
    if kind is not None:
        _, base, paths = kind
        for label, path in paths:
            value = _read(client, (*base, *path))
            yield label, _SHOWN.get(label, lambda it: it)(value)


def _expected_url(fields: Mapping[str, Any], usual: Usual) -> str:
    template = str(fields.get(usual.field) or usual.url).rstrip("/") + usual.path
    try:
        return template.format_map(fields) if "{" in template else template
    except (KeyError, ValueError, IndexError):
        return ""


def _read(client: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        client = getattr(client, name, None)
    return client


def _text(url: Any) -> str:
    if isinstance(url, tuple) and len(url) == 7:  # as httpx parses a URL
        scheme, user, host, port, path, query, fragment = url
        port = "" if port is None else f":{port}"
        user = f"{user}@" if user else ""
        rest = (f"?{query}" if query else "") + (f"#{fragment}" if fragment else "")
        url = f"{scheme}://{user}{host}{port}{path}{rest}" if host else path
    return str(url or "").rstrip("/")


def _headers(headers: Any) -> list[tuple[str, str]]:
    items = headers.items() if isinstance(headers, Mapping) else headers or ()
    pairs = [tuple(_str(part) for part in item[-2:]) for item in items]
    return sorted((name, value) for name, value in pairs if name.lower() not in UNTOLD_HEADERS)


def _str(part: Any) -> str:
    return part.decode("latin-1") if isinstance(part, bytes) else str(part)


_SHOWN: dict[str, Callable[[Any], Any]] = {
    "base_url": _text,
    "headers": _headers,
    "hooks": hooks_of,
    "client": lambda client: [value for _, value in _told(client) if value],
}
"""How what a client says is compared. What a client within it adds has to be nothing."""
