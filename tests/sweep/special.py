"""Values for the fields that need one of their own, and what has to be set beside some."""

from __future__ import annotations

from typing import Any

import httpx
import openai
from botocore.config import Config
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.rate_limiters import InMemoryRateLimiter
from sweep.rows import ChatHandler, CodexTokens, TextHandler

# Fields that no sweep can go through.
LEFT_OUT = {"cache": "it is what the sweep looks with"}


class _Handler(ChatHandler):
    accepts = "text/plain"


class _TextHandler(TextHandler):
    accepts = "text/plain"


def _openai(cls: type[Any] = openai.OpenAI, **settings: Any) -> Any:
    return cls(api_key="key", base_url="https://b.example/v1", **settings)


def _azure(cls: type[Any] = openai.AzureOpenAI) -> Any:
    return cls(api_key="key", azure_endpoint="https://b.example", api_version="2025-01-01")


# By field, for every class that has it; by class and field where they differ.
VALUES: dict[str, Any] = {
    "additional_model_response_field_paths": ["/stop_sequence"],
    "anthropic_api_url": "https://b.example",
    "anthropic_proxy": "http://127.0.0.1:9",
    "api_base": "https://b.example/v1",
    "async_client": object(),
    "async_client_kwargs": {"headers": {"x-tenant": "b"}},
    "azure_ad_async_token_provider": lambda: "token",
    "azure_ad_token_provider": lambda: "token",
    "azure_endpoint": "https://b.example",
    "base_url": "https://b.example",
    "callbacks": [BaseCallbackHandler()],
    "client_kwargs": {"headers": {"x-tenant": "b"}},
    "config": Config(read_timeout=77),
    "content_handler": _Handler(),
    "count_tokens": len,
    "credentials_profile_name": "other",
    "custom_get_token_ids": lambda text: [1],
    "default_headers": {"x-tenant": "b"},
    "endpoint": "https://b.example/v1",
    "endpoint_url": "https://b.example",
    "groq_api_base": "https://b.example",
    "groq_proxy": "http://127.0.0.1:9",
    "http_async_client": httpx.AsyncClient(),
    "http_client": httpx.Client(headers={"x-tenant": "b"}),
    "http_socket_options": [(6, 1, 1)],
    "openai_api_base": "https://b.example/v1",
    "openai_proxy": "http://127.0.0.1:9",
    "output_version": "v1",
    "profile": {"max_input_tokens": 7},
    "rate_limiter": InMemoryRateLimiter(requests_per_second=1e6, max_bucket_size=1e6),
    "region_name": "us-west-2",
    "root_async_client": object(),
    "root_client": object(),
    "token_provider": CodexTokens("other"),
}
OF_CLASS: dict[tuple[str, str], Any] = {
    ("SagemakerEndpoint", "content_handler"): _TextHandler(),
}

# What is set beside a field, in the model it is compared with too.
BESIDE: dict[str, dict[str, Any]] = {}
BESIDE_OF_CLASS: dict[tuple[str, str], dict[str, Any]] = {}
