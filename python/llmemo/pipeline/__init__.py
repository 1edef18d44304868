"""One request's path through the tiers: lookup, update, invalidate, admission."""
