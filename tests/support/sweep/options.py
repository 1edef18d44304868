"""The options of a call that each class's client takes, with a value each.

What comes after a colon in a name tells apart several values of one option.
"""

from __future__ import annotations

from typing import Any

from google.genai.types import GoogleSearch, HarmBlockThreshold, HarmCategory, Modality, Tool

Options = dict[str, Any]

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
FUNCTION = {"name": "tell", "description": "Tell.", "parameters": SCHEMA}
TOOL = {"type": "function", "function": FUNCTION}
EXTRA: Options = {
    "extra_body": {"added": "a"},
    "extra_headers": {"x-tenant": "b"},
    "extra_query": {"tenant": "b"},
}


def _without(options: Options, *names: str) -> Options:
    return {name: value for name, value in options.items() if name not in names}


# What nearly every API has, under these names.
COMMON: Options = {
    "max_tokens": 7,
    "model": "another",
    "stop": ["!"],
    "temperature": 0.3,
    "top_p": 0.4,
}
PENALTIES: Options = {"frequency_penalty": 0.5, "presence_penalty": 0.6}
COMPLETIONS: Options = {
    **COMMON,
    **PENALTIES,
    **EXTRA,
    "best_of": 2,
    "echo": True,
    "logit_bias": {"50256": -100},
    "logprobs": 2,
    "seed": 5,
    "suffix": "end",
    "user": "b",
}
CHAT: Options = {
    **COMMON,
    **PENALTIES,
    **EXTRA,
    "audio": {"voice": "alloy", "format": "wav"},
    "function_call": "auto",
    "functions": [FUNCTION],
    "include": ["reasoning.encrypted_content"],
    "instructions": "Be kind.",
    "logit_bias": {"50256": -100},
    "logprobs": True,
    "max_completion_tokens": 8,
    "modalities": ["text"],
    "n": 2,
    "parallel_tool_calls": False,
    "prediction": {"type": "content", "content": "four"},
    "previous_response_id": "resp_b",
    "prompt_cache_key": "b",
    "reasoning": {"effort": "low"},
    "reasoning_effort": "low",
    "response_format": {"type": "json_object"},
    "safety_identifier": "b",
    "seed": 5,
    "service_tier": "flex",
    "store": True,
    "text": {"verbosity": "low"},
    "tool_choice": "none",
    "tools": [TOOL],
    "top_logprobs": 2,
    "truncation": "auto",
    "user": "b",
    "verbosity": "low",
    "web_search_options": {"search_context_size": "low"},
}
# Options with which ChatOpenAI takes the Responses API.
RESPONSES = ("include", "instructions", "previous_response_id", "reasoning", "text", "truncation")
ANTHROPIC: Options = {
    **COMMON,
    **EXTRA,
    "betas": ["b-2025-01-01"],
    "cache_control": {"type": "ephemeral"},
    "container": "b",
    "inference_geo": "us",
    "mcp_servers": [{"type": "url", "url": "https://m.example", "name": "m"}],
    "output_config": {"effort": "low"},
    "service_tier": "standard_only",
    "stop_sequences": ["!"],
    "thinking": {"type": "enabled", "budget_tokens": 1024},
    "tool_choice": {"type": "none"},
    "tools": [{"name": "tell", "input_schema": SCHEMA}],
    "top_k": 3,
}
OLLAMA: Options = {
    "format": "json",
    "keep_alive": 3,
    "model": "another",
    "options": {"num_ctx": 64},
    "reasoning": True,
    "stop": ["!"],
}
GOOGLE: Options = {
    **PENALTIES,
    "cached_content": "b",
    "candidate_count": 2,
    "generation_config": {"temperature": 0.3},
    "image_config": {"aspect_ratio": "1:1"},
    "include_thoughts": True,
    "labels": {"tenant": "b"},
    "max_output_tokens": 7,
    "response_mime_type": "application/json",
    "response_modalities": [Modality.TEXT],
    "safety_settings:enums": {HarmCategory.HARM_CATEGORY_HARASSMENT: HarmBlockThreshold.BLOCK_NONE},
    "safety_settings": {"HARM_CATEGORY_HARASSMENT": "BLOCK_NONE"},
    "seed": 5,
    "stop": ["!"],
    "temperature": 0.3,
    "thinking_budget": 9,
    "thinking_level": "low",
    "tool_config": {"function_calling_config": {"mode": "NONE"}},
    "tools": [TOOL],
    "tools:google": [Tool(google_search=GoogleSearch())],
    "top_k": 3,
    "top_p": 0.4,
}
BEDROCK: Options = {"max_tokens": 7, "temperature": 0.3, "top_k": 3, "top_p": 0.4}
CONVERSE: Options = {
    "additionalModelResponseFieldPaths": ["/stop_sequence"],
    "guardrailConfig": {"guardrailIdentifier": "g", "guardrailVersion": "1"},
    "inferenceConfig": {"temperature": 0.3},
    "performanceConfig": {"latency": "optimized"},
    "requestMetadata": {"tenant": "b"},
    "serviceTier": "flex",
    "stop": ["!"],
    "tools": [TOOL],
}
MISTRAL: Options = {
    **COMMON,
    **PENALTIES,
    "n": 2,
    "parallel_tool_calls": False,
    "prediction": {"type": "content", "content": "four"},
    "prompt_mode": "reasoning",
    "random_seed": 5,
    "response_format": {"type": "json_object"},
    "safe_prompt": True,
    "tool_choice": "none",
    "tools": [TOOL],
}
_NOT_GROQ = (
    "audio",
    "modalities",
    "prediction",
    "prompt_cache_key",
    "safety_identifier",
    "verbosity",
    "web_search_options",
)
GROQ: Options = _without(CHAT, *RESPONSES, *_NOT_GROQ) | {"reasoning_format": "hidden"}
PERPLEXITY: Options = {
    **COMMON,
    **EXTRA,
    "disable_search": True,
    "enable_search_classifier": True,
    "language_preference": "de",
    "reasoning_effort": "low",
    "response_format": {"type": "json_schema", "json_schema": {"schema": SCHEMA}},
    "return_images": True,
    "return_related_questions": True,
    "search_after_date_filter": "1/1/2026",
    "search_domain_filter": ["b.example"],
    "search_mode": "academic",
    "search_recency_filter": "day",
    "web_search_options": {"search_context_size": "low"},
}
OPTIONS: dict[str, Options] = {
    "AnthropicLLM": {**COMMON, **EXTRA, "top_k": 3},
    "AzureChatOpenAI": _without(CHAT, "instructions"),
    "AzureOpenAI": COMPLETIONS,
    "BedrockLLM": BEDROCK,
    "ChatAnthropic": ANTHROPIC,
    "ChatAnthropicBedrock": ANTHROPIC,
    "ChatAnthropicMantle": ANTHROPIC,
    "ChatBedrock": BEDROCK,
    "ChatBedrockConverse": CONVERSE,
    "ChatDeepSeek": _without(CHAT, *RESPONSES),
    "ChatGoogleGenerativeAI": GOOGLE,
    "ChatGroq": GROQ,
    "ChatMistralAI": MISTRAL,
    "ChatOllama": {**OLLAMA, "logprobs": True, "tools": [TOOL]},
    "ChatOpenAI": _without(CHAT, "instructions"),
    "ChatOpenAIMantle": _without(CHAT, "instructions"),
    "ChatPerplexity": PERPLEXITY,
    "ChatSagemakerEndpoint": {"temperature": 0.3, "top_k": 3},
    "ChatXAI": _without(CHAT, "instructions"),
    "GoogleGenerativeAI": GOOGLE,
    "OllamaLLM": {**OLLAMA, "raw": True, "suffix": "end", "system": "Be kind."},
    "OpenAI": COMPLETIONS,
    "SagemakerEndpoint": {"temperature": 0.3, "top_k": 3},
    "_ChatOpenAICodex": _without({name: CHAT[name] for name in RESPONSES}, "truncation") | EXTRA,
}

# How long the client waits: nothing of the request.
WAITING: dict[str, Options] = {
    name: {"timeout": 77.0}
    for name in (
        "AzureChatOpenAI",
        "AzureOpenAI",
        "ChatAnthropic",
        "ChatGroq",
        "ChatOpenAI",
        "OpenAI",
    )
}
