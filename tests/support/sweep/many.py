"""Models with many of their fields set at once: the same in every process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from support.sweep.exceptions import INERT, INERT_IN, REFUSED
from support.sweep.fields import cases
from support.sweep.rows import ROWS

if TYPE_CHECKING:
    from support.sweep.fields import Case

PLAIN = (bool, int, float, str, list, dict, set)
# Fields that exclude others, or lead to another API, which knows fewer of them.
ALONE = {
    "auth_mode",
    "beta_use_converse_api",
    "best_of",
    "content_handler",
    "context_management",
    "convert_system_message_to_human",
    "disable_search",
    "guard_last_turn_only",
    "include",
    "n",
    "raw_blocks",
    "reasoning",
    "reasoning_effort",
    "region_name",
    "response_schema",
    "streaming",
    "thinking",
    "thinking_budget",
    "thinking_config",
    "top_logprobs",
    "truncation",
    "use_previous_response_id",
    "use_responses_api",
    "vertexai",
}


def _fits(case: Case) -> bool:
    name = case.row.name, case.field
    quiet = case.field in INERT or name in INERT_IN or name in REFUSED
    return not (quiet or case.beside or case.field in ALONE) and type(case.value) in PLAIN


def settings(name: str) -> dict[str, Any]:
    """Those of a class, with every plain field that gets on with the others."""
    found = dict(ROWS[name].settings)
    for case in cases(name):
        if _fits(case):
            found.pop(case.alias or "", None)
            found.pop(case.field, None)
            populated = case.row.cls.model_config.get("populate_by_name")
            found[case.field if populated or not case.alias else case.alias] = case.value
    return found
