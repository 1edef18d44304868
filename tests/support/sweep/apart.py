"""Where a key tells apart two calls whose requests are the same.

Each is a needless miss, or tells apart answers that are the same for the provider and not for the
caller. A test finds those that are none any more.
"""

from __future__ import annotations

_READ = "how the answer is read, so what is stored is another one"
_GATEWAY = "a proxy may be a gateway, which answers in its own way"
_AWAITED = "calls that are awaited have the same key, and other requests"
_COUNTS = "counts, since nothing is known that says it does not: a needless miss"
_MADE = "its client was made before and stays; the field counts all the same: a needless miss"

# Ways, a reason, and by field the classes.
_GROUPS: list[tuple[tuple[str, ...], str, dict[str, str]]] = [
    (
        ("constructor",),
        "the model inside it, which could be sent it, is told whole",
        {
            "timeout": "GoogleGenerativeAI",
        },
    ),
    (
        ("constructor",),
        "LangChain's text says whether there is one, and this class has two",
        {
            "openai_api_key": "ChatXAI",
        },
    ),
    (
        ("constructor",),
        _READ,
        {
            "include_response_headers": (
                "AzureChatOpenAI ChatDeepSeek ChatOpenAI ChatOpenAIMantle ChatXAI _ChatOpenAICodex"
            ),
            "output_version": (
                "AzureChatOpenAI ChatAnthropic ChatAnthropicBedrock ChatAnthropicMantle "
                "ChatBedrock ChatBedrockConverse ChatDeepSeek ChatGoogleGenerativeAI "
                "ChatGroq ChatMistralAI ChatOllama ChatOpenAI ChatOpenAIMantle "
                "ChatPerplexity ChatSagemakerEndpoint ChatXAI _ChatOpenAICodex"
            ),
            "provider_stop_reason_key_map": "BedrockLLM ChatBedrock",
            "stream_usage": (
                "ChatAnthropic ChatAnthropicBedrock ChatAnthropicMantle _ChatOpenAICodex"
            ),
        },
    ),
    (
        ("assigned", "assigned later", "configured", "copied", "copied later"),
        _GATEWAY,
        {
            "openai_proxy": "AzureChatOpenAI ChatOpenAI ChatOpenAIMantle",
        },
    ),
    (
        ("assigned", "assigned later", "copied", "copied later"),
        _GATEWAY,
        {
            "openai_proxy": "_ChatOpenAICodex",
        },
    ),
    (
        ("constructor",),
        _GATEWAY,
        {
            "anthropic_proxy": "ChatAnthropic ChatAnthropicBedrock ChatAnthropicMantle",
            "groq_proxy": "ChatGroq",
            "openai_proxy": (
                "AzureChatOpenAI AzureOpenAI ChatDeepSeek ChatOpenAI ChatOpenAIMantle "
                "ChatXAI OpenAI _ChatOpenAICodex"
            ),
        },
    ),
    (
        ("assigned", "assigned later", "changed within", "copied", "copied later"),
        _AWAITED,
        {
            "async_client_kwargs": "ChatOllama OllamaLLM",
        },
    ),
    (
        ("assigned", "assigned later", "configured", "copied", "copied later"),
        _AWAITED,
        {
            "async_client": "AzureChatOpenAI ChatDeepSeek ChatOpenAI ChatOpenAIMantle ChatXAI",
            "http_async_client": (
                "AzureChatOpenAI ChatDeepSeek ChatOpenAI ChatOpenAIMantle ChatXAI"
            ),
        },
    ),
    (
        ("assigned", "assigned later", "copied", "copied later"),
        _AWAITED,
        {
            "async_client": "_ChatOpenAICodex",
            "http_async_client": "AzureOpenAI OpenAI _ChatOpenAICodex",
        },
    ),
    (
        ("constructor",),
        _AWAITED,
        {
            "async_client": (
                "AzureChatOpenAI AzureOpenAI ChatDeepSeek ChatGroq ChatMistralAI "
                "ChatOpenAI ChatOpenAIMantle ChatPerplexity ChatXAI OpenAI "
                "_ChatOpenAICodex"
            ),
            "async_client_kwargs": "ChatOllama OllamaLLM",
            "http_async_client": (
                "AzureChatOpenAI AzureOpenAI ChatDeepSeek ChatGroq ChatOpenAI "
                "ChatOpenAIMantle ChatXAI OpenAI _ChatOpenAICodex"
            ),
            "root_async_client": "AzureChatOpenAI ChatOpenAI",
        },
    ),
    (
        ("alias",),
        _COUNTS,
        {
            "api_base": "ChatDeepSeek",
        },
    ),
    (
        ("assigned", "assigned later", "configured", "copied", "copied later"),
        _COUNTS,
        {
            "base_model_id": "ChatBedrockConverse",
        },
    ),
    (
        ("assigned", "assigned later", "copied", "copied later"),
        _COUNTS,
        {
            "provider": "ChatBedrockConverse",
        },
    ),
    (
        ("constructor",),
        _COUNTS,
        {
            "anthropic_api_key": "ChatAnthropicBedrock",
            "anthropic_api_url": "ChatAnthropicBedrock",
            "api_key_ttl_seconds": "ChatOpenAIMantle",
            "api_version": "GoogleGenerativeAI",
            "auth_mode": "ChatAnthropicMantle",
            "azure_ad_token": "AzureChatOpenAI",
            "base_model_id": "BedrockLLM ChatBedrock ChatBedrockConverse",
            "bedrock_api_key": "ChatBedrock ChatBedrockConverse",
            "client": "_ChatOpenAICodex",
            "client_args": "GoogleGenerativeAI",
            "credentials_profile_name": "ChatAnthropicMantle ChatOpenAIMantle",
            "default_request_timeout": "AnthropicLLM ChatAnthropicMantle",
            "disable_streaming": (
                "AzureChatOpenAI ChatAnthropic ChatAnthropicBedrock ChatAnthropicMantle "
                "ChatBedrock ChatBedrockConverse ChatDeepSeek ChatGoogleGenerativeAI "
                "ChatGroq ChatMistralAI ChatOllama ChatOpenAI ChatOpenAIMantle "
                "ChatPerplexity ChatSagemakerEndpoint ChatXAI _ChatOpenAICodex"
            ),
            "disabled_params": (
                "AzureChatOpenAI ChatDeepSeek ChatOpenAI ChatOpenAIMantle ChatXAI _ChatOpenAICodex"
            ),
            "image_config": "GoogleGenerativeAI",
            "include_thoughts": "GoogleGenerativeAI",
            "labels": "GoogleGenerativeAI",
            "max_retries": "AnthropicLLM ChatAnthropicMantle",
            "media_resolution": "ChatGoogleGenerativeAI GoogleGenerativeAI",
            "model_kwargs": "ChatGoogleGenerativeAI",
            "model_name": "AzureOpenAI",
            "model_version": "AzureChatOpenAI",
            "openai_api_base": "ChatDeepSeek ChatXAI",
            "openai_api_type": "AzureChatOpenAI AzureOpenAI",
            "openai_organization": "ChatDeepSeek ChatXAI",
            "provider": "BedrockLLM ChatBedrockConverse",
            "provider_stop_sequence_key_name_map": "BedrockLLM ChatBedrock",
            "response_modalities": "GoogleGenerativeAI",
            "search_parameters": "ChatXAI",
            "stop": "_ChatOpenAICodex",
            "stop_sequences": "ChatBedrock",
            "supports_tool_choice_values": "ChatBedrockConverse",
            "thinking_budget": "GoogleGenerativeAI",
            "timeout": "ChatGoogleGenerativeAI",
            "use_previous_response_id": "_ChatOpenAICodex",
            "validate_base_url": "AzureChatOpenAI AzureOpenAI",
        },
    ),
    (
        ("assigned", "assigned later", "changed within", "configured", "copied", "copied later"),
        _MADE,
        {
            "default_headers": "AzureChatOpenAI ChatGroq",
            "default_query": "AzureChatOpenAI",
        },
    ),
    (
        ("assigned", "assigned later", "changed within", "copied", "copied later"),
        _MADE,
        {
            "additional_headers": "ChatGoogleGenerativeAI GoogleGenerativeAI",
            "client_args": "ChatGoogleGenerativeAI",
            "client_kwargs": "ChatOllama OllamaLLM",
            "default_headers": "AzureOpenAI",
            "default_query": "AzureOpenAI",
            "safety_settings": "GoogleGenerativeAI",
            "sync_client_kwargs": "ChatOllama OllamaLLM",
        },
    ),
    (
        ("assigned", "assigned later", "configured", "copied", "copied later"),
        _MADE,
        {
            "api_base": "ChatDeepSeek",
            "azure_endpoint": "AzureChatOpenAI",
            "client": "AzureChatOpenAI ChatDeepSeek ChatOpenAI ChatOpenAIMantle ChatXAI",
            "config": "BedrockLLM ChatBedrock SagemakerEndpoint",
            "credentials_profile_name": "SagemakerEndpoint",
            "default_headers": "ChatDeepSeek ChatOpenAI ChatOpenAIMantle ChatXAI",
            "default_query": "ChatDeepSeek ChatGroq ChatOpenAI ChatOpenAIMantle ChatXAI",
            "deployment_name": "AzureChatOpenAI",
            "endpoint_url": "BedrockLLM ChatBedrock SagemakerEndpoint",
            "groq_api_base": "ChatGroq",
            "http_client": (
                "AzureChatOpenAI ChatDeepSeek ChatGroq ChatOpenAI ChatOpenAIMantle ChatXAI"
            ),
            "openai_api_base": "ChatOpenAI ChatOpenAIMantle",
            "openai_api_version": "AzureChatOpenAI",
            "openai_organization": "AzureChatOpenAI ChatOpenAI ChatOpenAIMantle",
            "region_name": "BedrockLLM ChatBedrock ChatOpenAIMantle SagemakerEndpoint",
            "root_async_client": "ChatDeepSeek ChatOpenAIMantle",
            "xai_api_base": "ChatXAI",
        },
    ),
    (
        ("assigned", "assigned later", "copied", "copied later"),
        _MADE,
        {
            "AI_PROMPT": "AnthropicLLM",
            "HUMAN_PROMPT": "AnthropicLLM",
            "anthropic_api_url": "AnthropicLLM",
            "api_version": "ChatGoogleGenerativeAI",
            "async_client": "AnthropicLLM",
            "azure_endpoint": "AzureOpenAI",
            "base_url": "ChatGoogleGenerativeAI ChatOllama GoogleGenerativeAI OllamaLLM",
            "config": "ChatBedrockConverse ChatSagemakerEndpoint",
            "context_management": "AzureChatOpenAI ChatOpenAI ChatOpenAIMantle ChatXAI",
            "credentials_profile_name": "ChatSagemakerEndpoint",
            "default_headers": "ChatBedrockConverse OpenAI _ChatOpenAICodex",
            "default_metadata": "ChatGoogleGenerativeAI",
            "default_query": "OpenAI _ChatOpenAICodex",
            "endpoint": "ChatMistralAI",
            "endpoint_url": "ChatBedrockConverse ChatSagemakerEndpoint",
            "frequency_penalty": "GoogleGenerativeAI",
            "http_client": "AzureOpenAI OpenAI _ChatOpenAICodex",
            "include": "AzureChatOpenAI ChatOpenAI ChatOpenAIMantle ChatXAI",
            "location": "ChatGoogleGenerativeAI GoogleGenerativeAI",
            "max_output_tokens": "GoogleGenerativeAI",
            "model": "GoogleGenerativeAI",
            "model_id": "ChatBedrockConverse",
            "n": "GoogleGenerativeAI",
            "openai_api_base": "OpenAI",
            "openai_api_version": "AzureOpenAI",
            "openai_organization": "AzureOpenAI OpenAI _ChatOpenAICodex",
            "presence_penalty": "GoogleGenerativeAI",
            "project": "ChatGoogleGenerativeAI GoogleGenerativeAI",
            "reasoning": "AzureChatOpenAI ChatOpenAI ChatOpenAIMantle ChatXAI",
            "reasoning_effort": "ChatBedrockConverse",
            "region_name": "ChatBedrockConverse ChatSagemakerEndpoint",
            "root_async_client": "_ChatOpenAICodex",
            "seed": "GoogleGenerativeAI",
            "temperature": "GoogleGenerativeAI",
            "top_k": "GoogleGenerativeAI",
            "top_p": "GoogleGenerativeAI",
            "truncation": "AzureChatOpenAI ChatOpenAI ChatOpenAIMantle ChatXAI",
            "use_previous_response_id": "AzureChatOpenAI ChatOpenAI ChatOpenAIMantle ChatXAI",
            "vertexai": "ChatGoogleGenerativeAI GoogleGenerativeAI",
        },
    ),
    (
        ("assigned later", "changed within", "copied later"),
        _MADE,
        {
            "default_headers": "ChatAnthropic ChatAnthropicBedrock ChatAnthropicMantle",
        },
    ),
    (
        ("assigned later", "copied later"),
        _MADE,
        {
            "anthropic_api_url": "ChatAnthropic ChatAnthropicMantle",
            "region_name": "ChatAnthropicBedrock ChatAnthropicMantle",
        },
    ),
]

APART: dict[tuple[str, str, str], str] = {
    (name, field, way): reason
    for ways, reason, fields in _GROUPS
    for field, names in fields.items()
    for name in names.split()
    for way in ways
}
"""By class, field and way."""
