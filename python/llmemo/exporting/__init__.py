"""The answers of a store as lines of JSON."""
