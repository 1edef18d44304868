"""An independent reader of docs/keys.md: its tables of settings. See also `oracle.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from support.oracle_forms import STR, leaf

if TYPE_CHECKING:
    from collections.abc import Mapping

ENVELOPE, MODEL, CALL = 1, 2, 3

_LABEL_AND_RETRIES = {(ENVELOPE, "name"), (MODEL, "name"), (MODEL, "max_retries")}
_OPTIONS = _LABEL_AND_RETRIES | {(MODEL, "request_timeout"), (CALL, "timeout")}
_OPENAI = _OPTIONS | {(MODEL, "tiktoken_model_name")}
_TOKENS = {(MODEL, "azure_ad_token_provider"), (MODEL, "azure_ad_async_token_provider")}
_ANTHROPIC = _LABEL_AND_RETRIES | {(MODEL, "default_request_timeout"), (CALL, "timeout")}
_BEDROCK = _LABEL_AND_RETRIES | {(MODEL, "timeout")}
_MISTRAL = _BEDROCK | {(MODEL, "max_concurrent_requests")}
IMMATERIAL = {
    "langchain.chat_models.openai.ChatOpenAI": _OPENAI,
    "langchain.chat_models.azure_openai.AzureChatOpenAI": _OPENAI | _TOKENS,
    "langchain_xai.chat_models.ChatXAI": _OPENAI,
    "langchain.chat_models.anthropic.ChatAnthropic": _ANTHROPIC,
    "langchain.chat_models.anthropic_bedrock.ChatAnthropicBedrock": _ANTHROPIC,
    "langchain.chat_models.bedrock.ChatBedrock": _BEDROCK,
    "langchain_aws.chat_models.ChatBedrockConverse": _BEDROCK,
    "langchain_google_genai.chat_models.ChatGoogleGenerativeAI": _LABEL_AND_RETRIES,
    "langchain.chat_models.mistralai.ChatMistralAI": _BEDROCK
    | {(MODEL, "max_concurrent_requests")},
    "langchain_groq.chat_models.ChatGroq": _OPTIONS,
    "langchain.chat_models.fireworks.ChatFireworks": _OPTIONS,
}
_PRESENCE = "langchain_google_genai.chat_models.ChatGoogleGenerativeAI", (MODEL, "credentials")
_THIN = {
    "chat-ollama",
    "ollama-llm",
    "perplexitychat",
    "chat-nvidia-ai-playground",
    "NVIDIA",
    "litellm-chat",
    "chat-nvidia-ai-playground-dynamo",
    "huggingface-chat-wrapper",
    "huggingface_endpoint",
    "LiteLLMRouter",
    "huggingface_pipeline",
    "together",
    "fireworks",
    "cohere",
    "google_gemini",
    "amazon_bedrock",
    "sagemaker_endpoint",
    "amazon_sagemaker_chat",
    "watsonx-chat",
}


def counts(class_id: list[Any], place: int, name: str) -> str:
    """How a setting counts: whole, by its presence, or not."""
    is_path = all(type(part) is str and "." not in part for part in class_id)
    path = ".".join(class_id) if is_path else ""
    if (place, name) in IMMATERIAL.get(path, ()):
        return "not"
    return "presence" if (path, (place, name)) == _PRESENCE else "whole"


def is_thin(settings: Mapping[tuple[int, str], bytes]) -> bool:
    """Whether these are the settings of a model that lists too few of them."""
    if any(place != CALL for place, _ in settings):
        return False
    kinds = [kind for kind in _THIN if settings.get((CALL, "_type")) == leaf(STR, kind)]
    return bool(kinds) and not (kinds == ["ollama-llm"] and (CALL, "model") in settings)
