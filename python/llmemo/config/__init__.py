"""Settings, per-call options, and checks of what users pass."""
