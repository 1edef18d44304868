"""llm_strings for `make_keys.py`: settings that do not count, and models that say too little."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    Request = tuple[str, str, dict[str, Any]]

_ARGUMENTS = """max_retries request_timeout timeout default_request_timeout tiktoken_model_name name
    azure_ad_token_provider azure_ad_async_token_provider max_concurrent_requests credentials
    verbose default_headers http_client config"""
CLASSES = {
    "langchain.chat_models.openai.ChatOpenAI": "tiktoken_model_name azure_ad_token_provider",
    "langchain.chat_models.openai.MyChatOpenAI": "request_timeout name",
    "langchain.chat_models.azure_openai.AzureChatOpenAI": _ARGUMENTS,
    "langchain_xai.chat_models.ChatXAI": "request_timeout tiktoken_model_name",
    "langchain.chat_models.anthropic.ChatAnthropic": "default_request_timeout timeout",
    "langchain.chat_models.anthropic_bedrock.ChatAnthropicBedrock": "default_request_timeout",
    "langchain.chat_models.bedrock.ChatBedrock": "timeout config",
    "langchain_aws.chat_models.ChatBedrockConverse": "timeout config",
    "langchain_google_genai.chat_models.ChatGoogleGenerativeAI": "timeout credentials",
    "langchain.chat_models.mistralai.ChatMistralAI": "timeout max_concurrent_requests",
    "langchain_groq.chat_models.ChatGroq": "request_timeout http_client",
    "langchain.chat_models.fireworks.ChatFireworks": "request_timeout timeout",
    "langchain_groq.ChatGroq": "request_timeout",
}
"""Some of their arguments, beside those that are common."""
OBJECT = {"lc": 1, "type": "not_implemented", "id": ["httpx", "Timeout"]}
TAILS = """\
('stop', None), ('timeout', Timeout(timeout=5.0))
('stop', None), ('timeout', Timeout(connect=5.0, read=None)), ('top_p', 0.5)
('stop', None), ('timeout', <httpx.Timeout object at 0x7f>), ("top_p", 0.5)
('timeout', [1, Timeout(5.0), {'a': <f at 0x7f>}]), ('user', 'x')
('timeout', 5.0s), ('user', 'x')
('timeout', <it's>), ('user', 'x')
('timeout', <it's>), ('user', "it's>")
('timeout', <it's>), ('user', "a'>"), ('x', 'b')
('timeout', T("), ('user', 'x')")), ('user', 'y')
('timeout', T((("), ('user', ")))")), ('z', 1)
('timeout', T(1)), ('temperature', 0.1)
('timeout', T(1)), ('timeout', 2)
('stop', None), ('response_format', 1), ('timeout', T(1))
('timeout', T(1), 2), ('user', 'x')
('timeout', T(1) ), ('user', 'x')
('timeout', T(1)), ('user', U(1))
('timeout', T(1)), ('user', <U at 0x7f>)
('timeout', T(1)), ('user', [)
('timeout', T(1)), ('user'
('timeout', T(1)), 5
('timeout', T(1)], ('user', 'x')
('timeout', T(1),, ('user', 'x')
('timeout', T(1)), ('user', <class 'm.A'>)
('timeout', <class 'm.A'>), ('user', 'x')
('timeout', T(<class 'm.A'>)), ('user', 'x')
('timeout', T(1
('timeout', T([1)), ('user', 'x')
('timeout', 1 -> 2), ('user', 'x')
('timeout', T(…)), ('user', T(…))
('max_retries', T(1)), ('timeout', T(1))"""
THIN = """chat-ollama ollama-llm perplexitychat chat-nvidia-ai-playground NVIDIA litellm-chat
    chat-nvidia-ai-playground-dynamo huggingface-chat-wrapper huggingface_endpoint LiteLLMRouter
    huggingface_pipeline together fireworks cohere google_gemini amazon_bedrock sagemaker_endpoint
    amazon_sagemaker_chat watsonx-chat chat-deepseek openai"""


def head(path: list[str], **kwargs: Any) -> str:
    """The head of a model with these arguments."""
    made = {"id": path, "kwargs": {"model": "x", **kwargs}, "lc": 1, "name": "N"}
    return json.dumps({**made, "type": "constructor"}) + "---"


def tables() -> Iterator[str]:
    """Settings that do not count for some classes, with others and without."""
    tail = "[('stop', None), ('timeout', 3.0)]"
    for model, more in CLASSES.items():
        path = model.split(".")
        yield head(path) + tail
        yield head(path).replace('"N"', '"O"') + "[('max_retries', 3), ('stop', None)]"
        for name in ("max_retries", "name", *more.split()):
            for value in (1, OBJECT):
                yield head(path, **{name: value}) + tail


def tails() -> Iterator[str]:
    """Objects in parameters of a call, whose text nobody understands."""
    paths = [model.split(".") for model in CLASSES]
    for tail in TAILS.splitlines():
        for path in (paths[0], paths[1]):
            yield f"{head(path)}[{tail}]"
        yield f"[{tail}]"
    for path in paths:
        yield f"{head(path)}[('timeout', Timeout(timeout=5.0)), ('top_p', 1)]"


def thin() -> Iterator[Request]:
    """Models that say too little, seen and not."""
    for kind in THIN.split():
        for more in ("", ", ('model', 'm')"):
            text = f"[('_type', '{kind}'){more}, ('stop', None)]"
            yield "Hi", text, {}
            yield "Hi", text, {"supplement": b""}
            yield "Hi", text, {"supplement": b"model=m"}
    plain = "[('_type', 'chat-ollama'), ('stop', None)]"
    yield "Hi", head(["a", "B"]) + plain, {}
    yield "Hi", plain.replace("_type", "type"), {}
    yield "Hi", plain.replace("'chat-ollama'", "b'chat-ollama'"), {}
    yield "Hi", plain.replace("'chat-ollama'", "'CHAT-OLLAMA'"), {}
    yield "Hi", plain.replace("None", "<f at 0x7f>"), {}
