"""What LangChain's callbacks tell about the model run around a call."""
