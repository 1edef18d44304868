"""Waiting, waking and interrupts beneath everything else: threads, greenlets, signal handlers."""
