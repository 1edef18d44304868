"""Leases between processes: one process computes an answer while others wait."""
