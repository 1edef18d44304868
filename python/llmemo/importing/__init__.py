"""Answers of LangChain's own SQLite caches, copied into a cache of ours."""
