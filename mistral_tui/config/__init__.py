"""The user's settings: what there is, where it is written, which of it applies."""
