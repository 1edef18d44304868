"""What changes no request, and where a key tells more apart than it has to.

No table here excuses two requests of one key: there is no reason for that.
"""

from __future__ import annotations

# The class does not take the field, or fails with it before anything is sent.
REFUSED: dict[tuple[str, str], str] = {
    ("AzureChatOpenAI", "openai_api_base"): "the endpoint is azure_endpoint",
    ("AzureOpenAI", "openai_api_base"): "the endpoint is azure_endpoint",
    ("AzureChatOpenAI", "azure_ad_async_token_provider"): "leaves no client for a sync call",
    ("AzureOpenAI", "azure_ad_async_token_provider"): "leaves no client for a sync call",
    ("ChatDeepSeek", "openai_api_key"): "the key is api_key",
    ("_ChatOpenAICodex", "openai_api_base"): "the endpoint is fixed",
    ("_ChatOpenAICodex", "openai_api_key"): "the sign-in is token_provider",
    ("_ChatOpenAICodex", "n"): "it always streams, which is for one answer",
    ("_ChatOpenAICodex", "store"): "fixed",
    **{
        ("ChatDeepSeek", field): "switches to the Responses API, where the class fails"
        for field in (
            "context_management",
            "include",
            "reasoning",
            "root_client",
            "truncation",
            "use_previous_response_id",
            "use_responses_api",
        )
    },
    **{
        ("_ChatOpenAICodex", field): "an option that the Responses API does not have"
        for field in ("frequency_penalty", "logit_bias", "logprobs", "presence_penalty", "seed")
    },
}

_SIGNS = "signs the request, which says nothing else of it"
_LOCAL = "used on this side only"
_WAITS = "how the client waits and repeats"
_PROXY = "the way there, not where to"
_ASYNC = "for calls that are awaited"

# Fields with which the request is the same, whatever the class.
INERT: dict[str, str] = {
    "AI_PROMPT": "of an API that is gone",
    "HUMAN_PROMPT": "of an API that is gone",
    "allowed_special": _LOCAL,
    "anthropic_api_key": _SIGNS,
    "anthropic_proxy": _PROXY,
    "api_key": _SIGNS,
    "api_key_ttl_seconds": _SIGNS,
    "async_client": _ASYNC,
    "async_client_kwargs": _ASYNC,
    "auth_mode": _SIGNS,
    "aws_access_key_id": _SIGNS,
    "aws_secret_access_key": _SIGNS,
    "aws_session_token": _SIGNS,
    "azure_ad_token": _SIGNS,
    "azure_ad_token_provider": _SIGNS,
    "batch_size": "how many prompts travel together",
    "bedrock_api_key": _SIGNS,
    "bedrock_client": "asks for the names of models only",
    "callbacks": _LOCAL,
    "count_tokens": _LOCAL,
    "credentials": _SIGNS,
    "custom_get_token_ids": _LOCAL,
    "credentials_profile_name": _SIGNS,
    "default_metadata": "made of additional_headers",
    "default_request_timeout": _WAITS,
    "disabled_params": "what `bind_tools` may set",
    "disable_streaming": "whether `invoke` may stream, which it does not here",
    "disallowed_special": _LOCAL,
    "google_api_key": _SIGNS,
    "groq_api_key": _SIGNS,
    "groq_proxy": _PROXY,
    "http_async_client": _ASYNC,
    "http_socket_options": _WAITS,
    "include_response_headers": "what is told of the answer",
    "max_concurrent_requests": _WAITS,
    "max_retries": _WAITS,
    "metadata": "for traces",
    "mistral_api_key": _SIGNS,
    "model_version": "for traces",
    "name": "for traces",
    "openai_api_key": _SIGNS,
    "openai_api_type": "sent by openai 0",
    "openai_proxy": _PROXY,
    "output_version": "how the answer is represented",
    "pplx_api_key": _SIGNS,
    "profile": "what the model can do; read by `with_structured_output`",
    "provider_stop_reason_key_map": "how the answer is read",
    "rate_limiter": _WAITS,
    "request_timeout": _WAITS,
    "root_async_client": _ASYNC,
    "stream_chunk_timeout": _WAITS,
    "supports_tool_choice_values": "what `bind_tools` may ask for",
    "tags": "for traces",
    "tiktoken_model_name": _LOCAL,
    "timeout": _WAITS,
    "validate_base_url": "whether the constructor complains",
    "validate_model_on_init": "whether the constructor asks",
    "verbose": "for traces",
    "xai_api_key": _SIGNS,
}

# Fields with which the request of one class is the same.
_UNSENT = "not sent by this class"
INERT_IN: dict[tuple[str, str], str] = {
    ("AnthropicLLM", "client"): "made anew by the constructor",
    ("AzureOpenAI", "model_name"): "the deployment is sent",
    ("BedrockLLM", "base_model_id"): "for models that are named by an ARN",
    ("BedrockLLM", "provider_stop_sequence_key_name_map"): "read while streaming",
    ("ChatBedrock", "provider_stop_sequence_key_name_map"): "read while streaming",
    ("BedrockLLM", "provider"): "Mistral's and Meta's requests of one prompt are alike",
    ("ChatAnthropic", "stream_usage"): "how the answer is read",
    ("ChatAnthropicBedrock", "anthropic_api_url"): _UNSENT,
    ("ChatAnthropicBedrock", "stream_usage"): "how the answer is read",
    ("ChatAnthropicMantle", "stream_usage"): "how the answer is read",
    ("ChatBedrock", "base_model_id"): "for models that are named by an ARN",
    ("ChatBedrock", "stop_sequences"): "sent through the Converse API only",
    ("ChatBedrockConverse", "base_model_id"): "for models that are named by an ARN",
    ("ChatBedrockConverse", "provider"): "for models that are named by an ARN",
    ("ChatDeepSeek", "openai_api_base"): "the endpoint is api_base",
    ("ChatDeepSeek", "openai_organization"): _UNSENT,
    ("ChatGoogleGenerativeAI", "client"): "made anew by the constructor",
    ("ChatGoogleGenerativeAI", "media_resolution"): _UNSENT,
    ("ChatGoogleGenerativeAI", "model_kwargs"): _UNSENT,
    ("ChatXAI", "openai_api_base"): "the endpoint is xai_api_base",
    ("ChatXAI", "openai_organization"): _UNSENT,
    ("ChatXAI", "search_parameters"): "an API that is gone",
    ("GoogleGenerativeAI", "client"): "made anew by the constructor",
    ("_ChatOpenAICodex", "client"): "for the chat API, which it never asks",
    ("_ChatOpenAICodex", "stop"): "the Responses API has none",
    ("_ChatOpenAICodex", "stream_usage"): "the chat API's",
    ("_ChatOpenAICodex", "streaming"): "fixed",
    ("_ChatOpenAICodex", "use_previous_response_id"): "there is no response before",
    ("_ChatOpenAICodex", "use_responses_api"): "fixed",
    **{
        ("GoogleGenerativeAI", field): _UNSENT
        for field in (
            "api_version",
            "client_args",
            "image_config",
            "include_thoughts",
            "labels",
            "media_resolution",
            "response_modalities",
            "thinking_budget",
        )
    },
}

# Where a field cannot be set in that way: the call fails before anything is sent.
FAILS: dict[tuple[str, ...], str] = {
    ("ChatBedrockConverse", "configured"): "LangChain makes it anew by field names, not taken here",
    ("ChatBedrockConverse", "supports_tool_choice_values", "changed within"): "not any text",
    ("ChatSagemakerEndpoint", "configured"): "as ChatBedrockConverse",
    ("_ChatOpenAICodex", "configured"): "LangChain makes it anew with the sign-in it has made",
}

# By class and option of a call: the request is the same, and the key is not.
OPTIONS_APART: dict[tuple[str, str], str] = {
    ("AzureOpenAI", "timeout"): "an option of a completion model counts, whatever it is",
    ("OpenAI", "timeout"): "an option of a completion model counts, whatever it is",
}
