"""What plugs llmemo into LangChain beyond its cache interface."""
