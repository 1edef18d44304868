"""What a request is called: all that it asks, from its texts and from the model that sends it."""
