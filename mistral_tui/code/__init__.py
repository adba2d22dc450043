"""Code files and what the model suggests in them; no widgets."""
