"""What a store holds, looked at from outside, without a cache.

What is here reads a store that services use, and neither creates, migrates nor writes anything: a
file is opened as `SQLiteStore(path, read_only=True)` opens it, for some milliseconds at a time.
`removal` and `vacuum` write, by the store's own ways. Nothing here imports LangChain.
"""
