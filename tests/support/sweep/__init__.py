"""What the field sweep is made of: a server, the models, their fields and values."""
