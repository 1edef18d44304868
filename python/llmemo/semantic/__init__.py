"""Near matches: certified, or not served."""
