"""Where the sweep runs: without the variables, files and sign-ins of the machine."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

PREFIXES = (
    "ANTHROPIC_",
    "AWS_",
    "AZURE_",
    "BEDROCK_",
    "BOTO",
    "CODEX_",
    "DEEPSEEK_",
    "GEMINI_",
    "GOOGLE_",
    "GROQ_",
    "LANGCHAIN_",
    "LANGSMITH_",
    "LC_",
    "MISTRAL",
    "OLLAMA_",
    "OPENAI_",
    "PERPLEXITY_",
    "PPLX_",
    "SSL_",
    "XAI_",
)
PROXIES = {"ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "NETRC"}

CREDENTIALS = """\
[default]
aws_access_key_id = id
aws_secret_access_key = secret
[other]
aws_access_key_id = other
aws_secret_access_key = other
"""
CONFIG = """\
[default]
region = eu-west-1
[profile other]
region = ap-south-1
"""


def bare(patch: pytest.MonkeyPatch, home: Path) -> None:
    """Take away whatever the machine would add to a request."""
    for name in list(os.environ):
        if name.upper().startswith(PREFIXES) or name.upper() in PROXIES:
            patch.delenv(name)
    for name, text in (("credentials", CREDENTIALS), ("config", CONFIG)):
        (home / name).write_text(text, encoding="utf-8")
    patch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(home / "credentials"))
    patch.setenv("AWS_CONFIG_FILE", str(home / "config"))
    patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    patch.setenv("HOME", str(home))
