"""Counters, tracking, and money saved."""
