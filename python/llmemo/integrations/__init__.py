"""What plugs llmemo into a model, an agent or a framework beyond the cache interface."""
