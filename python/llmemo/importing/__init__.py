"""Import of answers: an export of llmemo, or LangChain's own SQLite caches."""
