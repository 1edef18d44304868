"""Answers as bytes: compressed and encrypted in an envelope, with Python objects and classes."""
