"""Variables of the environment that a provider's package or its client reads."""

from __future__ import annotations

import importlib
import re
from dataclasses import dataclass
from pathlib import Path

from support.sweep.rows import PACKAGES

B = "https://b.example"

OPENAI = ("ChatOpenAI", "OpenAI")
AZURE = ("AzureChatOpenAI", "AzureOpenAI")
GOOGLE = ("ChatGoogleGenerativeAI", "GoogleGenerativeAI")
ANTHROPIC = ("AnthropicLLM", "ChatAnthropic")
ON_BEDROCK = ("BedrockLLM", "ChatBedrock", "ChatBedrockConverse")
BEDROCK = (*ON_BEDROCK, "ChatAnthropicBedrock")
MANTLE = ("ChatAnthropicMantle", "ChatOpenAIMantle")
SAGEMAKER = ("ChatSagemakerEndpoint", "SagemakerEndpoint")


@dataclass(frozen=True)
class Variable:
    """A variable, a value with which the request is another one, and what else it takes."""

    name: str
    value: str
    classes: tuple[str, ...]
    without: tuple[str, ...] = ()
    """Settings that would take its place."""
    first: str | None = None
    """The value in the other request; None: unset."""


_AZURE_FIRST = "https://a.example"
_REGION = ("region_name",)
VARIABLES = [
    Variable("OPENAI_BASE_URL", f"{B}/v1", OPENAI),
    Variable("OPENAI_API_BASE", f"{B}/v1", OPENAI),
    Variable("OPENAI_ORG_ID", "b", OPENAI),
    Variable("OPENAI_ORGANIZATION", "b", OPENAI),
    Variable("OPENAI_PROJECT_ID", "b", (*OPENAI, "ChatDeepSeek", "ChatOpenAIMantle", "ChatXAI")),
    Variable(
        "OPENAI_CUSTOM_HEADERS",
        "x-tenant: b",
        (*OPENAI, *AZURE, "ChatDeepSeek", "ChatOpenAIMantle", "ChatXAI", "_ChatOpenAICodex"),
    ),
    Variable("AZURE_OPENAI_ENDPOINT", B, AZURE, ("azure_endpoint",), first=_AZURE_FIRST),
    Variable("OPENAI_API_VERSION", "2026-01-01", AZURE, ("api_version",), first="2025-01-01"),
    Variable("OPENAI_PROJECT_ID", "b", AZURE),
    Variable("LANGCHAIN_CODEX_ORIGINATOR", "b", ("_ChatOpenAICodex",)),
    Variable("ANTHROPIC_BASE_URL", B, ("ChatAnthropic", "ChatAnthropicMantle")),
    Variable("ANTHROPIC_API_URL", B, (*ANTHROPIC, "ChatAnthropicMantle")),
    Variable("ANTHROPIC_CUSTOM_HEADERS", "x-tenant: b", (*ANTHROPIC, "ChatAnthropicBedrock")),
    Variable("ANTHROPIC_BEDROCK_BASE_URL", B, ("ChatAnthropicBedrock",)),
    Variable("ANTHROPIC_BEDROCK_MANTLE_BASE_URL", B, ("ChatAnthropicMantle",)),
    Variable("OLLAMA_HOST", "https://b.example", ("ChatOllama", "OllamaLLM")),
    Variable("GOOGLE_GEMINI_BASE_URL", B, GOOGLE),
    Variable("GOOGLE_GENAI_USE_VERTEXAI", "true", GOOGLE),
    Variable("GOOGLE_GENAI_API_VERSION", "v9", GOOGLE),
    Variable("GROQ_BASE_URL", B, ("ChatGroq",)),
    Variable("GROQ_API_BASE", B, ("ChatGroq",)),
    Variable("DEEPSEEK_API_BASE", f"{B}/v1", ("ChatDeepSeek",)),
    Variable("XAI_API_BASE", f"{B}/v1", ("ChatXAI",)),
    Variable("MISTRAL_BASE_URL", f"{B}/v1", ("ChatMistralAI",)),
    Variable("PERPLEXITY_BASE_URL", B, ("ChatPerplexity",)),
    Variable("PERPLEXITY_CUSTOM_HEADERS", "x-tenant: b", ("ChatPerplexity",)),
    Variable("AWS_ENDPOINT_URL", B, (*ON_BEDROCK, *SAGEMAKER)),
    Variable("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", B, ON_BEDROCK),
    Variable("AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME", B, SAGEMAKER),
    Variable("AWS_REGION", "us-west-2", (*BEDROCK, *MANTLE), _REGION, first="eu-west-1"),
    Variable("AWS_DEFAULT_REGION", "us-west-2", (*BEDROCK, *MANTLE), _REGION, first="eu-west-1"),
    Variable("AWS_PROFILE", "other", ON_BEDROCK, _REGION),
    Variable("AWS_DEFAULT_PROFILE", "other", ON_BEDROCK, _REGION),
    Variable("AWS_USE_FIPS_ENDPOINT", "true", (*ON_BEDROCK, *SAGEMAKER)),
    Variable("AWS_USE_DUALSTACK_ENDPOINT", "true", ON_BEDROCK),
    Variable("LANGSMITH_GATEWAY", "https://b.example", ("ChatAnthropic", "ChatOpenAI")),
]

_SIGNS = "signs the request"
_LOCAL = "of this side only"
_OTHER = "of a client that none of the classes uses"
IGNORED: dict[str, str] = {
    "ANTHROPIC_API_KEY": _SIGNS,
    "ANTHROPIC_AUTH_TOKEN": _SIGNS,
    "ANTHROPIC_AWS_API_KEY": _SIGNS,
    "ANTHROPIC_LOG": _LOCAL,
    "ANTHROPIC_PROXY": "the way there",
    "AWS_ACCESS_KEY_ID": _SIGNS,
    "AWS_BEARER_TOKEN_BEDROCK": _SIGNS,
    "AWS_BEDROCK_BASE_URL": _OTHER,
    "AWS_SECRET_ACCESS_KEY": _SIGNS,
    "AWS_SESSION_TOKEN": _SIGNS,
    "AZURE_OPENAI_AD_TOKEN": _SIGNS,
    "AZURE_OPENAI_API_KEY": _SIGNS,
    "CLOUD_ML_REGION": _OTHER,
    "DEEPSEEK_API_KEY": _SIGNS,
    "DEFER_PYDANTIC_BUILD": _LOCAL,
    "GEMINI_API_KEY": _SIGNS,
    "GOOGLE_API_KEY": _SIGNS,
    "GOOGLE_CLOUD_LOCATION": "needs a sign-in of Google Cloud",
    "GOOGLE_CLOUD_PROJECT": "needs a sign-in of Google Cloud",
    "GOOGLE_GENAI_ACCESS_TOKEN": _SIGNS,
    "GOOGLE_GENAI_API_KEY": _SIGNS,
    "GOOGLE_GENAI_CLIENT_MODE": "records and replays",
    "GOOGLE_GENAI_DEBUG": _LOCAL,
    "GOOGLE_GENAI_DEFAULT_HEADERS": "of the Interactions API",
    "GOOGLE_GENAI_HTTP_CLIENT": _LOCAL,
    "GOOGLE_GENAI_REPLAYS_DIRECTORY": "records and replays",
    "GOOGLE_GENAI_REPLAY_ID": "records and replays",
    "GOOGLE_GENAI_USER_PROJECT": _OTHER,
    "GOOGLE_GENAI_USE_ENTERPRISE": "another name of GOOGLE_GENAI_USE_VERTEXAI",
    "GOOGLE_VERTEX_BASE_URL": "needs a sign-in of Google Cloud",
    "GROQ_API_KEY": _SIGNS,
    "GROQ_LOG": _LOCAL,
    "GROQ_PROXY": "the way there",
    "LANGCHAIN_AWS_DEBUG": _LOCAL,
    "LANGCHAIN_OPENAI_TCP_KEEPALIVE": _LOCAL,
    "LC_OUTPUT_VERSION": "how an answer is represented; a field has it",
    "MISTRAL_API_KEY": _SIGNS,
    "OLLAMA_API_KEY": _SIGNS,
    "OPENAI_ADMIN_KEY": _SIGNS,
    "OPENAI_API_KEY": _SIGNS,
    "OPENAI_API_TYPE": "sent by openai 0",
    "OPENAI_LOG": _LOCAL,
    "OPENAI_PROXY": "the way there",
    "OPENAI_WEBHOOK_SECRET": _OTHER,
    "PERPLEXITY_API_KEY": _SIGNS,
    "PERPLEXITY_LOG": _LOCAL,
    "PPLX_API_KEY": _SIGNS,
    "PYTEST_CURRENT_TEST": "records and replays",
    "REDIS_URL": _OTHER,
    "SSL_CERT_DIR": "the way there",
    "SSL_CERT_FILE": "the way there",
    "XAI_API_KEY": _SIGNS,
}
IGNORED_PREFIXES = (
    "ANTHROPIC_ENVIRONMENT_",
    "ANTHROPIC_FOUNDRY_",
    "ANTHROPIC_GOOGLE_CLOUD_",
    "ANTHROPIC_OPEN_TELEMETRY",
    "ANTHROPIC_VERTEX_",
    "ANTHROPIC_WEBHOOK_",
    "ANTHROPIC_WORK_",
)

SOURCES = (*PACKAGES, "anthropic", "google.genai", "groq", "ollama", "openai", "perplexity")
_READ = re.compile(
    r"(?:environ|getenv|from_env|dict_or_env)\b[^\n]{0,40}?[\[(]([^)\]]{0,160})", re.DOTALL
)
_NAME = re.compile(r"[\"']([A-Z][A-Z0-9]+_[A-Z0-9_]+)[\"']")


def read_by(source: str) -> set[str]:
    """The names of variables that a package's code reads, as far as its text tells."""
    names: set[str] = set()
    for root in importlib.import_module(source).__path__:
        for path in Path(root).rglob("*.py"):
            if "tests" not in path.parts:
                for read in _READ.findall(path.read_text(encoding="utf-8")):
                    names |= set(_NAME.findall(read))
    return names
