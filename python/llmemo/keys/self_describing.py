"""Classes whose text has no head, but names the settings that count.

For each field, the parameter of the text that tells it (`_identifying_params`). A field with its
default value need not be told; any other field is told beside the text.
"""

from __future__ import annotations


def _same(*names: str) -> dict[str, str]:
    return {name: name for name in names}


_OPENAI = _same(
    "model_name", "temperature", "max_tokens", "top_p", "frequency_penalty", "presence_penalty",
    "n", "best_of", "logit_bias", "seed", "logprobs",
)  # fmt: skip

PARAMETER_OF: dict[str, dict[str, str]] = {
    "langchain_openai.OpenAI": _OPENAI,
    "langchain_core.FakeListLLM": _same("responses"),
    "langchain_core.FakeStreamingListLLM": _same("responses"),
    "langchain_core.FakeListChatModel": _same("responses"),
}
"""Read off langchain-openai 1.7 and langchain-core 1.8."""
