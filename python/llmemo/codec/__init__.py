"""Answers as bytes: the envelope (compressed, encrypted), and Python's objects and classes."""
