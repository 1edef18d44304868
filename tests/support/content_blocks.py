"""Strategies for the blocks that a message's content may consist of."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

Strategy = st.SearchStrategy[Any]


def content_blocks(
    texts: Strategy, ints: Strategy, metadata: Strategy, values: Strategy
) -> dict[str, Strategy]:
    """By type: every block of langchain-core, and some of providers and of older versions."""
    citation = st.fixed_dictionaries(
        {"type": st.just("citation"), "url": texts, "start_index": ints, "end_index": ints},
        optional={"title": texts, "cited_text": texts, "extras": metadata},
    )
    note = st.fixed_dictionaries({"type": st.just("non_standard_annotation"), "value": metadata})
    source = st.one_of(
        st.fixed_dictionaries({"url": texts}),
        st.fixed_dictionaries({"base64": texts, "mime_type": st.just("image/png")}),
        st.fixed_dictionaries({"file_id": texts, "extras": metadata}),
    )
    return {
        **dict.fromkeys(["image", "audio", "video", "file", "text-plain"], source),
        "text": st.fixed_dictionaries(
            {"text": texts},
            optional={
                "annotations": st.lists(citation | note, max_size=2),
                "index": ints,
                "id": texts,
            },
        ),
        "reasoning": st.fixed_dictionaries({"reasoning": texts}, optional={"extras": metadata}),
        "refusal": st.fixed_dictionaries({"refusal": texts}, optional={"extras": metadata}),
        "thinking": st.fixed_dictionaries({"thinking": texts, "signature": texts}),
        "image_url": st.fixed_dictionaries({"image_url": st.fixed_dictionaries({"url": texts})}),
        "tool_call": st.fixed_dictionaries({"id": texts, "name": texts, "args": metadata}),
        "tool_call_chunk": st.fixed_dictionaries({"id": texts, "name": texts, "args": texts}),
        "invalid_tool_call": st.fixed_dictionaries(
            {"id": texts, "name": texts, "args": texts, "error": st.none() | texts}
        ),
        "server_tool_call": st.fixed_dictionaries(
            {"id": texts, "name": texts}, optional={"args": metadata}
        ),
        "server_tool_call_chunk": st.fixed_dictionaries({"id": texts, "args": texts}),
        "server_tool_result": st.fixed_dictionaries(
            {"tool_call_id": texts, "output": values, "status": st.just("success")}
        ),
        "non_standard": st.fixed_dictionaries({"value": metadata}),
    }
