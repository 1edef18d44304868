"""Models that are asked with two versions of their packages: a program for either environment.

    python -m sweep.versions http://127.0.0.1:PORT    # prints {class: key}

It needs no package but those of its models, each only if it is installed.
"""

from __future__ import annotations

import importlib
import json
import sys
import warnings
from typing import Any

from llmemo import LLMCache, track

PACKAGES = (
    "langchain_anthropic",
    "langchain_groq",
    "langchain_mistralai",
    "langchain_ollama",
    "langchain_openai",
)
TOOL = {
    "type": "function",
    "function": {
        "name": "tell",
        "description": "Tell.",
        "parameters": {"type": "object", "properties": {}},
    },
}


def models(url: str) -> list[tuple[str, str, dict[str, Any], dict[str, Any]]]:
    """Package, class, settings, and options of the call."""
    key = {"api_key": "key", "temperature": 0.5}
    azure = {"azure_endpoint": url, "api_version": "2025-01-01", "azure_deployment": "a"}
    return [
        ("langchain_anthropic", "ChatAnthropic", {"model": "a", "base_url": url, **key}, {}),
        ("langchain_groq", "ChatGroq", {"model": "a", "base_url": url, **key}, {"tools": [TOOL]}),
        (
            "langchain_mistralai",
            "ChatMistralAI",
            {"model": "a", "base_url": f"{url}/v1", **key},
            {},
        ),
        ("langchain_ollama", "ChatOllama", {"model": "a", "base_url": url, "temperature": 0.5}, {}),
        ("langchain_ollama", "OllamaLLM", {"model": "a", "base_url": url, "num_ctx": 7}, {}),
        ("langchain_openai", "AzureChatOpenAI", {**azure, **key}, {}),
        ("langchain_openai", "AzureOpenAI", {**azure, **key}, {}),
        (
            "langchain_openai",
            "ChatOpenAI",
            {"model": "a", "base_url": f"{url}/v1", **key},
            {"tools": [TOOL]},
        ),
        (
            "langchain_openai",
            "OpenAI",
            {"model": "a", "base_url": f"{url}/v1", **key},
            {"user": "b"},
        ),
    ]


def main(url: str) -> None:
    """Ask each once, in order, and print the keys."""
    warnings.simplefilter("ignore")
    keys: dict[str, str | None] = {}
    for package, name, settings, options in models(url):
        model = getattr(importlib.import_module(package), name)(**settings, cache=LLMCache())
        with track() as tracker:
            model.invoke("2 + 2?", **options)
        keys[name] = tracker.events[0].key
    print(json.dumps(keys))  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
