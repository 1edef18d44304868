"""Classes whose text has no head and tells what counts all the same: by what names.

For each field, the parameter of the text (`_identifying_params`) that tells it. A field that has its
default need not be told, for these classes' texts are known; what is neither is told beside the text.
"""

from __future__ import annotations


def _same(*names: str) -> dict[str, str]:
    return {name: name for name in names}


_OPENAI = _same(
    "model_name", "temperature", "max_tokens", "top_p", "frequency_penalty", "presence_penalty",
    "n", "best_of", "logit_bias", "seed", "logprobs",
)  # fmt: skip

TOLD: dict[str, dict[str, str]] = {
    "langchain_openai.OpenAI": _OPENAI,
    **{
        f"langchain_core.{name}": _same("responses")
        for name in ("FakeListLLM", "FakeStreamingListLLM", "FakeListChatModel")
    },
}
"""Read off langchain-openai 1.7 and langchain-core 1.8."""
