"""Record and replay for tests: a cassette has the answers that a test was given, as text."""
