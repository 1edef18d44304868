"""Fields of models that no request and no answer depends on, by class.

For what is read off the model itself. `rust/canonical/immaterial.rs` has the same for what an
`llm_string` tells. A field that is in no table counts.
"""

from __future__ import annotations

LANGCHAIN_FIELDS = {
    # How a model is run and watched: fields of langchain-core.
    "cache", "callback_manager", "callbacks", "custom_get_token_ids", "metadata", "name",
    "rate_limiter", "tags", "verbose",
    # What is known about the model: data of its package, new with each version.
    "profile",
}  # fmt: skip

RUN_FIELDS = frozenset({
    "cache", "callback_manager", "callbacks", "custom_get_token_ids", "rate_limiter", "verbose",
})  # fmt: skip
"""Those that LangChain uses itself, also where a user's class declares them again."""

_TRANSPORT = frozenset({"max_retries", "request_timeout", "timeout", "default_request_timeout"})
"""How long a client waits for a response, and how often it repeats a request that failed."""

_TOKENIZER = frozenset({"tiktoken_model_name", "allowed_special", "disallowed_special"})
"""Used by `get_num_tokens`, and to split long prompts."""

_SIGN_IN = frozenset({"azure_ad_token", "azure_ad_token_provider", "azure_ad_async_token_provider"})
"""The account that a request is sent for, as an API key says."""

_AWS = _TRANSPORT | {
    "aws_access_key_id", "aws_secret_access_key", "aws_session_token", "bedrock_api_key",
    "credentials_profile_name",
    # Asked about models and guardrails, never for an answer.
    "bedrock_client",
}  # fmt: skip

IGNORED: dict[str, frozenset[str]] = {
    "langchain_openai.BaseChatOpenAI": _TRANSPORT
    | _TOKENIZER
    | {"stream_chunk_timeout", "http_socket_options"},
    "langchain_openai.BaseOpenAI": _TRANSPORT | _TOKENIZER | {"batch_size"},
    "langchain_openai.AzureChatOpenAI": _SIGN_IN,
    "langchain_openai.AzureOpenAI": _SIGN_IN,
    "langchain_anthropic.ChatAnthropic": _TRANSPORT,
    "langchain_anthropic._AnthropicCommon": _TRANSPORT | {"count_tokens"},
    "langchain_aws.ChatBedrock": _AWS,
    "langchain_aws.ChatBedrockConverse": _AWS,
    "langchain_aws.BedrockBase": _AWS,
    "langchain_google_genai.GoogleGenerativeAI": frozenset({"timeout"}),
    # Not `timeout`, which Gemini is sent (`X-Server-Timeout`).
    "langchain_google_genai._BaseGoogleGenerativeAI": frozenset({"max_retries", "credentials"}),
    "langchain_ollama.ChatOllama": frozenset({"validate_model_on_init"}),
    "langchain_ollama.OllamaLLM": frozenset({"validate_model_on_init"}),
    "langchain_perplexity.ChatPerplexity": _TRANSPORT,
}
"""Read off the sources of the packages' versions of November 2026."""
