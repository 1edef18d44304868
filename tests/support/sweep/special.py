"""Values for the fields that need one of their own, and what has to be set beside some."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import anthropic
import boto3  # type: ignore[import-untyped]
import groq
import httpx
import openai
import perplexity
from botocore.config import Config  # type: ignore[import-untyped]
from google import genai
from google.genai.types import MediaResolution, Modality
from google.oauth2.credentials import Credentials
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.rate_limiters import InMemoryRateLimiter
from langchain_google_genai import ChatGoogleGenerativeAI
from langchain_perplexity.types import MediaResponse, MediaResponseOverrides, WebSearchOptions

from support.sweep.rows import ChatHandler, CodexTokens, TextHandler

if TYPE_CHECKING:
    from collections.abc import Callable

# Fields that no sweep can go through.
LEFT_OUT = {"cache": "it is what the sweep looks with"}


@dataclass(frozen=True)
class Made:
    """A value that is made when the sweep runs: clients read the environment."""

    by: Callable[[], Any]


class _OtherHandler(ChatHandler):
    accepts = "text/plain"


class _OtherTextHandler(TextHandler):
    accepts = "text/plain"


B = "https://b.example"
TENANT = {"headers": {"x-tenant": "b"}}
PROXY = "http://127.0.0.1:9"
GUARD = {"guardrailIdentifier": "g", "guardrailVersion": "1"}
_EDITS = {"edits": [{"type": "clear_tool_uses_20250919"}]}


def _openai(host: str = B) -> openai.OpenAI:
    return openai.OpenAI(api_key="key", base_url=f"{host}/v1")


def _azure(host: str = B) -> openai.AzureOpenAI:
    return openai.AzureOpenAI(api_key="key", azure_endpoint=host, api_version="2025-01-01")


def _async_openai() -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(api_key="key", base_url=f"{B}/v1")


def _async_azure() -> openai.AsyncAzureOpenAI:
    return openai.AsyncAzureOpenAI(api_key="key", azure_endpoint=B, api_version="2025-01-01")


def _boto(service: str, region: str = "us-west-2") -> Made:
    return Made(lambda: boto3.client(service, region_name=region))


# By field, for every class that has it.
VALUES: dict[str, Any] = {
    "additional_model_response_field_paths": ["/stop_sequence"],
    "anthropic_api_url": B,
    "anthropic_proxy": PROXY,
    "api_base": f"{B}/v1",
    "async_client": Made(object),
    "async_client_kwargs": TENANT,
    "auth_mode": "api_key",
    "azure_ad_async_token_provider": lambda: "token",
    "azure_ad_token_provider": lambda: "token",
    "azure_endpoint": B,
    "base_url": B,
    "bedrock_client": _boto("bedrock"),
    "callbacks": [BaseCallbackHandler()],
    "client_args": TENANT,
    "client_kwargs": TENANT,
    "config": Made(lambda: Config(use_dualstack_endpoint=True)),
    "content_handler": _OtherHandler(),
    "context_management": [{"type": "compaction"}],
    "count_tokens": len,
    "credentials": Credentials(token="other"),  # type: ignore[no-untyped-call]
    "credentials_profile_name": "other",
    "custom_get_token_ids": lambda text: [1],
    "default_headers": {"x-tenant": "b"},
    "default_metadata": (("x-tenant", "b"),),
    "disabled_params": {"temperature": None},
    "endpoint": f"{B}/v1",
    "endpoint_kwargs": {"CustomAttributes": "b"},
    "endpoint_url": B,
    "groq_api_base": B,
    "groq_proxy": PROXY,
    "guardrail_config": GUARD,
    "guardrails": GUARD,
    "http_async_client": Made(lambda: httpx.AsyncClient(headers={"x-tenant": "b"})),
    "http_client": Made(lambda: httpx.Client(headers={"x-tenant": "b"})),
    "http_socket_options": [(6, 1, 1)],
    "image_config": {"aspect_ratio": "1:1"},
    "media_resolution": MediaResolution.MEDIA_RESOLUTION_LOW,
    "media_response": MediaResponse(overrides=MediaResponseOverrides(return_images=True)),
    "model_kwargs": {"user": "b"},
    "openai_api_base": f"{B}/v1",
    "openai_proxy": PROXY,
    "output_version": "v1",
    "performance_config": {"latency": "optimized"},
    "profile": {"max_input_tokens": 7},
    "provider_stop_sequence_key_name_map": {"anthropic": "stop_words", "mistral": "stop_words"},
    "rate_limiter": InMemoryRateLimiter(requests_per_second=1e6, max_bucket_size=1e6),
    "raw_blocks": [{"role": "user", "content": [{"text": "3 + 3?"}]}],
    "reasoning_effort": "high",
    "region_name": "us-west-2",
    "stream_usage": False,
    "response_modalities": [Modality.IMAGE],
    "root_async_client": Made(object),
    "root_client": Made(_openai),
    "sync_client_kwargs": TENANT,
    "thinking_config": {"thinking_budget": 7},
    "token_provider": CodexTokens("other"),
    "web_search_options": WebSearchOptions(search_context_size="low"),
    "xai_api_base": f"{B}/v1",
}
# By class and field, where classes differ.
OF_CLASS: dict[tuple[str, str], Any] = {
    **{
        (name, "model_kwargs"): {"extra_body": {"added": "a"}}
        for name in (
            "AnthropicLLM",
            "ChatAnthropic",
            "ChatAnthropicBedrock",
            "ChatAnthropicMantle",
            "ChatPerplexity",
        )
    },
    ("ChatDeepSeek", "stream_usage"): True,
    ("ChatOpenAIMantle", "stream_usage"): True,
    ("AnthropicLLM", "client"): Made(lambda: anthropic.Anthropic(api_key="key", base_url=B)),
    ("AzureChatOpenAI", "async_client"): Made(lambda: _async_azure().chat.completions),
    ("AzureOpenAI", "async_client"): Made(lambda: _async_azure().completions),
    ("OpenAI", "async_client"): Made(lambda: _async_openai().completions),
    **{
        (name, "async_client"): Made(lambda: _async_openai().chat.completions)
        for name in ("ChatDeepSeek", "ChatOpenAI", "ChatOpenAIMantle", "ChatXAI")
    },
    ("AzureChatOpenAI", "client"): Made(lambda: _azure().chat.completions),
    ("AzureChatOpenAI", "root_client"): Made(_azure),
    ("AzureOpenAI", "client"): Made(lambda: _azure().completions),
    ("BedrockLLM", "client"): _boto("bedrock-runtime"),
    ("BedrockLLM", "model_id"): "mistral.mixtral-8x7b-instruct-v0:1",
    ("BedrockLLM", "model_kwargs"): {"top_k": 3},
    ("BedrockLLM", "provider"): "meta",
    ("ChatAnthropic", "context_management"): _EDITS,
    ("ChatAnthropicBedrock", "context_management"): _EDITS,
    ("ChatAnthropicMantle", "context_management"): _EDITS,
    ("ChatBedrock", "client"): _boto("bedrock-runtime"),
    ("ChatBedrock", "model_id"): "anthropic.claude-3-haiku-20240307-v1:0",
    ("ChatBedrock", "model_kwargs"): {"top_k": 3},
    ("ChatBedrock", "provider"): "meta",
    ("ChatBedrockConverse", "client"): _boto("bedrock-runtime"),
    ("ChatBedrockConverse", "output_config"): {"effort": "low"},
    ("ChatGoogleGenerativeAI", "client"): Made(lambda: genai.Client(api_key="other")),
    ("ChatGroq", "client"): Made(lambda: groq.Groq(api_key="key", base_url=B).chat.completions),
    ("ChatMistralAI", "async_client"): Made(lambda: httpx.AsyncClient(base_url=f"{B}/v1")),
    ("ChatGroq", "async_client"): Made(
        lambda: groq.AsyncGroq(api_key="key", base_url=B).chat.completions
    ),
    ("ChatPerplexity", "async_client"): Made(
        lambda: perplexity.AsyncPerplexity(api_key="key", base_url=B)
    ),
    ("ChatMistralAI", "client"): Made(lambda: httpx.Client(base_url=f"{B}/v1")),
    ("ChatPerplexity", "client"): Made(lambda: perplexity.Perplexity(api_key="key", base_url=B)),
    ("ChatSagemakerEndpoint", "client"): _boto("sagemaker-runtime"),
    ("ChatSagemakerEndpoint", "model_kwargs"): {"top_k": 3},
    ("GoogleGenerativeAI", "client"): Made(
        lambda: ChatGoogleGenerativeAI(model="gemini-b", api_key="key")
    ),
    ("SagemakerEndpoint", "client"): _boto("sagemaker-runtime"),
    ("SagemakerEndpoint", "content_handler"): _OtherTextHandler(),
    ("SagemakerEndpoint", "model_kwargs"): {"top_k": 3},
    **{
        (name, "client"): Made(lambda: _openai().chat.completions)
        for name in (
            "ChatDeepSeek",
            "ChatOpenAI",
            "ChatOpenAIMantle",
            "ChatXAI",
            "_ChatOpenAICodex",
        )
    },
    ("OpenAI", "client"): Made(lambda: _openai().completions),
}

_ROOTS = {
    "client": Made(lambda: _openai("https://a.example").chat.completions),
    "root_client": Made(lambda: _openai("https://a.example")),
    "use_responses_api": True,
}
_KEYS = {"aws_access_key_id": "a", "aws_secret_access_key": "a", "aws_session_token": "a"}
_VERTEX = {
    "vertexai": True,
    "credentials": Credentials(token="a"),  # type: ignore[no-untyped-call]
    "project": "a",
    "location": "us-central1",
}

# What is set beside a field, in the model that it is compared with too.
BESIDE: dict[str, dict[str, Any]] = {
    "credentials_profile_name": {"region_name": None},
    "auth_mode": {"bedrock_api_key": "key"},
    "aws_access_key_id": _KEYS,
    "aws_secret_access_key": _KEYS,
    "aws_session_token": _KEYS,
    "credentials": _VERTEX,
    "disabled_params": {"temperature": 0.5},
    "guard_last_turn_only": {"guardrail_config": GUARD},
    "location": _VERTEX,
    "project": _VERTEX,
    "response_schema": {"response_mime_type": "application/json"},
    "root_client": _ROOTS,
}
_BETAS = {"betas": ["context-management-2025-06-27"]}
BESIDE_OF_CLASS: dict[tuple[str, str], dict[str, Any]] = {
    ("AzureChatOpenAI", "root_client"): _ROOTS
    | {
        "client": Made(lambda: _azure("https://a.example").chat.completions),
        "root_client": Made(lambda: _azure("https://a.example")),
    },
    ("ChatAnthropic", "context_management"): _BETAS,
    ("ChatAnthropicBedrock", "context_management"): _BETAS,
    ("ChatAnthropicMantle", "context_management"): _BETAS,
    ("ChatAnthropicMantle", "credentials_profile_name"): {},
    ("ChatOpenAIMantle", "credentials_profile_name"): {},
    ("SagemakerEndpoint", "credentials_profile_name"): {"region_name": ""},
    ("ChatBedrockConverse", "reasoning_effort"): {"model": "openai.gpt-oss-120b-1:0"},
    ("_ChatOpenAICodex", "client"): _ROOTS,
    **{
        (name, "stream_usage"): {"streaming": True}
        for name in (
            "AzureChatOpenAI",
            "ChatDeepSeek",
            "ChatOpenAI",
            "ChatOpenAIMantle",
            "ChatXAI",
        )
    },
}
