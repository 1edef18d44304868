"""Fields of models that no request, and no answer, depends on; by class, with the reason.

For what is read off the model itself. What an `llm_string` tells and what does not count there is in
`rust/canonical/immaterial.rs`. A field that is in no table counts.
"""

from __future__ import annotations

LANGCHAIN = {
    # How a model is run and watched: langchain-core's own fields.
    "cache", "callback_manager", "callbacks", "custom_get_token_ids", "metadata", "name",
    "rate_limiter", "tags", "verbose",
    # What is known of the model: data of its package, new with each version.
    "profile",
}  # fmt: skip

_TRANSPORT = frozenset({"max_retries", "request_timeout", "timeout", "default_request_timeout"})
"""How long a client waits, and how often it repeats a request that failed."""

IMMATERIAL: dict[str, frozenset[str]] = {
    "langchain_openai.BaseChatOpenAI": _TRANSPORT
    | {"stream_chunk_timeout", "tiktoken_model_name", "http_socket_options"},
    "langchain_openai.BaseOpenAI": _TRANSPORT
    | {"tiktoken_model_name", "allowed_special", "disallowed_special", "batch_size"},
    "langchain_openai.AzureChatOpenAI": frozenset(
        {"azure_ad_token", "azure_ad_token_provider", "azure_ad_async_token_provider"}
    ),
    "langchain_openai.AzureOpenAI": frozenset(
        {"azure_ad_token", "azure_ad_token_provider", "azure_ad_async_token_provider"}
    ),
    "langchain_anthropic.ChatAnthropic": _TRANSPORT,
    "langchain_anthropic._AnthropicCommon": _TRANSPORT,
    "langchain_ollama.ChatOllama": frozenset({"validate_model_on_init"}),
    "langchain_ollama.OllamaLLM": frozenset({"validate_model_on_init"}),
    "langchain_perplexity.ChatPerplexity": _TRANSPORT,
}

CLIENTS: dict[str, tuple[str, ...]] = {
    "langchain_anthropic.ChatAnthropic": ("_client", "_async_client"),
    "langchain_aws.ChatAnthropicBedrock": ("_client", "_async_client"),
}
"""Clients that are made at the first call and kept beside the fields (`functools.cached_property`)."""
