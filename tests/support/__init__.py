"""What the tests share."""

from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
"""The folder of the tests."""
