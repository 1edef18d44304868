"""Import of the answers in LangChain's own SQLite caches."""
