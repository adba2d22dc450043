"""The terminal app: a chat with a model that runs on this machine."""
