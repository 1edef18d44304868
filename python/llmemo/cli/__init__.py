"""The `llmemo` command."""
