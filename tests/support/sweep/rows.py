"""The models of the sweep: each chat and completion class, and what it takes to make one."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from langchain_aws.chat_models.sagemaker_endpoint import ChatModelContentHandler
from langchain_aws.llms.sagemaker_endpoint import LLMContentHandler
from langchain_core.language_models import BaseChatModel
from langchain_core.language_models.llms import BaseLLM
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage

PACKAGES = (
    "langchain_anthropic",
    "langchain_aws",
    "langchain_deepseek",
    "langchain_google_genai",
    "langchain_groq",
    "langchain_mistralai",
    "langchain_ollama",
    "langchain_openai",
    "langchain_perplexity",
    "langchain_xai",
)

# Classes that no row is needed for.
LEFT_OUT = {
    "BaseChatOpenAI": "a base class: ChatOpenAI adds nothing but names",
    "BaseOpenAI": "a base class: OpenAI adds nothing but names",
    "ChatBedrockNovaSonic": "speech over a stream in both directions; no cache is asked",
}

PROMPT = [
    SystemMessage("Be brief."),
    HumanMessage("1 + 1?"),
    AIMessage("two", response_metadata={"container": {"id": "container"}}),
    HumanMessage("2 + 2?"),
]
# Credentials come from a file (`surroundings.py`): one boto session then serves all clients.
AWS = {"region_name": "eu-west-1"}


class ChatHandler(ChatModelContentHandler):
    """What ChatSagemakerEndpoint needs."""

    content_type = accepts = "application/json"

    def transform_input(self, prompt: Any, model_kwargs: dict[str, Any]) -> bytes:
        import json

        return json.dumps({"messages": prompt, **model_kwargs}).encode()

    def transform_output(self, output: Any) -> AIMessage:
        return AIMessage(output.read().decode())


class TextHandler(LLMContentHandler):
    """What SagemakerEndpoint needs."""

    content_type = accepts = "application/json"

    def transform_input(self, prompt: str, model_kwargs: dict[str, Any]) -> bytes:
        import json

        return json.dumps({"inputs": prompt, **model_kwargs}).encode()

    def transform_output(self, output: Any) -> str:
        return str(output.read().decode())


class CodexTokens:
    """A sign-in of ChatGPT."""

    def __init__(self, account: str = "account") -> None:
        self.account = account

    def get_token(self) -> Any:
        from langchain_openai.chatgpt_oauth import _ChatGPTToken

        never = datetime(2100, 1, 1, tzinfo=timezone.utc)
        return _ChatGPTToken("t", "r", expires_at=never, account_id=self.account)

    async def aget_token(self) -> Any:
        return self.get_token()

    def get_access_token(self) -> str:
        return "t"

    async def aget_access_token(self) -> str:
        return "t"


@dataclass(frozen=True)
class Row:
    """A class, and the least that it needs."""

    cls: type[BaseChatModel | BaseLLM]
    settings: dict[str, Any] = field(default_factory=dict)

    prompt: Any = None
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def asked(self) -> Any:
        """What it is asked."""
        return self.prompt or (PROMPT if issubclass(self.cls, BaseChatModel) else "2 + 2?")

    def ask(self, model: Any, /, **options: Any) -> object:
        """Ask it that."""
        return model.invoke(self.asked, **self.options | options)

    async def aask(self, model: Any) -> object:
        """The same, awaited."""
        return await model.ainvoke(self.asked, **self.options)

    @property
    def name(self) -> str:
        """The class's."""
        return self.cls.__name__


def _found() -> dict[str, type[Any]]:
    """Every model class of the packages, by its name."""
    classes: dict[str, type[Any]] = {}
    for package in PACKAGES:
        module = importlib.import_module(package)
        for info in pkgutil.walk_packages(module.__path__, f"{package}."):
            if ".chat_models" in info.name or ".llms" in info.name:
                for value in vars(importlib.import_module(info.name)).values():
                    if (
                        inspect.isclass(value)
                        and issubclass(value, (BaseChatModel, BaseLLM))
                        and value.__module__.startswith(package)
                    ):
                        classes[value.__name__] = value
    return classes


FOUND = _found()

_AZURE = {"azure_endpoint": "https://a.example", "api_version": "2025-01-01", "api_key": "key"}

SETTINGS: dict[str, dict[str, Any]] = {
    "AnthropicLLM": {"model": "claude-a", "api_key": "key"},
    "AzureChatOpenAI": {**_AZURE, "azure_deployment": "a"},
    "AzureOpenAI": {**_AZURE, "azure_deployment": "a"},
    "BedrockLLM": {**AWS, "model": "mistral.mistral-7b-instruct-v0:2"},
    "ChatAnthropic": {"model": "claude-a", "api_key": "key"},
    "ChatAnthropicBedrock": {**AWS, "model": "anthropic.claude-a"},
    "ChatAnthropicMantle": {**AWS, "model": "anthropic.claude-a"},
    "ChatBedrock": {**AWS, "model": "anthropic.claude-3-sonnet-20240229-v1:0"},
    "ChatBedrockConverse": {**AWS, "model": "anthropic.claude-3-sonnet-20240229-v1:0"},
    "ChatDeepSeek": {"model": "deepseek-chat", "api_key": "key"},
    "ChatGoogleGenerativeAI": {"model": "gemini-a", "api_key": "key"},
    "ChatGroq": {"model": "groq-a", "api_key": "key"},
    "ChatMistralAI": {"model": "mistral-a", "api_key": "key"},
    "ChatOllama": {"model": "llama-a"},
    "ChatOpenAI": {"model": "gpt-a", "api_key": "key"},
    "ChatOpenAIMantle": {"model": "openai.gpt-oss-a", "region_name": "eu-west-1", "api_key": "key"},
    "ChatPerplexity": {"model": "sonar", "api_key": "key"},
    "ChatSagemakerEndpoint": {**AWS, "endpoint_name": "a", "content_handler": ChatHandler()},
    "ChatXAI": {"model": "grok-a", "api_key": "key"},
    "GoogleGenerativeAI": {"model": "gemini-a", "api_key": "key"},
    "OllamaLLM": {"model": "llama-a"},
    "OpenAI": {"model": "gpt-a", "api_key": "key"},
    "SagemakerEndpoint": {**AWS, "endpoint_name": "a", "content_handler": TextHandler()},
    "_ChatOpenAICodex": {"model": "gpt-a", "token_provider": CodexTokens()},
}

# What some are asked, and how.
_STOP = {"options": {"stop": ["END"]}}
ASKED: dict[str, dict[str, Any]] = {
    "BedrockLLM": _STOP,
    "ChatBedrock": _STOP,
    # A system message would take the place of its field.
    "_ChatOpenAICodex": {"prompt": PROMPT[1:]},
}

ROWS = {
    name: Row(FOUND[name], settings, **ASKED.get(name, {}))
    for name, settings in SETTINGS.items()
    if name in FOUND
}
