"""Data that the benches ship, and what writes it."""
